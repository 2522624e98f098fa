"""Every data set that LightGBM learns from, and every call that grows trees: with the storage of columns that is safe.

LightGBM stores binned columns in one of two ways. One keeps every column apart, a byte or half a byte per row. The
other packs many columns into one list of the values that are not their column's commonest, row after row. How long
that list will be is estimated: rows times the share of such values in the data set that was binned, times 1.1. Up to
65,535 by this estimate, positions in the list are 16-bit numbers, and nothing checks them later. A subset takes the
shares over from its data set, whatever its own rows are like: where these are fuller (of leads that came far, or
repeated for every stage ahead), the positions wrap around, and training reads and writes outside its memory. It
crashes, hangs, or grows wrong trees. (LightGBM 4.7: ``CreateMultiValSparseBin`` in ``src/io/bin.cpp``,
``MergeData`` in ``src/io/multi_val_sparse_bin.hpp``.)

=====================================  ================================================================
``force_col_wise``                     packs the sparse columns that often differ from their commonest
                                       value in the same rows: not safe on a subset
``force_row_wise``, bundles or none    packs all columns, where on average a quarter of a column is its
                                       commonest value: not safe on a subset
none of these, bundles or none         tries both and takes the faster one: not safe, and not the same
                                       trees each time
``force_col_wise`` without bundles     packs nothing, so there is no estimate to be wrong: safe
=====================================  ================================================================

Only the last is used. Data sets binned anew from X rather than subsets would be safe as well, at the price of
a binning, and other bins, for each. ``tests/test_crashes.py`` trains where the first three crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from scipy.special import logit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from leadscore.config import LightGBMSettings
    from leadscore.history.line import Float32s, Float64s

# Of a probability whose log odds are taken.
LEAST = 1e-15
COLUMNS_APART = {"force_col_wise": True, "enable_bundle": False}


def tree_settings(settings: LightGBMSettings) -> dict[str, Any]:
    """Parameters for LightGBM; the same for binning and for every fit on it.

    Always one thread: fits and stages are learnt side by side, and LightGBM keeps the number of threads once for the
    whole process. Where one call asks for another number while another is under way, that one uses more threads than it
    has made room for, and writes outside its memory. Two threads of one fit also wait for each other at every split of
    a small tree.
    """
    return {
        "objective": "binary",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "lambda_l2": settings.lambda_l2,
        "feature_fraction": settings.feature_fraction,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "max_bin": settings.max_bin,
        "cat_smooth": settings.cat_smooth,
        "extra_trees": settings.extra_trees,
        "seed": settings.seed,
        "num_threads": 1,
        "deterministic": True,
        "feature_pre_filter": False,
        "verbosity": -1,
    }


def data_set(
    X: Float32s,
    outcome: npt.NDArray[Any],
    parameters: dict[str, Any],
    *,
    categories: Sequence[int] = (),
    weight: Float64s | None = None,
) -> lgb.Dataset:
    """A data set of all rows of X; a subset of it is stored the same way.

    Parameters
    ----------
    X : ndarray of float32, shape (n_rows, n_columns)
    outcome : ndarray, shape (n_rows,)
        Zeros where every subset is given its own.
    parameters : dict
        As for `grow`.
    categories : sequence of int
        Columns that hold codes.
    weight : ndarray of float64, shape (n_rows,), optional
    """
    return lgb.Dataset(
        X, outcome, weight=weight, categorical_feature=list(categories), params=parameters | COLUMNS_APART
    ).construct()


def grow(
    parameters: dict[str, Any],
    examples: lgb.Dataset,
    rounds: int,
    *,
    later: lgb.Dataset | None = None,
    loss: Callable[[Float64s], float] | None = None,
    patience: int = 0,
) -> lgb.Booster:
    """So many trees, or as many as make a loss on later examples smallest: then ``best_iteration`` says how many.

    Parameters
    ----------
    parameters : dict
        LightGBM's own, by name.
    examples, later : lightgbm.Dataset
        As `data_set` gives them, or subsets of that.
    rounds : int
        Trees; with ``later``, at most.
    loss : callable, optional
        With ``later``: from the log odds of its examples to their loss.
    patience : int
        Trees without a gain on ``later`` after which no more are tried.
    """
    parameters = parameters | COLUMNS_APART
    if later is None or loss is None:
        return lgb.train(parameters, examples, rounds)

    def judged(probability: Float64s, _later: lgb.Dataset) -> tuple[str, float, bool]:
        return "loss", loss(logit(np.clip(probability, LEAST, 1 - LEAST))), False

    stop = lgb.early_stopping(patience, verbose=False)
    silent = parameters | {"metric": "None"}
    return lgb.train(silent, examples, rounds, valid_sets=[later], feval=judged, callbacks=[stop])
