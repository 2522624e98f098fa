"""What the model must beat, as estimators on the same examples."""

from leadscore.baselines.base_rate import PRIOR, BaseRate
from leadscore.baselines.logistic import Logistic
from leadscore.baselines.naive_bayes import NaiveBayes
from leadscore.baselines.order import MostRecentlyTouched, OldestFirst

__all__ = ["PRIOR", "BaseRate", "Logistic", "MostRecentlyTouched", "NaiveBayes", "OldestFirst"]
