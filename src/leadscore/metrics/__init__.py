"""How good probabilities are, on examples that were not learnt from, with intervals."""

from leadscore.metrics.capacity import Worked, worked
from leadscore.metrics.judged import Judged
from leadscore.metrics.ordering import Ordering, auc, average_precision, gains
from leadscore.metrics.paired import loss_difference, loss_differences, order_difference, precision_difference
from leadscore.metrics.probabilities import Tenths, calibration_error, log_loss, log_losses
from leadscore.metrics.resampling import Interval, Resamples
from leadscore.metrics.steadiness import jitter
from leadscore.metrics.table import ALL, FIGURES, ORDER, figures, overall
from leadscore.metrics.within_mornings import Order, WithinMornings

__all__ = [
    "ALL",
    "FIGURES",
    "ORDER",
    "Interval",
    "Judged",
    "Order",
    "Ordering",
    "Resamples",
    "Tenths",
    "WithinMornings",
    "Worked",
    "auc",
    "average_precision",
    "calibration_error",
    "figures",
    "gains",
    "jitter",
    "log_loss",
    "log_losses",
    "loss_difference",
    "loss_differences",
    "order_difference",
    "overall",
    "precision_difference",
    "worked",
]
