"""Which settings are searched, in which ranges, and how they are set and written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.distributions import BaseDistribution

    from leadscore.config import Funnel
    from leadscore.history import History

Setting = float | int | bool
Settings = dict[str, Setting]

SPACE: dict[str, BaseDistribution] = {
    "lightgbm.learning_rate": FloatDistribution(0.01, 0.2, log=True),
    "lightgbm.num_leaves": IntDistribution(2, 64, log=True),
    "lightgbm.min_data_in_leaf": IntDistribution(5, 200, log=True),
    "lightgbm.lambda_l2": FloatDistribution(0.0, 50.0),
    "lightgbm.feature_fraction": FloatDistribution(0.1, 1.0),
    "lightgbm.bagging_fraction": FloatDistribution(0.3, 1.0),
    "lightgbm.max_bin": IntDistribution(15, 255),
    "lightgbm.cat_smooth": FloatDistribution(0.0, 200.0),
    "lightgbm.extra_trees": CategoricalDistribution((False, True)),
    "lightgbm.rounds": IntDistribution(20, 1_000, log=True),
    "examples.first_weight": FloatDistribution(1.0, 20.0, log=True),
    "examples.mornings_every_days": IntDistribution(3, 30, log=True),
}
# Searched only where the history is too short for some stage to find the number of trees itself.
ROUNDS = "lightgbm.rounds"


def settings_of(funnel: Funnel) -> Settings:
    """The settings that are searched, as they stand."""
    places = (name.split(".") for name in SPACE)
    return {f"{section}.{name}": getattr(getattr(funnel, section), name) for section, name in places}


def with_settings(history: History, settings: Mapping[str, Setting]) -> History:
    """The history with other settings of trees and examples."""
    funnel = history.funnel
    for section, changed in _by_section(settings).items():
        funnel = funnel.model_copy(update={section: getattr(funnel, section).model_copy(update=changed)})
    return replace(history, funnel=funnel)


def toml(settings: Mapping[str, Setting]) -> str:
    """Settings as sections of ``funnel.toml``."""
    # What JSON writes of a number or a truth value is TOML.
    return "\n\n".join(
        "\n".join((f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in found.items())))
        for section, found in _by_section(settings).items()
    )


def space_around(own: Mapping[str, Setting], *, rounds: bool) -> dict[str, BaseDistribution]:
    """What is searched, wide enough to hold the funnel's own settings; the number of trees only where asked for."""
    return {name: _around(each, own[name]) for name, each in SPACE.items() if name != ROUNDS or rounds}


def _around(range_: BaseDistribution, own: Setting) -> BaseDistribution:
    if isinstance(range_, IntDistribution):
        return IntDistribution(min(range_.low, int(own)), max(range_.high, int(own)), log=range_.log)
    if isinstance(range_, FloatDistribution):
        return FloatDistribution(min(range_.low, own), max(range_.high, own), log=range_.log)
    return range_


def short(value: Setting) -> Setting:
    """A number that a person can read: three digits."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _by_section(settings: Mapping[str, Setting]) -> dict[str, Settings]:
    found: dict[str, Settings] = {}
    for place, value in settings.items():
        section, name = place.split(".")
        found.setdefault(section, {})[name] = value
    return found
