"""Calibration alone, fitted anew on recent outcomes for when the base rate has moved; the trees stay as they are.

The worked example: the trees learnt from labels that ended by 2025-01-15, and the history is known until 2025-07-01.
Labels of sql, with its horizon of 45 days, have ended for the mornings until 2025-05-17, and the trees have not learnt
from those from 2025-01-15 on. A first calibration is fitted on the mornings until 2025-02-22. Its last label ends on
2025-04-08: the mornings after that decide whether it helps. If it does, it is fitted again on all mornings from
2025-01-15 to 2025-05-17, and the new model has learnt from labels that ended by 2025-07-01.
"""

from leadscore.recalibration.fit import Moved, Recalibrated, recalibrate

__all__ = ["Moved", "Recalibrated", "recalibrate"]
