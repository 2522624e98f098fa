"""The model of a funnel: how likely each lead is to reach each later stage."""

from leadscore.model.funnel_model import FunnelModel
from leadscore.model.stage import StageModel, fit_calibration, fit_intercept
from leadscore.model.storage import load_model, read_about, save_model
from leadscore.model.withheld import Withheld

__all__ = [
    "FunnelModel",
    "StageModel",
    "Withheld",
    "fit_calibration",
    "fit_intercept",
    "load_model",
    "read_about",
    "save_model",
]
