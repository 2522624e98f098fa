"""Rows of one event, and files that were delivered several times."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from leadscore.config import parse_funnel
from leadscore.errors import DataError
from leadscore.history import Rules, check_records, read_history
from leadscore.history.reading import delivered

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History

FUNNEL = """
preset = "b2b"
[time]
known_until = 2024-06-01T00:00:00Z
[changes]
numbers = ["amount"]
categories = ["owner"]
"""
LEADS = ["lead_id,created_at", "a,2024-03-01T09:00:00Z", "b,2024-03-01T09:00:00Z"]
HEADERS = {
    "transitions": "lead_id,stage,occurred_at,recorded_at,event_id",
    "touches": "lead_id,kind,occurred_at,recorded_at,event_id",
    "changes": "lead_id,attribute,value,occurred_at,recorded_at,event_id",
}
FIRST = {"transitions": "mql", "touches": "call", "changes": "owner,ann"}
OTHER = {"transitions": "sal", "touches": "mail", "changes": "amount,7"}
AT = "2024-03-04T09:00:00Z"
each_table = pytest.mark.parametrize("table", list(HEADERS))


def history(folder: Path, table: str, *rows: str, settings: str = "", quarantine: bool = False) -> History:
    """Of a folder in which one table has rows."""
    (folder / "funnel.toml").write_text(FUNNEL + settings)
    (folder / "leads.csv").write_text("\n".join(LEADS) + "\n")
    for name, header in HEADERS.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *(rows if name == table else ())]) + "\n")
    return read_history(folder, quarantine=quarantine)


def lines(read: History) -> list[tuple[str, str, int]]:
    """What is known of each lead, and when."""
    found = [(read.ids[lead], read.vocabulary.kinds[kind], known) for lead, kind, known in _rows(read.touches, "kind")]
    found += [(read.ids[lead], read.funnel.stages[stage], known) for lead, stage, known in _rows(read.steps, "stage")]
    for name, line in read.changes.items():
        found += [(read.ids[lead], f"{name} {value:g}", known) for lead, value, known in _rows(line, "value")]
    return found


def _rows(line: Any, name: str) -> list[tuple[int, Any, int]]:
    return list(zip(line.lead.tolist(), getattr(line, name).tolist(), line.known.tolist(), strict=True))


@each_table
def test_same_contents_are_one_event(tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture) -> None:
    once = f"a,{FIRST[table]},{AT},,e1"
    caplog.set_level(logging.INFO)

    read = history(tmp_path, table, once, once, f"{once[:-2]}", f"a,{FIRST[table]},{AT},,")

    assert f"{table}: 1 rows repeat another and count once" in caplog.text
    assert read.fingerprint() == history(tmp_path, table, once, f"{once[:-2]}", f"{once[:-2]}").fingerprint()


@each_table
@pytest.mark.parametrize("reverse", [False, True])
def test_row_recorded_last_replaces_others(tmp_path: Path, table: str, reverse: bool) -> None:  # noqa: FBT001
    last = f"b,{OTHER[table]},2024-03-03T09:00:00Z,2024-03-05T09:00:00Z,e1"
    rows = [f"a,{FIRST[table]},2024-03-09T09:00:00Z,2024-03-04T09:00:00Z,e1", last, last]
    rows = rows[::-1] if reverse else rows

    assert lines(history(tmp_path, table, *rows)) == lines(history(tmp_path, table, last))


@each_table
@pytest.mark.parametrize("recorded", ["", "2024-03-05T09:00:00Z"])
def test_contents_that_differ_are_refused_where_none_was_recorded_last(
    tmp_path: Path, table: str, recorded: str
) -> None:
    dated = f"a,{FIRST[table]},{AT},2024-03-05T09:00:00Z,e1"

    with pytest.raises(DataError) as refused:
        history(tmp_path, table, dated, f"b,{OTHER[table]},2024-03-09T09:00:00Z,{recorded},e1")

    (problem,) = refused.value.problems
    assert (problem.table, problem.column, problem.rows, problem.leads) == (table, "event_id", 2, ("a", "b"))


@each_table
def test_late_corrections_are_said(tmp_path: Path, table: str) -> None:
    def corrected(day: int) -> tuple[str, ...]:
        new = f"a,{OTHER[table]},{AT},2024-03-{day:02d}T10:00:00Z,e1"
        return history(tmp_path, table, f"a,{FIRST[table]},{AT},2024-03-04T10:00:00Z,e1", new).warnings

    assert corrected(5) == ()
    assert corrected(6) == (
        f"{table}: 1 event was corrected more than a day after being known: the past is read as corrected",
    )


def test_same_contents_recorded_twice_were_known_first(tmp_path: Path) -> None:
    twice = [f"a,call,{AT},2024-03-{day}T09:00:00Z,e1" for day in ("07", "05")]

    assert lines(history(tmp_path, "touches", *twice)) == lines(history(tmp_path, "touches", twice[1]))


@pytest.mark.parametrize("odd", [None, 7.5], ids=["plain", "by way of tables"])
def test_records_have_ids_of_their_own(odd: Any) -> None:
    funnel = parse_funnel(FUNNEL)
    event = {"occurred_at": AT, "event_id": "e1", "recorded_at": "2024-03-04T10:00:00Z"}
    new = {"occurred_at": AT, "event_id": "e1", "recorded_at": "2024-03-04T11:00:00Z"}
    sent = {
        "created_at": "2024-03-01T09:00:00Z",
        "transitions": [event | {"stage": "sal"}, new | {"stage": "mql"}],
        "touches": [event | {"kind": "call"}, new | {"kind": "mail", "by": odd}],
        "changes": [event | {"attribute": "amount", "value": 7}, new | {"attribute": "owner", "value": "ann"}],
    }

    tables = check_records([sent | {"lead_id": "a"}, sent | {"lead_id": "b"}], Rules.of(funnel), 2**60)

    assert tables.transitions.stage.tolist() == [1, 1]
    assert tables.touches.kind.names == ("mail",)
    assert tables.touches.lead.tolist() == [0, 1]
    assert len(tables.changes["amount"].lead) == 0
    assert tables.changes["owner"].lead.tolist() == [0, 1]


def some_rows(table: str, n_rows: int) -> list[str]:
    return [f"a,{FIRST[table]},2024-03-{1 + n // 60:02d}T09:{n % 60:02d}:00Z,," for n in range(n_rows)]


@each_table
@pytest.mark.parametrize("sampled", [False, True])
def test_a_file_delivered_several_times_is_refused(
    tmp_path: Path,
    table: str,
    sampled: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sampled:
        monkeypatch.setattr(delivered, "SAMPLE", 100)
    rows = some_rows(table, 200)

    with pytest.raises(DataError, match=r"200 of 201 different rows stand 3 times.*allow_repeats = true"):
        history(tmp_path, table, *rows, *rows, *rows, f"b,{FIRST[table]},{AT},,", quarantine=True)

    allowed = f"[tables.{table}]\nallow_repeats = true\n"
    assert history(tmp_path, table, *rows, *rows, settings=allowed).warnings == ()


@each_table
def test_a_few_rows_that_all_repeat_are_a_warning(tmp_path: Path, table: str) -> None:
    rows = some_rows(table, 99)

    (warning,) = history(tmp_path, table, *rows, *rows).warnings

    assert "seems to have been delivered 2 times" in warning


@each_table
def test_other_repeats_are_not_suspect(tmp_path: Path, table: str) -> None:
    rows = some_rows(table, 300)
    named = [f"{row}e{number}" for number, row in enumerate(rows)]

    assert history(tmp_path, table, *rows, *rows[:290]).warnings == ()
    assert history(tmp_path, table, *rows, *rows, *rows[:200]).warnings == ()
    assert history(tmp_path, table, *named, *named).warnings == ()


def test_rows_that_were_recorded_together_are_not_one(tmp_path: Path) -> None:
    def call(n: int) -> str:
        happened, recorded = f"2024-03-04T{10 + n % 2}:00:{n // 2 % 60:02d}Z", f"2024-04-{1 + n // 120:02d}T09:00:00Z"
        return f"a,call,{happened},{recorded},"

    assert history(tmp_path, "touches", *map(call, range(240))).warnings == ()
