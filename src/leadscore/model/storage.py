"""A model as a folder: LightGBM's text files, one ``model.json``, and a manifest of checksums. No pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np

from leadscore.baselines import BaseRate
from leadscore.baselines.encoding import Encoding
from leadscore.config import funnel_of
from leadscore.errors import ModelError
from leadscore.features import catalogue, columns_of
from leadscore.history import Vocabulary, canonical_names
from leadscore.model.funnel_model import FunnelModel
from leadscore.model.grades import Grades
from leadscore.model.linear import Linear
from leadscore.model.manifest import check_manifest, write_manifest
from leadscore.model.pair import LEVEL_ONLY, UNKNOWN, Pair
from leadscore.model.stage import Mix, StageModel
from leadscore.model.typical import Typical

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from leadscore.history.line import Float64s

# The format written, and those read.
FORMAT, READ = 4, {3, 4}
DESCRIPTION = "model.json"
# A direction of -1, 0 and 1.
SIGNS = "-0+"
LIBRARIES = ("leadscore", "lightgbm", "numpy", "pandas", "scikit-learn", "scipy")


def save_model(model: FunnelModel, folder: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a fitted model into a new or empty folder.

    Parameters
    ----------
    about : mapping, optional
        What is told of the model beside what it needs to score, such as figures and the data's fingerprint; JSON.

    Raises
    ------
    ModelError
        The folder is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ModelError(f"{folder}: not empty; give a new folder for the model")
    for place, stage in enumerate(model.stages_):
        if stage.booster is not None:
            (folder / _trees(place)).write_text(stage.booster.model_to_string(), encoding="utf-8")
    description = _described(model) | {"about": dict(about or {})}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    write_manifest(folder)


def load_model(folder: Path, n_jobs: int = 1) -> FunnelModel:
    """Read a model; nothing in the folder is run.

    Raises
    ------
    ModelError
        A file is missing, damaged or not in the manifest, or the model was written by another format.
    """
    check_manifest(folder)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if description["format"] not in READ:
        formats = " and ".join(map(str, sorted(READ)))
        raise ModelError(f"{folder}: format {description['format']}, this version reads {formats}; train again")
    model = FunnelModel(funnel_of(description["funnel"], str(folder / DESCRIPTION)), n_jobs)
    model.vocabulary_ = _vocabulary(description["vocabulary"])
    if not _has_columns(model, description):
        raise ModelError(f"{folder}: its columns are not those of this version's catalogue; train again")
    model.base_rate_ = _base_rate(description)
    model.linear_ = _linear(description.get("linear"))
    model.typical_ = _typical(description["typical"], model)
    model.grades_ = Grades(np.array(description["grades"], np.float64))
    model.half_life_ = description.get("half_life")
    model.trained_until_ = description["trained_until"]
    model.grown_until_ = description["grown_until"]
    model.recalibrated_ = description["recalibrated"]
    model.doubts_ = tuple(description.get("doubts", ()))
    model.stages_ = tuple(_stage(folder, place, each) for place, each in enumerate(description["stages"]))
    return model


def read_about(folder: Path) -> dict[str, Any]:
    """What is told of a saved model: ``about`` of `save_model`."""
    check_manifest(folder)
    about: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["about"]
    return about


def _vocabulary(described: dict[str, Any]) -> Vocabulary:
    """Names as histories have them: older versions learnt True and 3.0 where it is true and 3 now."""
    return Vocabulary(
        kinds=canonical_names(described["kinds"]),
        agents=canonical_names(described["agents"]),
        categories={name: canonical_names(names) for name, names in described["categories"].items()},
    )


def _has_columns(model: FunnelModel, description: dict[str, Any]) -> bool:
    """Whether the columns of X are those that the trees learnt from; a kind may have had another name then."""
    kinds = tuple(description["vocabulary"]["kinds"])
    before = catalogue(model.funnel, replace(model.vocabulary_, kinds=kinds))
    return bool([column.name for column in columns_of(before)] == description["columns"])


def _trees(place: int) -> str:
    return f"trees_{place + 1}.txt"


def _described(model: FunnelModel) -> dict[str, Any]:
    words = model.vocabulary_
    return {
        "format": FORMAT,
        "funnel": model.funnel.model_dump(mode="json", exclude={"source", "tables"}),
        "vocabulary": {"kinds": words.kinds, "agents": words.agents, "categories": words.categories},
        "columns": [column.name for column in model.columns_],
        "base_rates": model.base_rate_.rates_.tolist(),
        "base_rate_bands": {
            "days": model.base_rate_.band_days_.tolist(),
            "rates": model.base_rate_.band_rates_.tolist(),
        },
        "linear": None if model.linear_ is None else _linear_described(model.linear_),
        "typical": _typical_described(model.typical_),
        "grades": [_or_null(row) for row in model.grades_.edges],
        "half_life": model.half_life_,
        "trained_until": model.trained_until_,
        "grown_until": model.grown_until_,
        "recalibrated": model.recalibrated_,
        "doubts": list(model.doubts_),
        "stages": [
            {
                "stage": name,
                "trees": None if stage.booster is None else _trees(place),
                "mix": _described_figures(stage.mix),
                "slope": stage.slope,
                "intercept": stage.intercept,
                "rounds": stage.rounds,
                "shared_rounds": stage.shared_rounds,
                "own_rounds": stage.own_rounds,
                "rounds_found": stage.rounds_found,
                "n_examples": stage.n_examples,
                "n_reached": stage.n_reached,
                "n_not_reached": stage.n_not_reached,
                "pairs": [_described_figures(each) for each in stage.pairs],
            }
            for place, (name, stage) in enumerate(zip(model.funnel.later_stages, model.stages_, strict=True))
        ],
        "versions": {name: version(name) for name in LIBRARIES},
    }


def _linear_described(linear: Linear) -> dict[str, Any]:
    encoding = {each.name: getattr(linear.encoding, each.name) for each in fields(Encoding)}
    return {
        "encoding": {
            name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in encoding.items()
        },
        "reference": linear.reference.tolist(),
        "coef": linear.coef.tolist(),
        "intercept": linear.intercept.tolist(),
    }


def _linear(described: dict[str, Any] | None) -> Linear | None:
    if described is None:
        return None
    encoding = described["encoding"]
    median, mean, deviation = (np.array(encoding[name], np.float32) for name in ("median", "mean", "deviation"))
    return Linear(
        Encoding(
            numbers=np.array(encoding["numbers"], np.int64),
            gaps=np.array(encoding["gaps"], np.int64),
            median=median,
            mean=mean,
            deviation=deviation,
            logged=np.array(encoding["logged"], np.bool_),
            categories=tuple((place, n) for place, n in encoding["categories"]),
        ),
        *(np.array(described[name], np.float64) for name in ("reference", "coef", "intercept")),
    )


def _typical_described(typical: Typical) -> dict[str, Any]:
    return {
        "value": [_or_null(row) for row in typical.value],
        "missing": [_or_null(row) for row in typical.missing],
        "direction": [["".join(SIGNS[sign + 1] for sign in row) for row in rows] for rows in typical.direction],
    }


def _or_null(row: Float64s) -> list[float | None]:
    return [None if np.isnan(number) else float(number) for number in row]


def _base_rate(described: dict[str, Any]) -> BaseRate:
    rates = np.array(described["base_rates"], np.float64)
    # A model of before there were bands serves the rate of the stage, whatever the days in it.
    bands = described.get("base_rate_bands", {"days": [], "rates": rates[:, None]})
    return BaseRate.learnt(rates, np.array(bands["days"], np.float64), np.array(bands["rates"], np.float64))


def _typical(described: dict[str, Any], model: FunnelModel) -> Typical:
    return Typical(
        n_names=np.array([len(column.names) for column in model.columns_], np.int64),
        value=np.array(described["value"], np.float64),
        missing=np.array(described["missing"], np.float64),
        direction=np.array(
            [[[SIGNS.index(sign) - 1 for sign in row] for row in rows] for rows in described["direction"]], np.int8
        ),
    )


def _stage(folder: Path, place: int, described: dict[str, Any]) -> StageModel:
    learnt = {name: value for name, value in described.items() if name not in {"stage", "trees"}}
    learnt |= {"pairs": _pairs(learnt, place), "mix": Mix(**_figures(learnt.get("mix", {})))}
    if described["trees"] is None:
        return StageModel(None, **learnt)
    return StageModel(lgb.Booster(model_str=(folder / _trees(place)).read_text(encoding="utf-8")), **learnt)


def _described_figures(figures: Pair | Mix) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value for name, value in asdict(figures).items()
    }


def _figures(described: dict[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in described.items()}


def _pairs(described: dict[str, Any], place: int) -> tuple[Pair, ...]:
    """The pairs of a stage; of one in format 3, which served trees or base rates to all current stages alike."""
    no_signal, unjudged = described.pop("no_signal", False), described.pop("unjudged", False)
    if no_signal or unjudged:
        return (Pair(LEVEL_ONLY if no_signal else UNKNOWN, trees=False),) * (place + 1)
    return tuple(Pair(**_figures(each)) for each in described.get("pairs", ()))
