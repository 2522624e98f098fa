"""Features: from a snapshot to X.

One catalogue gives the columns, their names and their documentation.
"""

from leadscore.features.catalogue import catalogue, days_since_last, touch_counts
from leadscore.features.matrix import Column, Feature, columns_of, matrix
from leadscore.features.words import fit_vocabulary

__all__ = [
    "Column",
    "Feature",
    "catalogue",
    "columns_of",
    "days_since_last",
    "fit_vocabulary",
    "matrix",
    "touch_counts",
]
