"""Ids that lost digits, match no lead or look like another's: the message names the likely cause."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from leadscore.errors import DataError
from leadscore.history import Rules, check_records, read_tables
from leadscore.store import ingest, open_store
from tests.hand import SHORT, short_funnel

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.errors import Problem
    from leadscore.history.tables import Tables

AT = "2024-03-05T09:00:00Z"
UNTIL = datetime(2024, 6, 1, tzinfo=UTC)
LARGE = 1_234_567_890_123_456_700


def written(folder: Path, leads: list[Any] | pa.Array, touches: list[Any] | pa.Array) -> Path:
    """A data set folder in Parquet with these ids, one touch per id."""
    tables = {
        "leads": {"lead_id": leads, "created_at": [AT] * len(leads)},
        "transitions": {"lead_id": leads[:1], "stage": ["mql"], "occurred_at": [AT]},
        "touches": {"lead_id": touches, "kind": ["call"] * len(touches), "occurred_at": [AT] * len(touches)},
    }
    for name, columns in tables.items():
        pyarrow.parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
    (folder / "funnel.toml").write_text(SHORT, encoding="utf-8")
    return folder


def read(folder: Path, *, quarantine: bool = False) -> Tables:
    return read_tables(folder, short_funnel(), known_until=UNTIL, quarantine=quarantine)


def problems(folder: Path) -> dict[str, Problem]:
    with pytest.raises(DataError) as caught:
        read(folder)
    return {f"{problem.table}.{problem.column}": problem for problem in caught.value.problems}


def test_whole_numbers_of_any_size_are_exact(tmp_path: Path) -> None:
    ids = [LARGE + each for each in range(3)]
    folder = written(tmp_path, ids, pa.array(ids, pa.uint64()))
    assert read(folder).leads.ids.tolist() == [str(each) for each in ids]
    assert read(folder).touches.lead.tolist() == [0, 1, 2]


def test_ids_that_became_floats_are_refused(tmp_path: Path) -> None:
    floats = [float(LARGE + each) for each in range(56)]
    found = problems(written(tmp_path, [str(LARGE)], floats))["touches.lead_id"]
    assert (found.rows, found.rule) == (
        56,
        "must be an id with all of its digits, not '1.2345678901234568e+18'",
    )
    assert found.leads == ("1.2345678901234568e+18",)
    assert "became a floating-point number" in found.fix
    assert "export it as text" in found.fix


@pytest.mark.parametrize("ids", [["1.2345678901234568e+18"], [float(LARGE)], [1.5], [True]], ids=repr)
def test_such_ids_of_leads_are_refused_once(tmp_path: Path, ids: list[Any]) -> None:
    found = problems(written(tmp_path, ids, ids))
    assert list(found) == ["leads.lead_id"]
    assert found["leads.lead_id"].rows == 1


def test_float_ids_meet_whole_numbers(tmp_path: Path) -> None:
    assert read(written(tmp_path, [101.0, 7.0], pa.array([7, 101]))).touches.lead.tolist() == [1, 0]


def test_event_ids_that_became_floats_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, ["A"], ["A", "A"])
    touches = pyarrow.parquet.read_table(folder / "touches.parquet")
    pyarrow.parquet.write_table(touches.append_column("event_id", [[1.0, 2.0**53]]), folder / "touches.parquet")
    assert problems(folder)["touches.event_id"].rows == 1


def test_ids_of_a_database_with_values_of_several_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "crm.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table call (lead, at text)")
        connection.executemany("insert into call values (?, ?)", [(101.0, AT), ("x", AT), (LARGE, AT), (2.0**53, AT)])
    connection.close()
    monkeypatch.setenv("CRM", str(path))
    folder = written(tmp_path, ["101", "x", str(LARGE)], [])
    query = "query = \"select lead as lead_id, 'call' as kind, at as occurred_at from call order by rowid limit {}\""
    toml = '[source]\nurl = "sqlite:///${CRM}"\n[tables.touches]\n'
    some, every = (short_funnel(toml + query.format(rows)) for rows in (3, 4))
    assert read_tables(folder, some, known_until=UNTIL).touches.lead.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"touches.lead_id: must be an id with all of its digits.*\(1 row\)"):
        read_tables(folder, every, known_until=UNTIL)


def test_an_unknown_id_is_explained(tmp_path: Path) -> None:
    leads = ["00Q8d0000000003EAA", "1.0", "A"]
    found = problems(written(tmp_path, leads, ["00Q8d0000000003", "1", "A\u00a0", "nobody", "A"]))["touches.lead_id"]
    assert (found.rows, found.rule) == (4, "must be the lead_id of a lead")
    for part in (
        "Salesforce id of 15 characters in one table and of 18 in the other: '00Q8d0000000003' for",
        "floating-point number (1.0 for 1): '1' for '1.0'",
        r"no-break spaces (NBSP) around the id: 'A\xa0' for 'A'",
    ):
        assert part in found.fix


def test_ids_that_look_the_same_are_an_error_that_names_both(tmp_path: Path) -> None:
    folder = written(tmp_path, ["A", "caf\u00e9", "B", "cafe\u0301"], ["A"])
    found = problems(folder)["leads.lead_id"]
    assert (found.rows, found.leads) == (2, ("caf\u00e9", "cafe\u0301"))
    assert r"'caf\xe9' and 'cafe\u0301' look the same" in found.fix
    assert read(folder, quarantine=True).leads.ids.tolist() == ["A", "B"]
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    with pytest.raises(DataError, match="look the same"):
        ingest(store, folder, received_at=0, known_until=UNTIL)
    store.close()


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["A", "A\u200b"], "look the same"),
        (["A", "A "], "look the same"),
        (["1.2345678901234568e+18"], "export it as text"),
        ([float(LARGE)], "export it as text"),
        (["A", 1.5], "text or a whole number"),
        ([True], "text or a whole number"),
    ],
    ids=repr,
)
def test_ids_that_are_sent_keep_to_the_same_rules(ids: list[Any], says: str) -> None:
    records = [{"lead_id": lead_id, "created_at": AT} for lead_id in ids]
    with pytest.raises(DataError, match=says) as caught:
        check_records(records, Rules.of(short_funnel()), 0)
    assert [problem.column for problem in caught.value.problems] == ["lead_id"]


def test_event_ids_that_are_sent_keep_to_the_same_rules() -> None:
    touches = [{"kind": "call", "occurred_at": AT, "event_id": each} for each in ("e1", 2.0**53)]
    records = [{"lead_id": "A", "created_at": AT, "touches": touches}]
    with pytest.raises(DataError, match=r"touches\.event_id: must be an id with all of its digits"):
        check_records(records, Rules.of(short_funnel()), 0)
