"""The list: the old one or the new one, whole, whatever breaks off; what is scored meanwhile; every score once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa

from leadscore.errors import StoreError
from leadscore.store import (
    Lead,
    Merge,
    ScoredLeads,
    begin_run,
    erase,
    object_to_scoring,
    open_runs,
    publication,
    publish,
    reading,
    relist,
    score_history,
    stage,
    sweep,
    transaction,
    unlist,
)
from leadscore.store.schema import listed, published, runs, scores
from tests.stores import NOON, counts, opened, send

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leadscore.store import Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[1]
DAY = 86_400_000_000
N_LEADS = 60


@pytest.fixture(autouse=True)
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "ROWS", 7)
    monkeypatch.setattr(publication, "ROWS_POSTGRESQL", 11)
    monkeypatch.setattr(publication, "HOLD_SECONDS", 0)
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 0)


@pytest.fixture
def filled(database: Store) -> Store:
    """A store with leads numbered from 1."""
    send(database, *(Lead(f"lead {number:02}", NOON) for number in range(1, N_LEADS + 1)))
    return database


def scored(
    numbers: Sequence[int], version: str = "1", as_of: int = NOON, *, of_list: str = "handoff", ranked: bool = True
) -> ScoredLeads:
    """Scores that differ by version."""
    n = len(numbers)
    rng = np.random.default_rng(int(version))
    key = rng.random(n)
    rank = np.empty(n, np.int64)
    rank[np.argsort(-key)] = np.arange(1, n + 1)
    return ScoredLeads(
        lead=np.array(numbers),
        as_of=np.full(n, as_of),
        stage=np.full(n, "mql", object),
        probabilities=np.array([f"[null,{each!r}]" for each in key.tolist()], object),
        flags=np.full(n, "[]", object),
        of_list=np.full(n, of_list, object),
        rank=rank if ranked else None,
        key=key,
        owner=np.array([None, "ann", 'O\'Neil, "Bob"\n'] * n, object)[:n],
        source=np.array(["", "web"] * n, object)[:n],
        grade=np.full(n, "A", object),
        scored_at=as_of,
        model_version=version,
    )


def everyone(version: str = "1", as_of: int = NOON) -> ScoredLeads:
    return scored(range(1, N_LEADS + 1), version, as_of)


def put_in_force(store: Store, found: ScoredLeads, *, swept: bool = True) -> int:
    as_of = int(found.as_of.max())
    with begin_run(store, as_of=as_of, model_version=found.model_version, at=as_of) as run:
        stage(store, run, found)
        publish(store, run, at=as_of)
        if swept:
            sweep(store, keep_from=0)
    return run


def anew(store: Store, found: ScoredLeads) -> None:
    with transaction(store) as connection:
        relist(connection, open_runs(connection), found)


def in_force(store: Store) -> dict[int, Any]:
    """The rows of the list in force, by lead."""
    with reading(store) as connection:
        rows = connection.execute(sa.select(listed).join(published, published.c.run == listed.c.run)).mappings()
        return {row["lead"]: dict(row) for row in rows}


def versions(store: Store, lead: int) -> list[str]:
    with reading(store) as connection:
        return [each.model_version for each in score_history(connection, lead)]


def test_what_was_staged_is_listed_bit_for_bit(filled: Store) -> None:
    found = everyone()
    run = put_in_force(filled, found)

    rows = in_force(filled)
    assert rows == {row["lead"]: row | {"run": run} for row in found.rows()}
    with reading(filled) as connection:
        told = connection.execute(sa.select(runs)).mappings().one()
    assert (told["state"], told["leads"], told["model_version"]) == ("published", N_LEADS, "1")
    assert told["finished_at"] == told["published_at"] == NOON


def test_the_old_list_stays_until_the_new_one_is_published(filled: Store) -> None:
    put_in_force(filled, everyone())
    before = in_force(filled)

    with begin_run(filled, as_of=NOON + DAY, model_version="2", at=NOON + DAY) as run:
        stage(filled, run, everyone("2", NOON + DAY))
        assert in_force(filled) == before
        publish(filled, run, at=NOON + DAY)

    assert {row["model_version"] for row in in_force(filled).values()} == {"2"}


def test_a_run_is_published_in_one_transaction(filled: Store) -> None:
    put_in_force(filled, everyone())
    commits: list[object] = []
    with begin_run(filled, as_of=NOON, model_version="2", at=NOON) as run:
        stage(filled, run, everyone("2"))
        sa.event.listen(filled.engine, "commit", commits.append)
        publish(filled, run, at=NOON)

    assert len(commits) == 1


def test_a_reader_sees_whole_lists_only(filled: Store) -> None:
    put_in_force(filled, everyone())
    seen: list[tuple[set[str], int]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            rows = in_force(filled).values()
            seen.append(({row["model_version"] for row in rows}, len(rows)))

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(2, 8):
        put_in_force(filled, everyone(str(version), NOON + version))
    ended.set()
    reader.join()

    assert len(seen) > 1
    assert all(len(names) == 1 and n_rows == N_LEADS for names, n_rows in seen)


def test_a_batch_that_is_killed_leaves_the_list_whole_and_the_next_one_clears_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    with opened(url) as store:
        send(store, *(Lead(f"lead {number:02}", NOON) for number in range(1, N_LEADS + 1)))
        put_in_force(store, everyone())
    command = [sys.executable, "-m", "tests.publishing_killed", url, str(N_LEADS), "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stderr
    assert "killed 20 times" in done.stdout


def test_a_run_that_broke_off_is_cleared_and_was_nobodys_score(filled: Store) -> None:
    put_in_force(filled, everyone())
    with begin_run(filled, as_of=NOON, model_version="2", at=NOON) as broken:
        stage(filled, broken, everyone("2"))
    assert versions(filled, 3) == ["1"]

    with begin_run(filled, as_of=NOON, model_version="3", at=NOON) as run:
        assert run > broken
        assert counts(filled)["listed"] == N_LEADS
    with reading(filled) as connection:
        states = dict(connection.execute(sa.select(runs.c.run, runs.c.state)).tuples().all())
    assert states[broken] == "failed"
    assert versions(filled, 3) == ["1"]


def test_a_second_batch_is_refused_while_one_is_under_way(filled: Store) -> None:
    with begin_run(filled, as_of=NOON, model_version="1", at=NOON) as run:
        with (
            pytest.raises(StoreError, match="published since 2024-03-04 12:00 UTC"),
            begin_run(filled, as_of=NOON, model_version="2", at=NOON),
        ):
            pass
        stage(filled, run, everyone())
        publish(filled, run, at=NOON)

    assert put_in_force(filled, everyone("2")) > run


def test_a_run_that_another_batch_took_for_broken_off_is_not_published(filled: Store) -> None:
    with begin_run(filled, as_of=NOON, model_version="1", at=NOON) as run:
        with transaction(filled) as connection:
            connection.execute(sa.update(runs).values(state="failed"))
        with pytest.raises(StoreError, match="score again"):
            publish(filled, run, at=NOON)

    assert in_force(filled) == {}


@pytest.mark.parametrize("when", ["before its row is staged", "after"])
def test_a_lead_scored_meanwhile_keeps_its_newer_score_and_gets_its_rank(filled: Store, when: str) -> None:
    put_in_force(filled, everyone())
    batch, newer = everyone("2", NOON + 10), scored([5, 6], "3", NOON + 10, ranked=False)
    with begin_run(filled, as_of=NOON + 10, model_version="2", at=NOON + 10) as run:
        if when == "after":
            stage(filled, run, batch)
        anew(filled, newer)
        assert [in_force(filled)[lead]["model_version"] for lead in (5, 6, 7)] == ["3", "3", "1"]
        if when != "after":
            stage(filled, run, batch)
        publish(filled, run, at=NOON + 20)

    rows = in_force(filled)
    assert [rows[lead]["model_version"] for lead in (4, 5, 6, 7)] == ["2", "3", "3", "2"]
    assert batch.rank is not None
    assert [rows[lead]["rank"] for lead in range(1, N_LEADS + 1)] == batch.rank.tolist()
    assert versions(filled, 5) == ["1", "3"]


def test_a_batch_of_a_later_moment_replaces_what_was_scored_meanwhile(filled: Store) -> None:
    with begin_run(filled, as_of=NOON + 10, model_version="2", at=NOON) as run:
        anew(filled, scored([5], "3", NOON, ranked=False))
        stage(filled, run, everyone("2", NOON + 10))
        publish(filled, run, at=NOON + 20)

    assert in_force(filled)[5]["model_version"] == "2"
    assert versions(filled, 5) == ["3", "2"]


def test_ranks_are_those_of_the_publication(filled: Store) -> None:
    put_in_force(filled, scored(range(1, N_LEADS), "1"))
    before = in_force(filled)

    anew(filled, scored([5, N_LEADS], "2", NOON + 1, ranked=False))

    after = in_force(filled)
    assert after[5]["key"] != before[5]["key"]
    assert {lead: row["rank"] for lead, row in after.items()} == {
        **{lead: row["rank"] for lead, row in before.items()},
        N_LEADS: None,
    }


def test_a_lead_closed_meanwhile_is_in_no_list_whatever_the_batch_says(filled: Store) -> None:
    put_in_force(filled, everyone())
    with begin_run(filled, as_of=NOON + 1, model_version="2", at=NOON + 1) as run:
        anew(filled, scored([5], "3", NOON + 1, of_list="", ranked=False))
        stage(filled, run, everyone("2", NOON + 1))
        publish(filled, run, at=NOON + 1)

    assert in_force(filled)[5]["list"] == ""


def test_a_score_of_an_earlier_moment_than_the_list_goes_to_the_history_alone(filled: Store) -> None:
    put_in_force(filled, everyone("1", NOON + DAY))
    anew(filled, scored([5], "2", NOON, ranked=False))

    assert in_force(filled)[5]["model_version"] == "1"
    assert versions(filled, 5) == ["2", "1"]


def test_without_a_list_a_score_is_kept_in_the_history(filled: Store) -> None:
    anew(filled, scored([5], "1", ranked=False))
    assert versions(filled, 5) == ["1"]

    with begin_run(filled, as_of=NOON, model_version="2", at=NOON) as run:
        anew(filled, scored([5], "3", NOON + 2, ranked=False))
        stage(filled, run, everyone("2"))
        publish(filled, run, at=NOON)

    assert in_force(filled)[5]["model_version"] == "3"
    assert versions(filled, 5) == ["1", "3"]


def test_leads_that_went_or_object_do_not_come_back_by_a_batch(filled: Store) -> None:
    put_in_force(filled, everyone())
    with begin_run(filled, as_of=NOON, model_version="2", at=NOON) as run:
        stage(filled, run, scored(range(1, 11), "2"))
        with transaction(filled) as connection:
            for lead_id in ("lead 01", "lead 41"):
                erase(connection, lead_id, at=NOON)
            for lead_id in ("lead 02", "lead 42"):
                object_to_scoring(connection, lead_id, objects=True, at=NOON)
        send(filled, Merge("lead 03", "lead 04"), Merge("lead 43", "lead 44"))
        stage(filled, run, scored(range(11, N_LEADS + 1), "2"))
        publish(filled, run, at=NOON)
        sweep(filled, keep_from=0)

    assert set(range(1, N_LEADS + 1)) - set(in_force(filled)) == {1, 2, 3, 41, 42, 43}
    with reading(filled) as connection:
        for table in (listed, scores):
            left = set(connection.execute(sa.select(table.c.lead)).scalars())
            assert not left & {1, 3, 41, 43}
    with transaction(filled) as connection:
        unlist(connection, [4, 5])
    assert not {4, 5} & set(in_force(filled))


def test_every_score_is_in_the_history_once_wherever_it_stands(filled: Store) -> None:
    for version in range(1, 6):
        put_in_force(filled, everyone(str(version), NOON + 10 * version))
        assert versions(filled, 5) == [str(each) for each in range(1, version + 1)]
        assert counts(filled)["listed"] == min(version, 2) * N_LEADS
    with begin_run(filled, as_of=NOON + 60, model_version="6", at=NOON + 60) as run:
        # In the list in force and in the one in the making.
        anew(filled, scored([5], "7", NOON + 70, ranked=False))
        stage(filled, run, everyone("6", NOON + 60))
        publish(filled, run, at=NOON + 70)
        sweep(filled, keep_from=0)
    put_in_force(filled, everyone("8", NOON + 80))
    put_in_force(filled, everyone("9", NOON + 90))

    assert versions(filled, 5) == ["1", "2", "3", "4", "5", "7", "8", "9"]
    assert versions(filled, 6) == ["1", "2", "3", "4", "5", "6", "8", "9"]
    with reading(filled) as connection:
        last = score_history(connection, 6, since=NOON + 90)
    assert [each.probabilities for each in last] == [(None, everyone("9").key[5])]


def test_the_history_is_kept_for_a_set_time(filled: Store) -> None:
    for version in range(1, 6):
        put_in_force(filled, everyone(str(version), NOON + version))
    assert counts(filled)["scores"] == 3 * N_LEADS

    sweep(filled, keep_from=NOON + 3)

    assert counts(filled)["scores"] == N_LEADS
    assert versions(filled, 5) == ["3", "4", "5"]


def test_others_write_while_a_list_is_staged(filled: Store) -> None:
    put_in_force(filled, everyone())
    faults: list[BaseException] = []

    def write() -> None:
        try:
            for turn in range(10):
                # In an order of its own: nobody waits for each other in a circle.
                anew(filled, scored([50, 3, 20, 31], "3", NOON + turn, ranked=False))
        except BaseException as error:  # noqa: BLE001 - told below
            faults.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    for version in ("1", "2"):
        put_in_force(filled, everyone(version))
    writer.join()

    assert faults == []
    with reading(filled) as connection:
        assert max(each.as_of for each in score_history(connection, 20)) == NOON + 9


def test_others_have_time_to_write_between_the_transactions_of_a_batch(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(publication, "PAUSE_SECONDS", 5)
    monkeypatch.setattr("time.sleep", slept.append)

    put_in_force(filled, everyone())

    # PostgreSQL's writers wait for none but those who write the same rows.
    n_pauses = 0 if filled.engine.dialect.name == "postgresql" else -(-N_LEADS // publication.ROWS)
    assert len(slept) == n_pauses
    assert all(4 < each <= 5 for each in slept)
    assert len(in_force(filled)) == N_LEADS
