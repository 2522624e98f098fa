"""A second export after a first: the store is as the export says, and what it no longer has is counted or taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from numpy.testing import assert_array_equal

from leadscore.errors import DataError
from leadscore.features import catalogue, matrix
from leadscore.funnel import open_leads, open_stays
from leadscore.history import DAY, read_history
from leadscore.store import Lead, Merge, Retraction, Touch, Transition, ingest, read_store
from tests.exports import Crm
from tests.stores import NOON, contents, counts, fresh_url, opened, send

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.store import Ingested, Store

pytestmark = pytest.mark.integration


def assert_lists_equal(store: Store, folder: Path) -> None:
    """The open leads of a store are those of a folder, and a model would see the same bits."""
    read, stored = read_history(folder), read_store(store)
    assert stored.known_until == read.known_until
    # The store knows every name of the export, and those of leads that are gone.
    for columns in zip(seen(stored), seen(read.coded(stored.vocabulary)), strict=True):
        assert_array_equal(*columns)


def seen(history: History) -> tuple[object, ...]:
    listed = open_leads(history, history.known_until)
    return history.ids[listed.lead], listed.steps.stage, matrix(catalogue(history.funnel, history.vocabulary), listed)


def follow(store: Store, folder: Path, seed: int) -> None:
    crm = Crm(seed)
    for number in range(3):
        crm.write(folder)
        ingest(store, folder, received_at=NOON + number, whole=True, confirm=True)
        assert_lists_equal(store, folder)
        crm.move_on()


@pytest.mark.parametrize("seed", range(2))
def test_store_equals_latest_export(database: Store, tmp_path: Path, seed: int) -> None:
    follow(database, tmp_path / "set", seed)


@pytest.mark.slow
def test_store_equals_latest_of_200_exports(migrated_url: str, tmp_path: Path) -> None:
    kind = migrated_url.partition(":")[0].partition("+")[0]
    # Each company is exported three times: 200 pairs of exports that follow each other, on the two databases.
    for seed in range(70) if kind == "sqlite" else range(70, 100):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with fresh_url(kind, folder, migrated_url) as url, opened(url) as store:
            follow(store, folder / "set", seed)


LEADS = [f"l{number},2024-03-01T09:00:00Z,web" for number in range(30)]
TABLES = {
    "leads": ["lead_id,created_at,source", *LEADS],
    "transitions": [
        "lead_id,stage,occurred_at,recorded_at,event_id",
        *(f"l{number},mql,2024-03-02T09:00:00Z,,t{number}" for number in range(30)),
    ],
    "touches": [
        "lead_id,kind,occurred_at,recorded_at,event_id",
        *(f"l{number},call,2024-03-02T10:00:00Z,,c{number}" for number in range(30)),
        "l0,mail,2024-03-03T10:00:00Z,,",
        "l0,mail,2024-03-03T10:00:00Z,2024-03-04T10:00:00Z,",
    ],
    "changes": [
        "lead_id,attribute,value,occurred_at,recorded_at,event_id",
        *(f"l{number},owner,ann,2024-03-02T11:00:00Z,,o{number}" for number in range(30)),
    ],
}
FUNNEL = """
preset = "b2b"
[time]
known_until = 2024-03-{day:02}T00:00:00Z
[attributes]
categories = ["source"]
[changes]
categories = ["owner"]
"""
each_table = pytest.mark.parametrize("table", ["transitions", "touches", "changes"])


@pytest.fixture
def folder(tmp_path: Path, database: Store) -> Path:
    """An export that is in the store."""
    written = tmp_path / "set"
    written.mkdir()
    export(written, day=10)
    ingest(database, written, received_at=NOON)
    return written


def export(folder: Path, instead: dict[str, dict[str, str]] | None = None, *, day: int = 11) -> None:
    """Write an export, with other rows in the place of those that begin so, an empty one for none; of "", more rows."""
    (folder / "funnel.toml").write_text(FUNNEL.format(day=day))
    for table, rows in TABLES.items():
        new = (instead or {}).get(table, {})
        changed = [next((new[begin] for begin in new if begin and row.startswith(begin)), row) for row in rows]
        (folder / f"{table}.csv").write_text(
            "\n".join([row for row in changed if row] + new.get("", "").split()) + "\n"
        )


def counted(result: Ingested, *names: str) -> dict[str, dict[str, int]]:
    return {
        table: found
        for table, loaded in result.tables.items()
        if (found := {name: getattr(loaded, name) for name in names if getattr(loaded, name)})
    }


CORRECTED = {
    "transitions": {"l3,": "l3,sal,2024-03-02T08:00:00Z,,t3"},
    "touches": {"l3,": "l3,visit,2024-03-02T08:00:00Z,,c3"},
    "changes": {"l3,": "l3,owner,bob,2024-03-02T08:00:00Z,,o3"},
}


@each_table
def test_corrected_row_replaces_the_stored_one(database: Store, folder: Path, table: str) -> None:
    export(folder, {table: CORRECTED[table]}, day=10)

    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "new", "corrected", "late", "redated", "vanished") == {table: {"corrected": 1, "late": 1}}
    read = read_store(database)
    assert read.fingerprint() == read_history(folder).fingerprint()
    assert read.warnings == (
        f"{table}: 1 event was corrected more than a day after being known: the past is read as corrected",
    )
    stored = [row for row in contents(database)[table] if NOON in row[3:]]
    assert len(stored) == 1


@each_table
def test_an_older_export_corrects_nothing(database: Store, folder: Path, table: str) -> None:
    before = read_store(database).fingerprint()
    export(
        folder,
        {table: CORRECTED[table] | {"": "l3,more,2024-03-02T08:00:00Z,,m3" if table == "touches" else ""}},
        day=9,
    )

    result = ingest(database, folder, received_at=NOON + 1)

    assert counted(result, "new", "corrected", "redated", "outdated") == {
        table: {"outdated": 1} | ({"new": 1} if table == "touches" else {})
    }
    assert "1 left as a later export has them" in str(result)
    assert (read_store(database).fingerprint() == before) == (table != "touches")


def test_an_older_export_takes_nothing_out(database: Store, folder: Path) -> None:
    before = contents(database)
    export(folder, {"touches": {"l3,": ""}}, day=9)

    with pytest.raises(DataError, match="ends no earlier than the latest"):
        ingest(database, folder, received_at=NOON + 1, whole=True, confirm=True)

    assert contents(database) == before


@each_table
def test_correction_within_a_day_is_no_warning(database: Store, folder: Path, table: str) -> None:
    new = CORRECTED[table]["l3,"].replace("02T08", "04T08")
    export(folder, {table: {"l3,": new}}, day=10)

    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "corrected", "late") == {table: {"corrected": 1}}
    assert read_store(database).warnings == ()


def test_event_of_another_lead_is_moved(database: Store, folder: Path) -> None:
    export(folder, {"touches": {"l3,": "l4,call,2024-03-02T10:00:00Z,,c3"}}, day=10)

    assert counted(ingest(database, folder, received_at=NOON), "corrected") == {"touches": {"corrected": 1}}
    assert read_store(database).fingerprint() == read_history(folder).fingerprint()


def test_dates_of_the_export_count(database: Store, folder: Path) -> None:
    dated = {"l3,": "l3,mql,2024-03-02T09:00:00Z,2024-03-05T09:00:00Z,t3"}
    mails = {"l0,mail,2024-03-03T10:00:00Z,,": "l0,mail,2024-03-03T10:00:00Z,2024-03-05T10:00:00Z,"}
    export(folder, {"transitions": dated, "touches": mails}, day=10)

    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "corrected") == {}
    assert counted(result, "redated")["transitions"] == {"redated": 1}
    assert read_store(database).fingerprint() == read_history(folder).fingerprint()


def test_what_came_by_the_api_takes_the_dates_of_the_export(database: Store, folder: Path) -> None:
    at = NOON + 9 * DAY
    send(database, Lead("new", NOON, {"source": "web"}), at=at)
    send(database, Touch("new", "call", NOON), Transition("new", "mql", NOON, event_id="t99"), at=at)
    export(
        folder,
        {
            "leads": {"": "new,2024-03-04T12:00:00Z,web"},
            "touches": {"": "new,call,2024-03-04T12:00:00Z,,"},
            "transitions": {"": "new,mql,2024-03-04T12:00:00Z,2024-03-05T12:00:00Z,t99"},
        },
    )

    result = ingest(database, folder, received_at=at + DAY)

    assert counted(result, "new", "corrected") == {}
    assert counted(result, "redated") == {table: {"redated": 1} for table in ("leads", "transitions", "touches")}
    assert read_store(database).fingerprint() == read_history(folder).fingerprint()


def test_retracted_event_stays_away(database: Store, folder: Path) -> None:
    send(database, Retraction("c3"))
    export(folder, {"touches": CORRECTED["touches"]})

    result = ingest(database, folder, received_at=NOON, whole=True)

    assert counted(result, "new", "corrected", "retracted", "vanished") == {"touches": {"retracted": 1}}


GONE = {"leads": {"l7,": ""}, "transitions": {"l7,": "", "l8,": ""}, "touches": {"l7,": ""}, "changes": {"l7,": ""}}


def test_what_vanished_is_counted_and_named(database: Store, folder: Path) -> None:
    send(database, Touch("l8", "visit", NOON), at=NOON + 30 * DAY)  # later than the export
    before = contents(database)
    export(folder, GONE)

    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "vanished", "vanished_leads", "removed") == {
        "leads": {"vanished": 1, "vanished_leads": ("l7",)},
        "transitions": {"vanished": 1, "vanished_leads": ("l8",)},
    }
    assert "leads: 0 new, 29 repeated, 1 no longer in the export (leads l7)" in str(result)
    after = contents(database)
    assert {name: after[name] for name in TABLES} == {name: before[name] for name in TABLES}


def test_with_whole_what_vanished_is_taken_out(database: Store, folder: Path) -> None:
    send(database, Touch("l8", "visit", NOON), at=NOON + 30 * DAY)
    export(folder, GONE)

    result = ingest(database, folder, received_at=NOON, whole=True)

    assert counted(result, "vanished", "removed") == {
        "leads": {"vanished": 1, "removed": True},
        "transitions": {"vanished": 1, "removed": True},
    }
    # The past of the lead that left still teaches; what came after the export stays.
    assert counts(database) | {"imports": 4} == {
        "leads": 30, "transitions": 29, "touches": 33, "changes": 30, "imports": 4,
    }  # fmt: skip
    read = read_store(database)
    assert_lists_equal(database, folder)
    assert "l7" in read.ids
    stays = open_stays(read)
    left = int(stays.end[stays.lead == read.ids.tolist().index("l7")].max())
    assert left == read.known_until == read_history(folder).known_until


def test_a_lead_that_returns_is_listed_again(database: Store, folder: Path) -> None:
    export(folder, GONE)
    ingest(database, folder, received_at=NOON, whole=True)
    export(folder, day=10)
    ingest(database, folder, received_at=NOON)
    assert read_store(database).gone is not None  # that export is an older one

    export(folder, day=11)
    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "changed", "new") == {"leads": {"changed": 1}}
    assert read_store(database).gone is None
    assert_lists_equal(database, folder)


def test_a_file_of_before_the_last_is_read_again(database: Store, folder: Path) -> None:
    export(folder, {"touches": CORRECTED["touches"]}, day=10)
    ingest(database, folder, received_at=NOON)
    export(folder, day=10)

    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "corrected") == {"touches": {"corrected": 1}}
    assert read_store(database).fingerprint() == read_history(folder).fingerprint()


def test_an_unchanged_file_is_compared_where_the_export_is_whole(database: Store, folder: Path) -> None:
    send(database, Touch("l1", "visit", NOON - DAY), at=NOON)

    assert ingest(database, folder, received_at=NOON).tables["touches"].unchanged
    result = ingest(database, folder, received_at=NOON, whole=True)

    assert counted(result, "vanished") == {"touches": {"vanished": 1}}
    assert_lists_equal(database, folder)


def test_many_vanished_rows_are_refused_unless_confirmed(database: Store, folder: Path) -> None:
    before = contents(database)
    export(folder, {"leads": {"l0,": "l0,2024-03-01T08:00:00Z,fair"}, "transitions": {"l2": ""}})

    with pytest.raises(DataError) as refused:
        ingest(database, folder, received_at=NOON, whole=True)

    (problem,) = refused.value.problems
    assert (problem.table, problem.rows) == ("transitions", 11)
    assert problem.leads == ("l2", "l20", "l21", "l22", "l23", "l24")
    assert "36.7%" in problem.rule
    assert "CONFIRM=1" in problem.fix
    assert contents(database) == before

    assert counted(ingest(database, folder, received_at=NOON, whole=True, confirm=True), "vanished") == {
        "transitions": {"vanished": 11}
    }
    assert_lists_equal(database, folder)


def test_a_merged_lead_has_not_vanished(database: Store, folder: Path) -> None:
    send(database, Merge("l6", "l7"))
    export(folder, {table: {"l7,": ""} for table in TABLES})

    result = ingest(database, folder, received_at=NOON)

    assert counted(result, "vanished") == {table: {"vanished": 1} for table in ("transitions", "touches", "changes")}


def test_attributes_that_are_no_longer_declared_have_not_vanished(database: Store, folder: Path) -> None:
    export(folder)
    (folder / "funnel.toml").write_text(FUNNEL.format(day=11).replace('"owner"', '"region"'))

    assert counted(ingest(database, folder, received_at=NOON, whole=True), "vanished") == {}
