"""Better settings of trees and examples, searched in the time before the first judging cut alone."""

from leadscore.tuning.found import Tuned
from leadscore.tuning.search import Limits, before_judging, inner_cuts, tune
from leadscore.tuning.space import SPACE, settings_of, toml, with_settings

__all__ = [
    "SPACE",
    "Limits",
    "Tuned",
    "before_judging",
    "inner_cuts",
    "settings_of",
    "toml",
    "tune",
    "with_settings",
]
