"""Every malformed or odd input: its error, or what is made of it; nothing is lost either way."""

from __future__ import annotations

import csv
import logging
import sqlite3
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadscore.config import parse_funnel, read_funnel
from leadscore.errors import ConfigError, DataError
from leadscore.history.reading import text
from leadscore.history.reading.lookup import Places, hashes
from leadscore.history.reading.read import check_tables, read_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from leadscore.config import Funnel, TableName
    from leadscore.errors import Problem
    from leadscore.history.tables import Coded, Tables

TOML = """
preset = "b2b"
[time]
known_until = 2024-06-01T00:00:00Z
{time}
[attributes]
numbers = ["employees"]
categories = ["source"]
{more}
"""
CHANGES = '[changes]\nnumbers = ["amount"]\ncategories = ["owner"]'

LEADS = "lead_id,created_at,employees,source\n"
STEPS = "lead_id,stage,occurred_at\n"
TOUCHES = "lead_id,kind,occurred_at,recorded_at,direction,by,value,event_id\n"
CHANGED = "lead_id,attribute,value,occurred_at\n"

A, B, C = "A,2024-03-01T09:00:00Z,10,web\n", "B,2024-03-02T09:00:00Z,20,ads\n", "C,2024-03-03T09:00:00Z,,\n"
STEP = "A,mql,2024-03-04T09:00:00Z\n"
CALL = "A,call,2024-03-04T09:00:00Z,,in,rep,1.5,\n"

Contents: TypeAlias = str | bytes | pa.Table


def funnel(time: str = "", more: str = "") -> Funnel:
    return parse_funnel(TOML.format(time=time, more=more))


def write(folder: Path, **tables: Contents | None) -> Path:
    """A data set folder of good tables, those named replaced, those that are None left out."""
    files: dict[str, Contents | None] = {
        "leads": LEADS + A + B + C,
        "transitions": STEPS + STEP,
        "touches": TOUCHES + CALL,
    }
    for name, contents in (files | tables).items():
        if isinstance(contents, pa.Table):
            pq.write_table(contents, folder / f"{name}.parquet")
        elif contents is not None:
            (folder / f"{name}.csv").write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return folder


def problems(folder: Path, settings: Funnel, *, quarantine: bool = False) -> tuple[Problem, ...]:
    with pytest.raises(DataError) as caught:
        read_tables(folder, settings, quarantine=quarantine)
    return caught.value.problems


def set_aside(folder: Path) -> dict[str, list[dict[str, str]]]:
    files = sorted((folder / "quarantine").glob("*.csv"))
    return {path.stem: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in files}


def texts(coded: Coded) -> list[str | None]:
    return [coded.names[code] if code >= 0 else None for code in coded.codes]


def us(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[misc,arg-type]


@dataclass(frozen=True)
class Bad:
    """An input that breaks one rule.

    ``rows`` are the rows, from 1, that the quarantine sets aside in ``table``, and ``dragged`` those that go
    with their lead; None where the table cannot be mended by taking rows out of it. Where ``emptied`` says which
    value is bad, that is read as missing instead, and the row stays.
    """

    table: TableName
    contents: Contents | None
    column: str
    rule: str
    rows: tuple[int, ...] | None = None
    leads: tuple[str, ...] = ()
    says: str = ""
    time: str = ""
    more: str = ""
    dragged: dict[str, tuple[int, ...]] = field(default_factory=dict)
    emptied: str = ""


def step(rows: str) -> str:
    return STEPS + STEP + rows + STEP


def touch(rows: str) -> str:
    return TOUCHES + CALL + rows + CALL


AT = "2024-03-05T09:00:00Z"
READABLE = "must be a time in ISO 8601"
ZONED = "must have a time zone"
YEARS = "must lie in the years 1990 to 2100"
ARROW_AT = pa.array([datetime(2024, 3, 5, 9, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
NAIVE = pa.array([datetime(2024, 3, 5, 9)] * 2, pa.timestamp("us"))  # noqa: DTZ001

BAD = {
    # Files as a whole.
    "empty file": Bad("touches", b"", "", "must have a header"),
    "only blank lines": Bad("touches", b"\n\n", "", "must have a header"),
    "leads without a row": Bad("leads", LEADS, "", "must have a row"),
    "table is missing": Bad("transitions", None, "", "table is missing"),
    "column is missing": Bad(
        "transitions", "lead_id,stge,occurred_at\n" + STEP, "stage", "column is missing", says="'stge'"
    ),
    "attribute is missing": Bad(
        "leads", "lead_id,created_at,source\nA," + AT + ",web\n", "employees", "column is missing"
    ),
    "semicolons": Bad("transitions", step("").replace(",", ";"), "", "must be CSV in UTF-8", says="semicolons"),
    "duplicate headers": Bad(
        "touches", "lead_id,kind,kind,occurred_at\nA,call,call," + AT + "\n", "kind", "must be the name of one"
    ),
    "NUL bytes": Bad(
        "touches", touch("A,ca\0ll," + AT + ",,,,,\n"), "", "must be text, touches.csv line 3 holds a NUL"
    ),
    "UTF-16": Bad("transitions", step("").encode("utf-16"), "", "must be", says="UTF-16"),
    "invalid UTF-8": Bad(
        "touches", touch("A,caf\xe9," + AT + ",,,,,\n").encode("latin-1"), "", "must be UTF-8, touches.csv line 3"
    ),
    "cut off inside a letter": Bad("touches", touch("é")[: -len(CALL)].encode()[:-1], "", "must be UTF-8, the end"),
    "unbalanced quote": Bad(
        "touches", touch('A,"call,' + AT + ",,,,,\n"), "", "must close each quote, touches.csv line 3"
    ),
    "not Parquet": Bad("touches", None, "", "must be Parquet"),
    "column named that leadscore does not read": Bad(
        "touches",
        touch(""),
        "knd",
        "must be a column that leadscore reads",
        says="'kind'",
        more='[tables.touches.columns]\nknd = "k"',
    ),
    # Rows.
    "ragged rows": Bad(
        "touches", touch("B,call\n" + "\nA,a," + AT + ",,,,,,,9\n"), "", "must have 8 values", (2, 3), ("B", "A")
    ),
    "only ragged leads": Bad(
        "leads",
        "lead_id,created_at,employees,source\nA,2024-03-05T09:00:00Z,1,web,\nB,2024-03-05T09:00:00Z,2,web,\n",
        "",
        "must have a row of 4 values",
        says="end in a comma",
    ),
    "ragged lead": Bad("leads", LEADS + A + "B\n" + C, "", "must have 4 values", (2,), ("B",)),
    "unknown stage": Bad(
        "transitions",
        step(f"B,MQLL,{AT}\nC,zzz,{AT}\n"),
        "stage",
        "must be a stage",
        (2, 3),
        ("B", "C"),
        "'mql' for 'MQLL'",
    ),
    "empty stage": Bad("transitions", step(f"B,,{AT}\n"), "stage", "must not be empty", (2,), ("B",)),
    "unparsable time": Bad(
        "touches", touch("B,call,yesterday,,,,,\n"), "occurred_at", READABLE, (2,), ("B",), "'yesterday'"
    ),
    "29 February of another year": Bad(
        "touches", touch("B,call,2023-02-29T09:00:00Z,,,,,\n"), "occurred_at", READABLE, (2,), ("B",)
    ),
    "24:00:00": Bad("touches", touch("B,call,2024-03-05T24:00:00Z,,,,,\n"), "occurred_at", READABLE, (2,), ("B",)),
    "month 13": Bad(
        "touches", touch("B,call,2024-13-05,,,,,\n"), "occurred_at", READABLE, (2,), ("B",), time='timezone = "UTC"'
    ),
    "American date": Bad("touches", touch("B,call,03/05/2024 9:00 AM,,,,,\n"), "occurred_at", READABLE, (2,), ("B",)),
    "unparsable recorded_at": Bad("touches", touch(f"B,call,{AT},soon,,,,\n"), "recorded_at", READABLE, (2,), ("B",)),
    "naive without timezone": Bad(
        "touches", touch("B,call,2024-03-05 09:00,,,,,\n"), "occurred_at", ZONED, (2,), ("B",)
    ),
    "date without timezone": Bad("touches", touch("B,call,2024-03-05,,,,,\n"), "occurred_at", ZONED, (2,), ("B",)),
    "whole days without timezone": Bad(
        "transitions", step(""), "occurred_at", ZONED, (1, 2), ("A",), time='whole_days = ["transitions.occurred_at"]'
    ),
    "year 9999": Bad("touches", touch("B,call,9999-12-31T23:59:59Z,,,,,\n"), "occurred_at", YEARS, (2,), ("B",)),
    "year 0001": Bad("touches", touch("B,call,0001-01-01T00:00:00Z,,,,,\n"), "occurred_at", YEARS, (2,), ("B",)),
    "last day of year 9999": Bad(
        "leads", LEADS + A + "B,9999-12-31,,\n", "created_at", YEARS, (2,), ("B",), time='timezone = "Asia/Tokyo"'
    ),
    "first moment past the years": Bad(
        "touches", touch("B,call,2101-01-01T00:00:00Z,,,,,\n"), "occurred_at", YEARS, (2,), ("B",)
    ),
    "missing time": Bad("touches", touch("B,call,,,,,,\n"), "occurred_at", "must not be empty", (2,), ("B",)),
    "lead twice, different": Bad(
        "leads",
        LEADS + A + B + A.replace("10", "11"),
        "lead_id",
        "must not repeat",
        (1, 3),
        ("A",),
        dragged={"transitions": (1,), "touches": (1,)},
    ),
    "empty lead_id": Bad("leads", LEADS + A + B + f",{AT},1,web\n", "lead_id", "must not be empty", (3,)),
    "transition of an unknown lead": Bad(
        "transitions", step(f"Z,mql,{AT}\n"), "lead_id", "must be the lead_id of a lead", (2,), ("Z",)
    ),
    "touch of an unknown lead": Bad(
        "touches", touch(f"Z,call,{AT},,,,,\n"), "lead_id", "must be the lead_id of a lead", (2,), ("Z",)
    ),
    "touch of no lead": Bad("touches", touch(f",call,{AT},,,,,\n"), "lead_id", "must not be empty", (2,)),
    "change of an unknown lead": Bad(
        "changes",
        CHANGED + f"A,amount,1,{AT}\nZ,owner,o,{AT}\n",
        "lead_id",
        "must be the lead_id of a lead",
        (2,),
        ("Z",),
        more=CHANGES,
    ),
    "change of no attribute": Bad(
        "changes", CHANGED + f"A,,1,{AT}\n", "attribute", "must not be empty", (1,), ("A",), more=CHANGES
    ),
    "change to no number": Bad(
        "changes",
        CHANGED + f"A,owner,o,{AT}\nB,amount,much,{AT}\n",
        "value",
        "must be a number",
        (2,),
        ("B",),
        "'much'",
        more=CHANGES,
        emptied="much",
    ),
    "changes without a table": Bad("changes", None, "", "table is missing", more=CHANGES),
    "empty kind": Bad("touches", touch(f"B,,{AT},,,,,\n"), "kind", "must not be empty", (2,), ("B",)),
    "unknown direction": Bad(
        "touches",
        touch(f"B,call,{AT},,inbnd,,,\n"),
        "direction",
        "must be a direction",
        (2,),
        ("B",),
        "'inbound'",
        emptied="inbnd",
    ),
    "text for a number": Bad(
        "leads", LEADS + A + f"B,{AT},ten,\n", "employees", "must be a number", (2,), ("B",), "'ten'", emptied="ten"
    ),
    "decimal comma": Bad(
        "touches", touch(f'B,call,{AT},,,,"1,5",\n'), "value", "must be a number", (2,), ("B",), emptied='"1,5"'
    ),
    "infinite number": Bad(
        "touches", touch(f"B,call,{AT},,,,inf,\n"), "value", "must be a finite number", (2,), ("B",), emptied="inf"
    ),
    "NaN as text": Bad(
        "leads", LEADS + A + f"B,{AT},NaN,\n", "employees", "must be a number", (2,), ("B",), emptied="NaN"
    ),
    "overflowing number": Bad(
        "leads", LEADS + A + f"B,{AT},1e999,\n", "employees", "must be a finite number", (2,), ("B",), emptied="1e999"
    ),
    "huge value": Bad(
        "touches",
        touch(f"B,call,{AT},,,,-9000000000001,\n"),
        "value",
        "must not be larger than 9e+12",
        (2,),
        ("B",),
        emptied="-9000000000001",
    ),
    "huge attribute": Bad(
        "leads",
        LEADS + A + f"B,{AT},1e39,\n",
        "employees",
        "must not be larger than 3e+38",
        (2,),
        ("B",),
        emptied="1e39",
    ),
    "bad boolean": Bad(
        "leads",
        "lead_id,created_at,employees,source,do_not_score\n" + f"A,{AT},,,\nB,{AT},,,maybe\n",
        "do_not_score",
        "must be true or false",
        (2,),
        ("B",),
        "'maybe'",
    ),
    "event twice, different": Bad(
        "touches",
        touch(f"A,call,{AT},,,,,e1\nA,mail,{AT},,,,,e1\nA,mail,{AT},,,,,e2\n"),
        "event_id",
        "must not repeat",
        (2, 3),
        ("A",),
    ),
    "naive Parquet": Bad(
        "touches",
        pa.table({"lead_id": ["A", "B"], "kind": ["x", "y"], "occurred_at": NAIVE}),
        "occurred_at",
        ZONED,
        (1, 2),
        ("A", "B"),
    ),
    "NaN in Parquet": Bad(
        "touches",
        pa.table({"lead_id": ["A", "B"], "kind": ["x", "y"], "occurred_at": ARROW_AT, "value": [float("nan"), None]}),
        "value",
        "must be a finite number",
        (1,),
        ("A",),
        emptied="NaN",
    ),
    "times that overflow microseconds": Bad(
        "touches",
        pa.table(
            {
                "lead_id": ["A", "B"],
                "kind": ["x", "y"],
                "occurred_at": pa.array([2**64 // 1000 + 1_709_629_200_000, -(2**53)], pa.timestamp("ms", "UTC")),
            }
        ),
        "occurred_at",
        YEARS,
        (1, 2),
        ("A", "B"),
    ),
    "numbers for times": Bad(
        "touches",
        pa.table({"lead_id": ["A"], "kind": ["x"], "occurred_at": [1709629200]}),
        "occurred_at",
        READABLE,
        (1,),
        ("A",),
        "1709629200",
    ),
}
WHOLE = {name: bad for name, bad in BAD.items() if bad.rows is None}
MENDED = {name: bad for name, bad in BAD.items() if bad.rows is not None}


def bad_folder(folder: Path, bad: Bad) -> tuple[Path, Funnel]:
    write(folder, **{bad.table: bad.contents})
    if bad is BAD["not Parquet"]:
        (folder / "touches.parquet").write_bytes(b"PAR1")
    return folder, funnel(bad.time, bad.more)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_each_malformed_input_has_its_error(tmp_path: Path, bad: Bad) -> None:
    found = problems(*bad_folder(tmp_path, bad))

    first = found[0]
    assert (first.table, first.column, first.leads) == (bad.table, bad.column, bad.leads)
    assert first.rule.startswith(bad.rule)
    assert first.rows == len(bad.rows or ())
    assert bad.says in str(first)
    assert len(found) == 1


@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD.values() if bad.rows is None],
    ids=[name for name, bad in BAD.items() if bad.rows is None],
)
def test_no_quarantine_mends_a_whole_table(tmp_path: Path, bad: Bad) -> None:
    assert problems(*bad_folder(tmp_path, bad), quarantine=True)[0].table == bad.table
    assert not (tmp_path / "quarantine").exists()


@pytest.mark.parametrize("bad", MENDED.values(), ids=MENDED.keys())
def test_bad_rows_are_set_aside_and_the_rest_is_read(
    tmp_path: Path, bad: Bad, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    folder, settings = bad_folder(tmp_path, bad)
    tables = read_tables(folder, settings, quarantine=True)

    aside = set_aside(folder)
    rows = {bad.table: bad.rows or (), **bad.dragged}
    assert {table: tuple(int(row["row"]) for row in each) for table, each in aside.items()} == rows
    assert all(bad.rule in row["rule"] for row in aside[bad.table])
    assert all(row["rule"] == "lead_id: of a quarantined lead" for table in bad.dragged for row in aside[table])
    count = f"{len(rows[bad.table])} rows of {bad.table}"
    assert (f"{count} have values read as missing" if bad.emptied else f"set aside {count}") in caplog.text
    assert str(folder / "quarantine" / f"{bad.table}.csv") in caplog.text

    clean = tmp_path / "clean"
    clean.mkdir()
    for name in ("leads", "transitions", "touches", "changes"):
        for path in folder.glob(f"{name}.*"):
            if bad.emptied:
                emptied(path, clean / path.name, bad.emptied)
            else:
                without_rows(path, clean / path.name, rows.get(name, ()))
    # What is incomplete is seen only where a transition is set aside.
    tables = replace(tables, leads=replace(tables.leads, incomplete=None))
    assert_same(tables, read_tables(clean, settings))


def emptied(source: Path, target: Path, value: str) -> None:
    if source.suffix == ".parquet":
        rows = pq.read_table(source)
        place = rows.column_names.index("value")
        pq.write_table(rows.set_column(place, "value", pa.array([None] * len(rows), pa.float64())), target)
    else:
        target.write_text(source.read_text(encoding="utf-8").replace(value, ""), encoding="utf-8")


def without_rows(source: Path, target: Path, rows: Sequence[int]) -> None:
    if source.suffix == ".parquet":
        table = pq.read_table(source)
        kept = [row for row in range(len(table)) if row + 1 not in rows]
        pq.write_table(table.take(pa.array(kept, pa.int64())), target)
        return
    header, *lines = (line for line in source.read_text(encoding="utf-8").splitlines() if line)
    kept_lines = [line for row, line in enumerate(lines, 1) if row not in rows]
    target.write_text("".join(f"{line}\n" for line in (header, *kept_lines)), encoding="utf-8")


def flat(tables: Tables) -> dict[str, Any]:
    """Every array and name of the tables, by where it stands."""
    found: dict[str, Any] = {"known_until": tables.known_until}

    def add(place: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                add(f"{place}.{key}", each)
        elif hasattr(value, "__slots__"):
            for name in value.__slots__:
                add(f"{place}.{name}", getattr(value, name))
        else:
            found[place] = value

    for name in ("leads", "transitions", "touches", "changes"):
        add(name, getattr(tables, name))
    return found


def assert_same(one: Tables, other: Tables) -> None:
    first, second = flat(one), flat(other)
    assert first.keys() == second.keys()
    for place, value in first.items():
        np.testing.assert_array_equal(value, second[place], err_msg=place)
        assert getattr(value, "dtype", None) == getattr(second[place], "dtype", None), place


def test_all_problems_of_all_tables_come_in_one_error(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        leads=LEADS + A + A.replace("10", "11") + f"B,{AT},x,\n",
        transitions=STEPS + f"A,nope,never\nZ,mql,{AT}\n",
        touches=b"",
    )
    found = [(problem.table, problem.column) for problem in problems(folder, funnel())]
    assert found == [
        ("leads", "employees"),
        ("leads", "lead_id"),
        ("transitions", "lead_id"),
        ("transitions", "occurred_at"),
        ("transitions", "stage"),
        ("touches", ""),
    ]


def test_a_row_that_breaks_several_rules_is_set_aside_once(tmp_path: Path) -> None:
    folder = write(tmp_path, transitions=step("Z,nope,never\n"))
    tables = read_tables(folder, funnel(), quarantine=True)
    (row,) = set_aside(folder)["transitions"]
    rules = ["lead_id: must be the lead_id of a lead", "occurred_at: must be a time in ISO 8601"]
    assert row == {
        "row": "2",
        "rule": "; ".join([*rules, "stage: must be a stage of the funnel"]),
        "lead_id": "Z",
        "stage": "nope",
        "occurred_at": "never",
    }
    assert len(tables.transitions.lead) == 2


def test_a_second_run_replaces_the_quarantine(tmp_path: Path) -> None:
    folder = write(tmp_path, touches=touch("Z,call,never,,,,,\n"))
    read_tables(folder, funnel(), quarantine=True)
    assert set_aside(folder).keys() == {"touches"}
    write(tmp_path, transitions=step("Z,mql,never\n"))
    read_tables(folder, funnel(), quarantine=True)
    assert set_aside(folder).keys() == {"transitions"}


def test_rows_of_a_quarantined_lead_go_with_it(tmp_path: Path) -> None:
    folder = write(tmp_path, leads=LEADS + A.replace("2024-03-01T09:00:00Z", "soon") + B)
    assert len(problems(folder, funnel())) == 1
    tables = read_tables(folder, funnel(), quarantine=True)
    assert {table: len(rows) for table, rows in set_aside(folder).items()} == {
        "leads": 1,
        "touches": 1,
        "transitions": 1,
    }
    assert (list(tables.leads.ids), len(tables.touches.lead), len(tables.transitions.lead)) == (["B"], 0, 0)


def test_quarantine_of_every_lead_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path, leads=LEADS + "A,soon,,\n")
    assert problems(folder, funnel(), quarantine=True)[0].column == "created_at"


def test_rows_keep_their_numbers_after_ragged_and_empty_lines(tmp_path: Path) -> None:
    folder = write(tmp_path, touches=TOUCHES + "A\n\n" + CALL + "A,x\n" + CALL + "Z,call,never,,,,,\n" + "A,\n")
    read_tables(folder, funnel(), quarantine=True)
    assert [int(row["row"]) for row in set_aside(folder)["touches"]] == [1, 3, 5, 6]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "nowhere", funnel())
    assert (found.table, found.rule) == (str(tmp_path / "nowhere"), "must be a folder")


def test_two_files_for_one_table(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, touches=pa.table({"lead_id": ["A"]}))
    (found,) = problems(tmp_path, funnel())
    assert found.rule == "must be one file, there are touches.parquet and touches.csv"


def test_a_funnel_with_three_mistakes_names_all_three(tmp_path: Path) -> None:
    (tmp_path / "funnel.toml").write_text(
        'preset = "b2b"\n[time]\ntimezone = "Mars/Base"\nyears = [2100, 1990]\n[owner]\ncapacity = 0\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_funnel(tmp_path / "funnel.toml")
    assert all(
        part in str(caught.value) for part in ("3 bad settings", "time.timezone", "time.years", "owner.capacity")
    )


def test_the_end_of_the_history_is_never_guessed(tmp_path: Path) -> None:
    silent = parse_funnel('preset = "b2b"')
    with pytest.raises(ConfigError, match=r"time\.known_until: is not set"):
        read_tables(write(tmp_path), silent)
    with pytest.raises(ConfigError, match="needs a time zone"):
        read_tables(tmp_path, silent, known_until=datetime(2024, 1, 1))  # noqa: DTZ001
    assert read_tables(tmp_path, silent, known_until=datetime(2024, 1, 1, tzinfo=UTC)).known_until == us(2024, 1, 1)
    assert read_tables(tmp_path, funnel()).known_until == us(2024, 6, 1)


# What is accepted, and what becomes of it.


def test_good_tables_in_full(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        leads="lead_id,created_at,recorded_at,employees,source,do_not_score\n"
        "007,2024-03-01T09:00:00Z,2024-03-01T10:00:00Z,10,web,YES\n"
        "b,2024-03-02 09:00:00+02:00,,-1e3,,\n",
        transitions="lead_id,stage,occurred_at,recorded_at\nb,won,2024-03-04T09:00Z,2024-03-03T09:00Z\n007,lost,2024-03-05T09:00Z,\n",
        touches=TOUCHES
        + f"b,call,{AT},,OUT,rep,1.5,\n007,mail,{AT},2024-03-06T09:00:00Z,,,,\n007,call,{AT},,inbound,,,\n",
        changes=CHANGED + f"b,amount,5,{AT}\nb,owner,x,{AT}\n007,amount,,{AT}\nb,mood,bad,{AT}\n",
    )
    tables = read_tables(folder, funnel(more=CHANGES))

    leads, steps, touches = tables.leads, tables.transitions, tables.touches
    assert list(leads.ids) == ["007", "b"]
    assert list(leads.created) == [us(2024, 3, 1, 9), us(2024, 3, 2, 7)]
    assert list(leads.known) == [us(2024, 3, 1, 10), us(2024, 3, 2, 7)]
    assert list(leads.do_not_score) == [True, False]
    assert list(leads.numbers["employees"]) == [10, -1000]
    assert texts(leads.categories["source"]) == ["web", None]
    assert (list(steps.lead), list(steps.stage)) == ([1, 0], [5, 6])
    assert list(steps.occurred) == list(steps.known) == [us(2024, 3, 4, 9), us(2024, 3, 5, 9)]
    assert list(touches.lead) == [1, 0, 0]
    assert list(touches.known) == [us(2024, 3, 5, 9), us(2024, 3, 6, 9), us(2024, 3, 5, 9)]
    assert texts(touches.kind) == ["call", "mail", "call"]
    assert touches.direction is not None
    assert touches.by is not None
    assert list(touches.direction) == [2, 0, 1]
    assert texts(touches.by) == ["rep", None, None]
    np.testing.assert_array_equal(touches.value, [1.5, np.nan, np.nan])
    amount, owner = tables.changes["amount"], tables.changes["owner"]
    np.testing.assert_array_equal(amount.value, [5, np.nan])
    assert list(amount.lead) == [1, 0]
    assert texts(owner.value) == ["x"]  # type: ignore[arg-type]


TYPES = {
    "lead": np.int64,
    "occurred": np.int64,
    "created": np.int64,
    "known": np.int64,
    "codes": np.int32,
    "stage": np.int8,
    "direction": np.int8,
    "do_not_score": np.bool_,
    "employees": np.float64,
    "value": np.float64,
    "amount": np.float64,
    "ids": np.object_,
}


@pytest.mark.parametrize("rows", ["", CALL], ids=["header only", "a row"])
def test_columns_have_their_types(tmp_path: Path, rows: str) -> None:
    folder = write(tmp_path, transitions=STEPS, touches=TOUCHES + rows, changes=CHANGED)
    for place, value in flat(read_tables(folder, funnel(more=CHANGES))).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == TYPES[place.rpartition(".")[2]], place


SPELLINGS = {
    "BOM": ("\ufeff" + TOUCHES + CALL).encode(),
    "CRLF": (TOUCHES + CALL).replace("\n", "\r\n").encode(),
    "no last newline": (TOUCHES + CALL)[:-1].encode(),
    "empty lines": (TOUCHES + "\n" + CALL + "\n\n").encode(),
    "quotes": b'"lead_id","kind",occurred_at,direction,by,value,event_id\n'
    b'"A","call","2024-03-04T09:00:00Z","in","rep","1.5",""\n',
    "other order, more columns": b"kind,x,value,by,direction,event_id,occurred_at,lead_id\n"
    b"call,9,+1.50,rep,INBOUND,,2024-03-04 10:00:00.000+0100,A\n",
}


@pytest.mark.parametrize("contents", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spellings_of_one_table_are_one_table(tmp_path: Path, contents: bytes) -> None:
    plain, spelt = tmp_path / "plain", tmp_path / "spelt"
    plain.mkdir()
    spelt.mkdir()
    assert_same(read_tables(write(spelt, touches=contents), funnel()), read_tables(write(plain), funnel()))


def test_quoted_newlines_commas_and_quotes_are_text(tmp_path: Path) -> None:
    folder = write(tmp_path, touches=TOUCHES + f'A,"a, b\nc ""d""",{AT},,,,,\nA,5" pipe,{AT},,,,,\n')
    assert texts(read_tables(folder, funnel()).touches.kind) == ['a, b\nc "d"', '5" pipe']


def test_categories_stay_as_they_are_written(tmp_path: Path) -> None:
    folder = write(tmp_path, touches=TOUCHES + f"A, call ,{AT},,,,,\nA,NULL,{AT},,,nan,,\n")
    tables = read_tables(folder, funnel())
    assert texts(tables.touches.kind) == [" call ", "NULL"]
    assert tables.touches.by is not None
    assert texts(tables.touches.by) == [None, "nan"]


def test_same_lead_twice_is_one_lead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tables = read_tables(write(tmp_path, leads=LEADS + A + B + A + A), funnel())
    assert list(tables.leads.ids) == ["A", "B"]
    assert "leads: 2 rows repeat another and count once" in caplog.text


def test_same_event_twice_is_one_touch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = [f"B,mail,{AT},,,,,e1\n", CALL, f"A,mail,{AT},,,,,e2\n", CALL]
    tables = read_tables(write(tmp_path, touches=TOUCHES + "".join([*rows, *rows])), funnel())
    assert list(tables.touches.lead) == [1, 0, 0, 0, 0, 0]  # rows without an event_id count each time
    assert "touches: 2 rows repeat another and count once" in caplog.text


def test_an_event_is_compared_with_the_good_rows_only(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        touches=TOUCHES
        + f"A,call,never,,,,,e1\nA,call,{AT},,,,,e1\nA,call,{AT},,,,,e1\nB,x,{AT},,,,,e2\nB,y,{AT},,,,,e2\n",
    )
    assert [problem.column for problem in problems(folder, funnel())] == ["occurred_at", "event_id"]
    assert len(read_tables(folder, funnel(), quarantine=True).touches.lead) == 1
    assert [row["row"] for row in set_aside(folder)["touches"]] == ["1", "4", "5"]


def test_a_meeting_dated_next_year_is_not_yet_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tables = read_tables(write(tmp_path, touches=touch("A,meeting,2025-03-05T09:00:00Z,,,,,\n")), funnel())
    assert list(tables.touches.known) == [us(2024, 3, 4, 9), us(2025, 3, 5, 9), us(2024, 3, 4, 9)]
    assert tables.known_until == us(2024, 6, 1)
    assert "touches: 1 rows become known only after the end of the history" in caplog.text


def test_a_lead_with_a_million_touches(tmp_path: Path) -> None:
    n = 1_000_000
    minutes = pa.array(us(2020, 1, 1) + 60_000_000 * np.arange(n)).cast(pa.timestamp("us", "UTC"))
    folder = write(
        tmp_path, touches=pa.table({"lead_id": pa.repeat("A", n), "kind": pa.repeat("x", n), "occurred_at": minutes})
    )
    touches = read_tables(folder, funnel()).touches
    assert (len(touches.lead), int(touches.lead.max()), touches.kind.names) == (n, 0, ("x",))
    assert (np.diff(touches.known) == 60_000_000).all()


def test_columns_that_are_not_used_are_named_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(
        tmp_path,
        leads="lead_id,created_at,employees,source,owner,city\n" + A.strip() + ",secret,Paris\n",
        changes=CHANGED,
    )
    tables = read_tables(tmp_path, funnel())
    assert "leads: columns not used: owner, city; [attributes] does not declare them" in caplog.text
    assert "not used: changes, because [changes] declares no attribute" in caplog.text
    assert "secret" not in caplog.text
    assert tables.changes == {}
    assert "read touches: 1 rows, 1 leads" in caplog.text


def test_changes_of_undeclared_attributes_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = write(tmp_path, changes=CHANGED + f"A,mood,bad,{AT}\nA,amount,1,{AT}\nZ,mood,bad,never\n")
    assert list(read_tables(folder, funnel(more=CHANGES)).changes["amount"].lead) == [0]
    assert "changes: 2 rows not used" in caplog.text


def test_columns_under_other_names(tmp_path: Path) -> None:
    renamed = funnel(
        more='[tables.touches]\nfile = "log.csv"\n[tables.touches.columns]\n'
        'occurred_at = "date"\nrecorded_at = "date"\nkind = "what"'
    )
    folder = write(tmp_path, touches=None)
    (folder / "log.csv").write_text(f"lead_id,what,date,kind\nA,x,{AT},not this\n")
    assert texts(read_tables(folder, renamed).touches.kind) == ["x"]
    (folder / "log.csv").write_text(f"lead_id,whut,date\nA,x,{AT}\n")
    (found,) = problems(folder, renamed)
    assert found.rule == "column is missing, named 'what' in [tables.touches] columns"
    assert "Did you mean 'whut'" in found.fix


# Times.

BERLIN = 'timezone = "Europe/Berlin"'
DAYS = BERLIN + '\nwhole_days = ["touches.occurred_at"]'


@pytest.mark.parametrize(
    ("written", "time", "moment"),
    [
        ("2024-03-04T09:00:00Z", "", us(2024, 3, 4, 9)),
        ("2024-03-04 09:00:00+01:00", "", us(2024, 3, 4, 8)),
        ("2024-03-04T09:00:00.123456789-0130", "", us(2024, 3, 4, 10, 30) + 123456),
        ("2024-03-04T09:00+01", "", us(2024, 3, 4, 8)),
        ("2024-03-04T09:00:00", BERLIN, us(2024, 3, 4, 8)),
        ("2024-07-04 09:00", BERLIN, us(2024, 7, 4, 7)),
        ("2024-03-31T01:59:59", BERLIN, us(2024, 3, 31, 0, 59, 59)),
        ("2024-03-31T02:30:00", BERLIN, us(2024, 3, 31, 1, 30)),
        ("2024-03-31T03:00:00", BERLIN, us(2024, 3, 31, 1)),
        ("2024-10-27T01:59:59", BERLIN, us(2024, 10, 26, 23, 59, 59)),
        ("2024-10-27T02:30:00", BERLIN, us(2024, 10, 27, 0, 30)),
        ("2024-10-27T03:00:00", BERLIN, us(2024, 10, 27, 2)),
        ("2024-03-04", BERLIN, us(2024, 3, 4, 23) - 1),
        ("2024-03-31", BERLIN, us(2024, 3, 31, 22) - 1),
        ("2024-02-29", BERLIN, us(2024, 2, 29, 23) - 1),
        ("2024-03-04T09:00:00", DAYS, us(2024, 3, 4, 23) - 1),
        ("2024-03-04T23:30:00Z", DAYS, us(2024, 3, 5, 23) - 1),
        ("1990-01-01T00:00:00Z", "", us(1990, 1, 1)),
        ("2100-12-31T23:59:59.999999Z", "", us(2101, 1, 1) - 1),
    ],
)
def test_times_as_text(tmp_path: Path, written: str, time: str, moment: int) -> None:
    folder = write(tmp_path, touches=TOUCHES + f"A,call,{written},,,,,\n")
    assert list(read_tables(folder, funnel(time)).touches.known) == [moment]


def test_mixed_time_zones_in_one_column(tmp_path: Path) -> None:
    written = [
        "2024-03-04T09:00:00Z",
        "2024-03-04T09:00:00-05:00",
        "2024-03-04",
        "2024-03-04T09:00:00",
        "2024-03-04T09:00:00.1234567Z",
    ]
    folder = write(tmp_path, touches=TOUCHES + "".join(f"A,call,{each},,,,,\n" for each in written))
    first = us(2024, 3, 4, 9)
    hour = 3_600_000_000
    assert list(read_tables(folder, funnel(BERLIN)).touches.known) == [
        first,
        first + 5 * hour,
        us(2024, 3, 4, 23) - 1,
        first - hour,
        first + 123_456,
    ]


@pytest.mark.parametrize(
    ("column", "time", "moment"),
    [
        (pa.array([1709542800], pa.timestamp("s", "UTC")), "", us(2024, 3, 4, 9)),
        (pa.array([1709542800_000], pa.timestamp("ms", "America/New_York")), "", us(2024, 3, 4, 9)),
        (pa.array([1709542800_123456789], pa.timestamp("ns", "UTC")), "", us(2024, 3, 4, 9) + 123456),
        (pa.array([-1], pa.timestamp("ns", "UTC")), "years = [1960, 2030]", -1),
        (pa.array([datetime(2024, 3, 4, 9)]), BERLIN, us(2024, 3, 4, 8)),  # noqa: DTZ001
        (pa.array([date(2024, 3, 4)]), BERLIN, us(2024, 3, 4, 23) - 1),
        (pa.array([date(2024, 3, 4)]).cast(pa.date64()), BERLIN, us(2024, 3, 4, 23) - 1),
        (pa.array(["2024-03-04T09:00:00Z"], pa.large_string()), "", us(2024, 3, 4, 9)),
        (pa.array(["2024-03-04T09:00:00Z"]).dictionary_encode(), "", us(2024, 3, 4, 9)),
    ],
    ids=[
        "s",
        "ms of another zone",
        "ns are cut",
        "ns before 1970",
        "naive",
        "date32",
        "date64",
        "large string",
        "dictionary",
    ],
)
def test_times_in_parquet(tmp_path: Path, column: pa.Array, time: str, moment: int) -> None:
    folder = write(tmp_path, touches=pa.table({"lead_id": ["A"], "kind": ["x"], "occurred_at": column}))
    assert list(read_tables(folder, funnel(time)).touches.known) == [moment]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, 1], pa.int32()),
        pa.array([7, 1], pa.uint8()),
        pa.array([7.0, 1.0]),
        pa.array([Decimal(7), Decimal(1)]),
        pa.array(["7", "1"], pa.large_string()),
        pa.array(["7", "1"]).dictionary_encode(),
        pa.array([b"7", b"1"]),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_of_any_type_meet(tmp_path: Path, ids: pa.Array) -> None:
    folder = write(
        tmp_path,
        leads=LEADS + A.replace("A", "1") + B.replace("B", "7"),
        transitions=STEPS,
        touches=pa.table({"lead_id": ids, "kind": ["x", "y"], "occurred_at": ARROW_AT}),
    )
    assert list(read_tables(folder, funnel()).touches.lead) == [1, 0]


def test_parquet_columns_of_other_types(tmp_path: Path) -> None:
    leads = {
        "lead_id": [1, 2],
        "created_at": ARROW_AT,
        "employees": pa.array([3, None], pa.int16()),
        "source": pa.array([5, None], pa.int8()),
        "do_not_score": [True, None],
    }
    folder = write(tmp_path, leads=pa.table(leads), transitions=STEPS, touches=TOUCHES)
    read = read_tables(folder, funnel()).leads
    assert (list(read.ids), list(read.do_not_score), texts(read.categories["source"])) == (
        ["1", "2"],
        [True, False],
        ["5", None],
    )
    np.testing.assert_array_equal(read.numbers["employees"], [3, np.nan])


# Databases.


def database(folder: Path) -> Path:
    path = folder / "crm.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table activity (person integer, what text, at text, amount real)")
        connection.executemany(
            "insert into activity values (?, ?, ?, ?)", [(1, "call", AT, 1.5), (2, "mail", AT, None)] * 3
        )
    connection.close()
    return path


SQL = """
[source]
url = "{url}"
[tables.touches]
query = "{query}"
[tables.touches.columns]
lead_id = "person"
kind = "what"
occurred_at = "at"
"""


def test_touches_from_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_DATABASE", str(database(tmp_path)))
    folder = write(tmp_path, leads=LEADS + A.replace("A", "1") + B.replace("B", "2"), transitions=STEPS, touches=None)
    query = "select person, what, at, amount as value from activity order by person"
    touches = read_tables(folder, funnel(more=SQL.format(url="sqlite:///${CRM_DATABASE}", query=query))).touches
    assert (list(touches.lead), texts(touches.kind)) == ([0] * 3 + [1] * 3, ["call"] * 3 + ["mail"] * 3)
    np.testing.assert_array_equal(touches.value, [1.5] * 3 + [np.nan] * 3)
    empty = read_tables(
        folder, funnel(more=SQL.format(url="sqlite:///${CRM_DATABASE}", query=query + " limit 0"))
    ).touches
    assert len(empty.lead) == 0


def test_a_query_that_fails_shows_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_PASSWORD", "hunter2")
    url = f"sqlite:///{database(tmp_path)}?timeout=5"
    (found,) = problems(
        write(tmp_path, touches=None), funnel(more=SQL.format(url=url, query="select hunter2 from nowhere"))
    )
    assert (found.table, found.column) == ("touches", "")
    assert "no such table: nowhere" in found.rule
    # What the driver says back may hold what came from the environment.
    monkeypatch.setenv("CRM_FILE", str(tmp_path / "crm.db"))
    more = SQL.format(url="sqlite:///${CRM_FILE}", query=f"select * from '{tmp_path / 'crm.db'}'")
    (found,) = problems(tmp_path, funnel(more=more))
    assert "no such table: ***" in found.rule
    for url in ("nosuch://u:${CRM_PASSWORD}@host/db", "sqlite://u:${CRM_PASSWORD}@host:x/db", "u:${CRM_PASSWORD}"):
        with pytest.raises((ConfigError, DataError)) as caught:
            read_tables(tmp_path, funnel(more=SQL.format(url=url, query="select 1")))
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_an_environment_variable_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRM_DATABASE", raising=False)
    with pytest.raises(ConfigError, match=r"source\.url: the environment variable CRM_DATABASE is not set"):
        read_tables(
            write(tmp_path, touches=None), funnel(more=SQL.format(url="sqlite:///${CRM_DATABASE}", query="select 1"))
        )


# The same checks in memory.


def records(**change: object) -> dict[TableName, pa.Table]:
    """One lead with twenty touches, as the API has it."""
    touches = [
        {"lead_id": "A", "kind": "call", "occurred_at": f"2024-03-{day:02}T09:00:00Z", "value": 1.0} | change
        for day in range(1, 21)
    ]
    return {
        "leads": pa.Table.from_pylist(
            [{"lead_id": "A", "created_at": AT, "employees": 5.0, "source": "web", "do_not_score": False}]
        ),
        "transitions": pa.Table.from_pylist([{"lead_id": "A", "stage": "mql", "occurred_at": AT}]),
        "touches": pa.Table.from_pylist(touches),
    }


def test_tables_in_memory_are_checked_by_the_same_rules(tmp_path: Path) -> None:
    folder = write(tmp_path, **records())
    assert_same(check_tables(records(), funnel(), us(2024, 6, 1)), read_tables(folder, funnel()))
    with pytest.raises(DataError) as caught:
        check_tables(records(occurred_at="never", lead_id="Z"), funnel(), us(2024, 6, 1))
    assert [(problem.column, problem.rows) for problem in caught.value.problems] == [
        ("lead_id", 20),
        ("occurred_at", 20),
    ]


def test_a_lead_alone_needs_no_other_table() -> None:
    leads = records()["leads"]
    tables = check_tables({"leads": leads, "touches": pa.Table.from_pylist([])}, funnel(more=CHANGES), us(2024, 6, 1))
    assert (len(tables.leads.ids), len(tables.touches.lead), len(tables.transitions.lead)) == (1, 0, 0)
    with pytest.raises(DataError, match="leads: table is missing"):
        check_tables({}, funnel(), us(2024, 6, 1))


def test_columns_of_nothing_are_missing() -> None:
    rows = {"lead_id": ["A"], "kind": ["x"], "occurred_at": [AT]} | {
        name: [None] for name in ("recorded_at", "direction", "by", "value", "event_id")
    }
    touches = check_tables(records() | {"touches": pa.table(rows)}, funnel(), us(2024, 6, 1)).touches
    assert list(touches.known) == [us(2024, 3, 5, 9)]
    assert touches.direction is not None
    assert touches.by is not None
    assert (list(touches.direction), texts(touches.by)) == ([0], [None])
    with pytest.raises(DataError) as caught:
        check_tables(records() | {"touches": pa.table({name: [None, ""] for name in rows})}, funnel(), us(2024, 6, 1))
    assert [problem.column for problem in caught.value.problems] == ["lead_id", "occurred_at", "kind"]


def test_a_column_of_its_own_is_no_attribute() -> None:
    settings = parse_funnel('preset = "b2b"\n[attributes]\nnumbers = ["created_at"]')
    with pytest.raises(ConfigError, match="created_at cannot be declared"):
        check_tables(records(), settings, 0)


@settings(deadline=None, max_examples=30)
@given(
    ids=st.lists(st.text(st.sampled_from("ab\0é"), min_size=1, max_size=20), unique=True, max_size=30),
    wanted=st.lists(st.none() | st.text(st.sampled_from("ab\0é"), max_size=20), max_size=30),
)
def test_a_lookup_among_many_leads_finds_each_and_no_other(ids: list[str], wanted: list[str | None]) -> None:
    many = [*ids, *(f"lead {number}" for number in range(200))]
    asked = [*wanted, *many]
    found = Places.of(pa.array(many)).find(pa.array(["cut off", *asked, "cut off"]).slice(1, len(asked)))
    assert list(found) == [many.index(each) if each in many else -1 for each in asked]


def test_two_leads_of_one_hash_are_told_apart() -> None:
    places = Places.of(pa.array([f"lead {number}" for number in range(200)]))
    clash = replace(places, place=np.roll(places.place, 1))  # each hash leads to another text
    assert list(clash.find(pa.array(["lead 7", "nobody", "lead 199"]))) == [7, -1, 199]


def test_hashes_of_ids_differ() -> None:
    ids = pa.array([*(f"{number:08d}-{7 * number}" for number in range(100_000)), "", "a", "a\0"])
    assert len(np.unique(hashes(ids))) == len(ids)
    assert hashes(pa.array(["", None], pa.string())).tolist() == [0, 0]


# Any mixture of rows.

# Each and what it is read as.
ODD_ROWS = st.sampled_from(
    [
        (f"A,call,{AT},,sideways,,,", f"A,call,{AT},,,,,"),
        (f"A,call,{AT},,in,,inf,", f"A,call,{AT},,in,,,"),
        (f"A,call,{AT},,in,,x,", f"A,call,{AT},,in,,,"),
    ]
)
GOOD_ROWS = st.builds(
    lambda lead, kind, day, value: f"{lead},{kind},2024-03-{day:02}T09:00:00Z,,in,,{value},",
    st.sampled_from("ABC"),
    st.sampled_from(["call", '"a, b"', "mail"]),
    st.integers(1, 28),
    st.sampled_from(["", "1.5"]),
)
BAD_ROWS = st.sampled_from(
    [
        f"Z,call,{AT},,,,,",
        f",call,{AT},,,,,",
        f"A,,{AT},,,,,",
        "A,call,never,,,,,",
        "A,call,2024-03-05,,,,,",
        "A,call,,,,,,",
        "A,call",
        f"A,call,{AT},,,,,,,",
        "A,call,9999-01-01T00:00:00Z,,,,,",
    ]
)


@pytest.mark.parametrize("block", [text.BLOCK, 256], ids=["one block", "many small blocks"])
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(GOOD_ROWS, st.none()) | ODD_ROWS | st.tuples(BAD_ROWS, st.just("")), max_size=30))
def test_any_mixture_of_rows_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, block: int, rows: list[tuple[str, str | None]]
) -> None:
    mixed, pure = tmp_path_factory.mktemp("mixed"), tmp_path_factory.mktemp("pure")
    write(mixed, touches=TOUCHES + "".join(f"{row}\n" for row, _ in rows))
    write(pure, touches=TOUCHES + "".join(f"{row if read is None else read}\n" for row, read in rows if read != ""))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", block)
        patch.setattr(text, "GROUP_ROWS", 4)
        tables = read_tables(mixed, funnel(), quarantine=True)

    assert_same(tables, read_tables(pure, funnel()))
    aside = set_aside(mixed).get("touches", [])
    assert [int(row["row"]) for row in aside] == [place for place, (_, read) in enumerate(rows, 1) if read is not None]
    assert len(tables.touches.lead) == len([row for row, read in rows if read != ""])


def test_no_thread_of_arrow_calls_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[bool, bool]] = []

    arrow = pa.csv.open_csv

    def open_csv(path: Path, **options: Any) -> Any:
        calls_python = options["parse_options"].invalid_row_handler is not None
        opened.append((options["read_options"].use_threads, calls_python))
        return arrow(path, **options)

    monkeypatch.setattr(pa.csv, "open_csv", open_csv)
    path = tmp_path / "touches.csv"
    path.write_text("lead_id,kind,occurred_at\nA,call,2024-03-04\nA,call\nB,call,2024-03-05\n")
    source = text.CsvSource.open("touches", path, {})

    assert pa.concat_tables(source.chunks(["lead_id"]))["lead_id"].to_pylist() == ["A", "B"]
    assert opened == [(True, False), (False, True)]
    assert [ragged.row for ragged in source.ragged] == [1]
