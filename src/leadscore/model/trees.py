"""LightGBM's trees as text: taken apart, narrowed to one stage to reach, and put together again.

LightGBM can load trees from text, but cannot edit them. The format is that of ``Booster.model_to_string``, version 4:
a head of ``key=value`` lines, a block of them for each tree, and a tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.history.line import Float32s, Int64s

FORMAT = "version=v4"
END = "end of trees"
# A split of numbers that are never missing.
NUMERIC = "2"
# A tree of one leaf that adds nothing.
NOTHING = {"num_leaves": "1", "num_cat": "0", "leaf_value": "0", "is_linear": "0", "shrinkage": "1"}
# Rows of X that say how many examples come to each leaf.
ROWS_COUNTED = 20_000


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which columns say what is to be reached, behind those of X, and what they say of one stage to reach.

    Attributes
    ----------
    stage : int
        Column of X that holds the current stage.
    n_columns : int
        Columns of X. Behind them stand the place of the stage to reach among the later ones, and how many steps
        ahead of the current stage it is.
    place : int
        The stage to reach.
    """

    stage: int
    n_columns: int
    place: int


def trees_of(model: str) -> list[dict[str, str]]:
    """The trees of a model in text, each as the values of its lines.

    Raises
    ------
    ValueError
        LightGBM writes another version of the format than this code reads.
    """
    head, *blocks = model.split(END, maxsplit=1)[0].split("\nTree=")
    if FORMAT not in head.splitlines():
        raise ValueError(f"LightGBM's text of a model does not say {FORMAT}; this code reads no other")
    return [dict(line.split("=", 1) for line in block.splitlines()[1:] if line) for block in blocks]


def booster_of(trees: list[dict[str, str]], n_columns: int, like: str, *, n_sums: int = 1) -> lgb.Booster:
    """A booster that adds up trees over the first columns of another model's X.

    With several sums the trees are added to the first, the second and so on in turn.
    """
    head = dict(line.partition("=")[::2] for line in like.split("\nTree=", maxsplit=1)[0].splitlines())
    blocks = [
        f"Tree={number}\n" + "".join(f"{key}={value}\n" for key, value in tree.items()) + "\n\n"
        for number, tree in enumerate(trees)
    ]
    head["max_feature_idx"] = str(n_columns - 1)
    if n_sums > 1:
        head |= {"num_class": str(n_sums), "num_tree_per_iteration": str(n_sums)}
        del head["objective"]
    for name in ("feature_names", "feature_infos"):
        head[name] = " ".join(head[name].split(" ")[:n_columns])
    head["tree_sizes"] = " ".join(str(len(block)) for block in blocks)
    lines = [key if key == "tree" else f"{key}={value}" for key, value in head.items() if key]
    return lgb.Booster(model_str="\n".join([*lines, "", "".join(blocks) + END, ""]))


def side_by_side(boosters: Sequence[lgb.Booster], n_columns: int) -> lgb.Booster:
    """A booster that gives the sums of the trees of several, one column each, in one call.

    Each sum adds the same numbers in the same order, and nothing where a booster has fewer trees than another: its
    bits are those of the booster alone.
    """
    texts = [booster.model_to_string() for booster in boosters]
    rounds = zip_longest(*map(trees_of, texts), fillvalue=NOTHING)
    return booster_of([tree for each in rounds for tree in each], n_columns, texts[0], n_sums=len(texts))


def narrowed(trees: list[dict[str, str]], to: Narrowed, bias: float) -> list[dict[str, str]]:
    """The same trees for one stage to reach: over X alone, with ``bias`` added to their sum.

    A split by the stage to reach goes one way; one by the steps ahead of the current stage is one by that stage.
    Trees that are left with one leaf are added to the first of the others.
    """
    cut = [_Tree(tree).narrowed(to) for tree in trees]
    constant = bias + sum(float(tree.values["leaf_value"]) for tree in cut if tree.is_leaf)
    grown = [tree for tree in cut if not tree.is_leaf] or cut[:1]
    first = grown[0] if not grown[0].is_leaf else grown[0].of_nothing()
    return [each.values for each in (first.plus(constant), *grown[1:])]


def with_counts(booster: lgb.Booster, X: Float32s) -> lgb.Booster:
    """The same trees, which say how many rows of X come to each leaf: what their contributions are measured against."""
    rows = X[:: max(1, len(X) // ROWS_COUNTED)]
    leaf = np.asarray(booster.predict(rows, pred_leaf=True, num_threads=1), np.int64).reshape(len(rows), -1)
    model = booster.model_to_string()
    trees = [
        _Tree(tree).counted(leaf[:, place]).values if int(tree["num_leaves"]) > 1 else tree
        for place, tree in enumerate(trees_of(model))
    ]
    return booster_of(trees, X.shape[1], model)


# The lines of a tree that hold a value for each split, and for each leaf.
OF_SPLITS = (
    "split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child", "internal_value",
    "internal_weight", "internal_count",
)  # fmt: skip
OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree. A child is a split (0 and more) or a leaf (-1 and less), as LightGBM counts them."""

    values: dict[str, str]

    @property
    def is_leaf(self) -> bool:
        return int(self.values["num_leaves"]) == 1

    def of(self, line: str) -> list[str]:
        return self.values[line].split(" ")

    def plus(self, constant: float) -> _Tree:
        """The tree with a constant added to each of its leaves."""
        raised = " ".join(repr(float(value) + constant) for value in self.of("leaf_value"))
        return _Tree(self.values | {"leaf_value": raised})

    def of_nothing(self) -> _Tree:
        """The same leaf, worth nothing."""
        return _Tree(self.values | {"leaf_value": "0"})

    def narrowed(self, to: Narrowed) -> _Tree:
        """The tree for one stage to reach."""
        if self.is_leaf:
            return self
        return _Pruning(self, to).tree()

    def counted(self, leaf: Int64s) -> _Tree:
        """The tree with the number of rows that came to each leaf, at least one."""
        counts = np.maximum(np.bincount(leaf, minlength=int(self.values["num_leaves"])), 1)
        left, right = ([int(child) for child in self.of(line)] for line in ("left_child", "right_child"))
        inner = np.zeros(len(left), np.int64)

        def count(child: int) -> int:
            if child < 0:
                return int(counts[~child])
            inner[child] = count(left[child]) + count(right[child])
            return int(inner[child])

        count(0)
        told = {"leaf_count": counts, "leaf_weight": counts, "internal_count": inner, "internal_weight": inner}
        return _Tree(self.values | {line: " ".join(map(str, found.tolist())) for line, found in told.items()})


class _Pruning:
    """Writes a tree again without the splits that one stage to reach decides."""

    def __init__(self, tree: _Tree, to: Narrowed) -> None:
        self.to = to
        self.old = {line: tree.of(line) for line in (*OF_SPLITS, *OF_LEAVES)}
        self.values = tree.values
        self.new: dict[str, list[str]] = {line: [] for line in self.old}

    def tree(self) -> _Tree:
        self._copied(0)
        n_leaves = len(self.new["leaf_value"])
        lines = {line: " ".join(values) for line, values in self.new.items()}
        if n_leaves == 1:
            shrinkage = self.values["shrinkage"]
            leaf = {"num_leaves": "1", "num_cat": "0", "leaf_value": lines["leaf_value"], "is_linear": "0"}
            return _Tree(leaf | {"shrinkage": shrinkage})
        return _Tree(self.values | lines | {"num_leaves": str(n_leaves)})

    def _copied(self, node: int) -> int:
        """Place among the new splits, or leaves, of what stands for an old one."""
        if node < 0:
            for line in OF_LEAVES:
                self.new[line].append(self.old[line][~node])
            return ~(len(self.new["leaf_value"]) - 1)
        left, right = (int(self.old[line][node]) for line in ("left_child", "right_child"))
        column, threshold = int(self.old["split_feature"][node]), float(self.old["threshold"][node])
        stages = self.to.place + 1  # from which the stage can be reached
        if column == self.to.n_columns:
            return self._copied(left if self.to.place <= threshold else right)
        if column == self.to.n_columns + 1:
            # Steps ahead <= t: the current stage >= place + 1 - t, so it is not below that.
            left, right, column = right, left, self.to.stage
            threshold = np.ceil(stages - threshold) - 0.5
        if column == self.to.stage and not 0 <= threshold < self.to.place:
            return self._copied(left if threshold >= 0 else right)
        changed = {"split_feature": str(column), "threshold": repr(float(threshold)), "decision_type": NUMERIC}
        place = len(self.new["split_feature"])
        for line in OF_SPLITS:
            kept = self.old[line][node]
            self.new[line].append(changed[line] if column == self.to.stage and line in changed else kept)
        for line, child in (("left_child", left), ("right_child", right)):
            self.new[line][place] = str(self._copied(child))
        return place
