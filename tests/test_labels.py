"""What each lead reached after its ``as_of``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from leadscore.labels import reached, ripe
from tests.hand import at, history_of

if TYPE_CHECKING:
    from leadscore.history import History

MQL, SAL, SQL, OPPORTUNITY, WON = range(5)


def outcomes(history: History, moment: str) -> list[float]:
    found: list[float] = reached(history, np.array([0]), np.array([at(moment)]))[0].tolist()
    return found


@pytest.mark.parametrize(
    ("moment", "outcome"),
    [
        ("2024-03-04 08:59:59.999999", 0.0),
        ("2024-03-04 09:00", 1.0),
        ("2024-03-07 08:59:59.999999", 1.0),
    ],
    ids=["a microsecond too early", "on the last moment of the horizon", "a microsecond before"],
)
def test_the_horizon_is_half_open(moment: str, outcome: float) -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"}, [("A", "mql", "2024-03-02 09:00"), ("A", "sql", "2024-03-07 09:00")]
    )

    assert outcomes(history, moment)[SQL] == outcome


def test_a_stage_that_is_passed_has_no_outcome() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "sql", "2024-03-07 09:00")])

    assert np.isnan(outcomes(history, "2024-03-07 09:00")).tolist() == [True, True, True, False, False]


def test_a_later_stage_counts_for_the_earlier_ones_and_lost_counts_for_none() -> None:
    skipped = history_of({"A": "2024-03-01 09:00"}, [("A", "opportunity", "2024-03-02 09:00")])
    lost = history_of({"A": "2024-03-01 09:00"}, [("A", "lost", "2024-03-02 09:00")])

    assert outcomes(skipped, "2024-03-01 09:00") == [1, 1, 1, 1, 0]
    assert outcomes(lost, "2024-03-01 09:00") == [0, 0, 0, 0, 0]


def test_a_stage_is_reached_when_it_becomes_known() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "mql", "2024-03-02 09:00", "2024-03-05 09:00")])

    assert outcomes(history, "2024-03-03 08:00")[MQL] == 0
    assert outcomes(history, "2024-03-03 09:00")[MQL] == 1


def test_an_old_transition_recorded_late_reaches_nothing() -> None:
    history = history_of(
        {"A": "2024-03-01 09:00"},
        [
            ("A", "mql", "2024-03-04 09:00"),
            ("A", "opportunity", "2024-03-03 09:00", "2024-03-05 09:00"),
        ],
    )

    assert outcomes(history, "2024-03-04 09:00")[1:] == [0, 0, 0, 0]


def test_an_unripe_example_has_no_outcome_even_if_it_is_decided() -> None:
    history = history_of({"A": "2024-03-01 09:00"}, [("A", "won", "2024-03-02 09:00")], known_until="2024-03-08 09:00")

    # Horizons are 2, 2, 3, 4 and 10 days: only the win's reaches past known_until.
    assert outcomes(history, "2024-03-01 09:00")[:WON] == [1, 1, 1, 1]
    assert np.isnan(outcomes(history, "2024-03-01 09:00")[WON])


@pytest.mark.parametrize(("moment", "is_ripe"), [("2024-03-05 09:00", True), ("2024-03-05 09:00:00.000001", False)])
def test_ripe_means_that_the_whole_horizon_is_recorded(moment: str, *, is_ripe: bool) -> None:
    assert ripe(np.array([at(moment)]), 3, at("2024-03-08 09:00")).tolist() == [is_ripe]


def test_a_lead_that_is_won_or_lost_has_no_outcome() -> None:
    moved = [("A", "lost", "2024-03-02 09:00"), ("A", "mql", "2024-03-03 09:00")]
    history = history_of({"A": "2024-03-01 09:00"}, moved)

    assert np.isnan(outcomes(history, "2024-03-02 10:00")).all()
