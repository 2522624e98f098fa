"""Better settings of trees and examples, searched in the time before the first judging cut alone.

The worked example: the history is known until 2025-07-01 and its judging begins on 2024-12-09. The search gets the
history as it was recorded on 2024-12-09: a lead that was won a day later is still open in it, and an example of
2024-12-01 is not ripe. The first of the cuts within it, by the same rule, is 2024-07-09; every trial learns at those
cuts and is judged on the mornings after them. So `leadscore.backtest` at the default cuts judges what was found on
time that the search has not seen.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from leadscore.backtest import backtest, default_cuts
from leadscore.errors import TrainingError
from leadscore.metrics import Ordering, auc, calibration_error, log_loss, loss_difference
from leadscore.progress import progress
from leadscore.registry import model_name
from leadscore.registry.trials import search_run
from leadscore.tuning.found import Tuned, day
from leadscore.tuning.space import settings_of, short, space_around, with_settings
from leadscore.tuning.study import alone, key_of, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from leadscore.backtest import Backtest
    from leadscore.history import History
    from leadscore.metrics import Judged
    from leadscore.model import FunnelModel
    from leadscore.registry.trials import SearchRun
    from leadscore.tuning.space import Setting, Settings

log = logging.getLogger(__name__)

SEED = 1
LEAST_CUTS = 2
# What the same settings may differ by from one go of a search to the next, in nats.
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Limits:
    """When a search ends. The trial under way is always finished, and the funnel's own settings are always tried.

    Attributes
    ----------
    seconds : float
        How long this go may take.
    n_trials : int, optional
        How many trials the search may have, those of former goes among them; any number by default.
    monotonic : callable
        Seconds since any moment, such as ``time.monotonic``: nothing here reads a clock of its own.
    """

    seconds: float
    n_trials: int | None
    monotonic: Callable[[], float]


def tune(history: History, data: str, file: Path, limits: Limits, n_jobs: int = 1) -> Tuned:
    """Search for settings with a lower log loss than the funnel's own, in the time before the first judging cut.

    Every trial is a run in MLflow below that of the search. A search that was ended, however, goes on where it
    stood: its trials stand in an Optuna study that is known by the history, the settings that are not searched,
    and the name of the model. A trial that was under way then is not counted.

    Parameters
    ----------
    data : str
        What the data set is called.
    file : Path
        SQLite database of the studies; made where there is none.

    Raises
    ------
    TrainingError
        The history is too short, another search is under way, or the file is of no use.
    RegistryError
        MLflow refuses, or cannot be reached.
    """
    past = before_judging(history)
    cuts, key = inner_cuts(past), key_of(history)
    tags = {"data.name": data, "data.fingerprint": history.fingerprint(), "known_until": day(past.known_until)}
    with alone(file), opened(file, f"{model_name()}-{key}") as study, search_run(key, tags) as run:
        search = _Search(past, cuts, n_jobs, study, run)
        run.give_up({each.number for each in search.counted()})
        found = search.tuned(limits)
        run.log(
            {"trials": found.n_trials, "gain": found.gain.value}
            | {"gain_low": found.gain.low, "gain_high": found.gain.high}
            | {f"own/{name}": value for name, value in found.own.items()}
            | {f"best/{name}": value for name, value in found.best.items()}
        )
    return found


def before_judging(history: History) -> History:
    """The history as it was known at the first judging cut.

    All that is later is still in its lines of time, but behind its end: cuts, mornings, stays, the sampling of
    leads and ripeness go by ``known_until``, and features by ``as_of``, which no example has after it.
    """
    return replace(history, known_until=int(default_cuts(history)[0]))


def inner_cuts(past: History) -> tuple[int, ...]:
    """Cuts within a history that ends at the first judging cut, by the rule of `default_cuts`; at least two.

    Raises
    ------
    TrainingError
        It is too short.
    """
    judging = past.funnel.judging.model_copy(update={"cuts": max(LEAST_CUTS, past.funnel.judging.cuts)})
    try:
        cuts = default_cuts(replace(past, funnel=past.funnel.model_copy(update={"judging": judging})))
    except TrainingError as error:
        raise TrainingError(f"before the first judging cut, {day(past.known_until)}: {error}") from None
    if len(cuts) < LEAST_CUTS:
        raise TrainingError(
            f"before the first judging cut, {day(past.known_until)}, there is no room for {LEAST_CUTS} cuts a week "
            "apart to search settings on: keep the defaults until the history is longer"
        )
    return tuple(map(int, cuts))


@dataclass(frozen=True, slots=True)
class _Search:
    """A search under way."""

    past: History
    cuts: tuple[int, ...]
    n_jobs: int
    study: Study
    run: SearchRun

    def tuned(self, limits: Limits) -> Tuned:
        """Try the funnel's own settings and others, until a limit is reached."""
        began, own_settings = limits.monotonic(), settings_of(self.past.funnel)
        with progress("searching", "trials", limits.n_trials) as bar:
            own = self._own(own_settings)
            space = space_around(own_settings, rounds=_rounds_are_set(own.models))
            best = self._best(own_settings)
            ours = own.judged if best.user_attrs["settings"] == own_settings else None
            bar.update(len(self.counted()))
            while self._more(limits) and limits.monotonic() - began < limits.seconds:
                number, found = self._next(space)
                best = self._best(own_settings)
                ours = found if number == best.number else ours
                bar.update()
            settings = best.user_attrs["settings"]
            if ours is None:  # found in a former go
                ours = self._backtest(settings).judged
        return Tuned(
            cuts=self.cuts,
            until=self.past.known_until,
            n_trials=len(self.counted()),
            own=_figures(own.judged),
            best=_figures(ours),
            settings=settings,
            is_own=settings == own_settings,
            gain=loss_difference(own.judged, own.judged.probability, ours.probability),
        )

    def counted(self) -> list[FrozenTrial]:
        """The trials that came to their end."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _more(self, limits: Limits) -> bool:
        return limits.n_trials is None or len(self.counted()) < limits.n_trials

    def _own(self, settings: Settings) -> Backtest:
        """The funnel's own settings judged: they are the first trial, and judged again when the search goes on."""
        before = self._find(settings)
        if before is None:
            number = len(self.study.get_trials(deepcopy=False))
            with self.run.trial(number, settings, own=True):
                own = self._backtest(settings)
                self.run.log(_figures(own.judged))
            space = space_around(settings, rounds=True)
            self.study.add_trial(
                create_trial(
                    value=_loss(own.judged), params=settings, distributions=space, user_attrs={"settings": settings}
                )
            )
            return own
        own, said = self._backtest(settings), _value(self.study.trials[before])
        if abs(_loss(own.judged) - said) > SAME:
            raise TrainingError(
                f"your own settings had log loss {said:.9f} when this search began and have {_loss(own.judged):.9f} "
                "now: other code, or another machine; begin another search in another file, with --study"
            )
        return own

    def _next(self, space: dict[str, BaseDistribution]) -> tuple[int, Judged]:
        # A search that goes on draws what it would have drawn: its random numbers depend on the trials counted.
        self.study.sampler = TPESampler(seed=SEED + len(self.counted()))
        trial = self.study.ask(dict(space))
        settings = settings_of(self.past.funnel) | {name: short(trial.params[name]) for name in space}
        with self.run.trial(trial.number, settings, own=False):
            judged = self._backtest(settings).judged
            self.run.log(_figures(judged))
        trial.set_user_attr("settings", settings)
        self.study.tell(trial, _loss(judged))
        log.info("trial %d: log loss %.5f", trial.number, _loss(judged))
        return trial.number, judged

    def _find(self, settings: Settings) -> int | None:
        """Number of the trial of these settings; None where they were not tried."""
        found = (each.number for each in self.counted() if each.user_attrs["settings"] == settings)
        return next(found, None)

    def _best(self, own: Settings) -> FrozenTrial:
        """The trial with the lowest log loss; of equal ones the funnel's own settings, then the first."""
        return min(self.counted(), key=lambda each: (_value(each), each.user_attrs["settings"] != own, each.number))

    def _backtest(self, settings: Mapping[str, Setting]) -> Backtest:
        return backtest(with_settings(self.past, settings), self.cuts, self.n_jobs)


def _rounds_are_set(models: Sequence[FunnelModel]) -> bool:
    """Whether the number of trees of some stage is a setting, for want of time to find it in."""
    return any(not stage.fallback and not stage.rounds_found for model in models for stage in model.stages_)


def _loss(judged: Judged) -> float:
    known = judged.pooled()
    return log_loss(known.outcome, known.probability)


def _figures(judged: Judged) -> dict[str, float]:
    known = judged.pooled()
    return {
        "log_loss": log_loss(known.outcome, known.probability),
        "auc": auc(*Ordering.of(known.outcome, known.probability).counts()),
        "calibration_error": calibration_error(known.outcome, known.probability),
    }


def _value(trial: FrozenTrial) -> float:
    return float(trial.values[0])
