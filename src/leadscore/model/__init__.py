"""The model of a funnel: how likely each lead is to reach each later stage."""

from leadscore.model.funnel_model import FunnelModel
from leadscore.model.stage import StageModel, fit_calibration
from leadscore.model.storage import load_model, read_about, save_model

__all__ = ["FunnelModel", "StageModel", "fit_calibration", "load_model", "read_about", "save_model"]
