"""Training ends, and gives the same bytes, where LightGBM's packed storage wrote outside its memory.

Each test trains in a process of its own, so that a crash fails the test and not the runner.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
FIT = "src/leadscore/model/lightgbm_fit.py"
LAYOUT = {"force_col_wise", "force_row_wise", "enable_bundle", "is_enable_sparse", "enable_sparse"}

# Three rows of four are empty, and the rows that are learnt from are not: LightGBM expects a quarter of their entries.
FULLER = """
import numpy as np
from leadscore.model.lightgbm_fit import data_set, grow
rng = np.random.default_rng(0)
X = rng.integers(1, 50, (4_000, 200)).astype(np.float32)
X[1_000:, 1:] = 0
outcome = (X[:, 0] + X[:, 1] > 50).astype(np.float32)
parameters = {"objective": "binary", "num_threads": 1, "verbosity": -1}
rows = np.arange(700)
part = data_set(X, outcome, parameters, categories=[2]).subset(rows.tolist()).construct()
trees = grow(parameters, part, 20)
print(((trees.predict(X[rows]) > 0.5) == outcome[rows]).mean())
"""


def alone(*command: str, seconds: int) -> str:
    """What Python prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2_000:]}"
    return done.stdout


def test_a_subset_whose_rows_are_fuller_than_its_data_set_is_learnt_from() -> None:
    assert float(alone("-c", FULLER, seconds=100)) > 0.95


def test_sparse_companies_train_and_the_same_seed_gives_the_same_bytes() -> None:
    asked = ["shape:few-examples:1200:20", "seldom:0:400:5000", "seldom:1:400:0"]
    assert len(alone("-m", "tests.trained_alone", *asked, seconds=300).splitlines()) == len(asked)


@pytest.mark.slow
@pytest.mark.parametrize("company", ["few-examples", "defaults"])
def test_both_companies_that_crashed_train_with_all_their_rounds(company: str) -> None:
    asked = f"shape:{company}:3000:150"
    once, again = (alone("-m", "tests.trained_alone", asked, seconds=1_800) for _ in range(2))
    assert once == again


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(begin, begin + 5) for begin in range(0, 20, 5)], ids=str)
def test_twenty_seeds_of_sparse_companies_train(seeds: range) -> None:
    asked = [f"seldom:{seed}:{400 + 150 * (seed % 5)}:{1_000_000 if seed == 19 else 2_000}" for seed in seeds]
    assert len(alone("-m", "tests.trained_alone", *asked, seconds=1_800).splitlines()) == len(asked)


def test_only_one_module_makes_data_sets_and_grows_trees() -> None:
    """Nothing else calls LightGBM but to load trees, and nothing else says how columns are stored."""
    files = [file for part in ("src", "pipelines", "benchmarks") for file in sorted((ROOT / part).rglob("*.py"))]
    assert len(files) > 100
    found = {file.relative_to(ROOT).as_posix(): bypasses(ast.parse(file.read_text("utf-8"))) for file in files}
    assert {file for file, lines in found.items() if lines} == {FIT}, found


def bypasses(tree: ast.Module) -> list[int]:
    """Lines that call LightGBM's makers of data sets or growers of trees, or name a way to store columns."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and node.value in LAYOUT)
        or (isinstance(node, ast.keyword) and node.arg in LAYOUT)
        or (isinstance(node, ast.Call) and _of_lightgbm(node))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lightgbm")
    ]


def _of_lightgbm(call: ast.Call) -> bool:
    function = call.func
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        return False
    loads = function.attr == "Booster" and {keyword.arg for keyword in call.keywords} == {"model_str"}
    return function.value.id in {"lgb", "lightgbm"} and not (loads and not call.args)
