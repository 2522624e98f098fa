"""A data set folder into the store and back: the same bits, each file wholly or not at all, and once."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.testing import assert_array_equal

from leadscore.config import read_funnel
from leadscore.errors import DataError, StoreError
from leadscore.examples import learning_examples
from leadscore.features import catalogue, matrix
from leadscore.history import MISSING, read_history
from leadscore.labels import reached
from leadscore.store import (
    Change,
    Lead,
    Touch,
    Transition,
    arrow,
    erase,
    ingest,
    object_to_scoring,
    read_numbered,
    read_store,
    transaction,
)
from leadscore.store import folder as folder_module
from leadscore.store.loading import load
from leadscore.store.schema import leads, touches
from tests.stores import NOON, contents, counts, fresh_url, opened, outcomes, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from leadscore.history import History
    from leadscore.store import Event, Ingested, Store

pytestmark = pytest.mark.integration

FUNNEL = """
preset = "b2b"
[time]
known_until = 2024-06-01T00:00:00Z
[attributes]
numbers = ["employees"]
categories = ["source"]
[changes]
numbers = ["amount"]
categories = ["owner"]
"""
TABLES = {
    "leads": [
        "lead_id,created_at,recorded_at,employees,source,do_not_score,phone",
        "a,2024-03-01T09:00:00Z,,0.1,web,false,1",
        'b,2024-03-02T09:00:00Z,2024-03-03T09:00:00Z,,"é"" ,x",,2',
        "c,2024-03-02T09:00:00Z,,7,,true,3",
    ],
    "transitions": [
        "lead_id,stage,occurred_at,recorded_at,reason",
        "a,mql,2024-03-04T09:00:00Z,,form",
        "a,lost,2024-03-05T09:00:00Z,2024-03-07T09:00:00Z,budget",
        "b,mql,2024-03-04T09:00:00Z,,",
    ],
    "touches": [
        "lead_id,kind,occurred_at,recorded_at,direction,by,value,event_id",
        "a,call,2024-03-04T10:00:00Z,,out,ann,1.5,e1",
        "a,call,2024-03-04T10:00:00Z,,out,ann,1.5,e1",
        "a,mail,2024-03-04T11:00:00Z,,,,,",
        "a,mail,2024-03-04T11:00:00Z,2024-03-05T11:00:00Z,,,,",
        "b,call,2024-03-04T10:00:00Z,,INBOUND,bob,-0.25,e2",
        "c,call,2024-03-04T10:00:00Z,,,,,e3",
    ],
    "changes": [
        "lead_id,attribute,value,occurred_at",
        "a,amount,1200,2024-03-04T09:00:00Z",
        "a,amount,,2024-03-05T09:00:00Z",
        "b,owner,dora,2024-03-04T09:00:00Z",
        "b,phone,123,2024-03-04T09:00:00Z",
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written = tmp_path / "set"
    written.mkdir()
    (written / "funnel.toml").write_text(FUNNEL)
    for table in TABLES:
        write(written, table)
    return written


def write(folder: Path, table: str, *more: str, without: str = "\0") -> None:
    rows = [row for row in TABLES[table] if without not in row]
    (folder / f"{table}.csv").write_text("\n".join([*rows, *more]) + "\n")


def said(result: Ingested, name: str) -> dict[str, int]:
    return {table: getattr(loaded, name) for table, loaded in result.tables.items() if getattr(loaded, name)}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the invented leads in it; tests change nothing in it."""
    with fresh_url(request.param, tmp_path_factory.mktemp("filled")) as url, opened(url) as store:
        ingest(store, small, received_at=NOON)
        yield store


@pytest.fixture(params=["by row", "by Arrow"])
def either_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows there are."""
    monkeypatch.setattr(arrow, "FEW_EVENTS", 1 << 30 if request.param == "by row" else -1)


@pytest.mark.usefixtures("either_reader")
def test_the_store_gives_the_history_that_the_folder_gives_bit_for_bit(filled: Store, small: Path) -> None:
    stored, read = read_store(filled), read_history(small)

    assert stored.fingerprint() == read.fingerprint()
    assert (stored.funnel, stored.known_until, stored.left_out) == (read.funnel, read.known_until, read.left_out)
    for columns in zip(_learnt(stored), _learnt(read), strict=True):
        assert_array_equal(*columns)


def _learnt(history: History) -> tuple[Any, Any]:
    examples = learning_examples(history)
    some = examples.lead[::7], examples.as_of[::7]
    return matrix(catalogue(history.funnel, history.vocabulary), history.at(*some)), reached(history, *some)


@pytest.mark.usefixtures("either_reader")
def test_odd_rows_give_the_history_that_the_folder_gives(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)

    assert read_store(database).fingerprint() == read_history(folder).fingerprint()
    assert counts(database) == {"leads": 3, "transitions": 3, "touches": 5, "changes": 3, "imports": 4}
    assert "budget" in repr(contents(database)["transitions"])
    assert "phone" not in repr(contents(database)["changes"])


@pytest.fixture
def several_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows there are and however few cores."""
    monkeypatch.setattr(arrow, "FEW_EVENTS", -1)
    monkeypatch.setattr(arrow, "WORTH_READERS", -1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.mark.usefixtures("several_readers")
def test_several_readers_give_what_one_gives(filled: Store, small: Path) -> None:
    assert read_store(filled).fingerprint() == read_history(small).fingerprint()


@pytest.mark.usefixtures("several_readers")
def test_one_reads_alone_where_another_goes_on_writing(
    filled: Store, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_: Store) -> None:
        raise StoreError("another writes")

    monkeypatch.setattr(arrow, "transaction", locked)
    with arrow.arrow_reader(filled) as query:
        assert len(query(sa.select(touches.c.value), touches.c.id)) == 1
    assert read_store(filled).fingerprint() == read_history(small).fingerprint()


@pytest.mark.usefixtures("several_readers")
def test_numbers_are_those_of_the_leads(filled: Store, small: Path) -> None:
    funnel = read_funnel(small / "funnel.toml")
    history, number = read_numbered(filled, funnel, read_history(small).known_until)

    with transaction(filled) as connection:
        stored = dict(connection.execute(sa.select(leads.c.lead, leads.c.lead_id)).tuples().all())
    assert [stored[each] for each in number.tolist()] == history.ids.tolist()


@pytest.mark.usefixtures("either_reader")
@pytest.mark.parametrize(
    ("odd", "employees"),
    [(7.0, 12.0), (None, 12.0), ("2025-03-04T08:00:00Z", 12.0), ("\N{SNOWMAN}\n", 12.0), ("", "12")],
)
def test_an_attribute_that_is_given_in_several_ways_is_read_as_each_is(
    database: Store, small: Path, odd: float | str | None, employees: float | str
) -> None:
    said: dict[str, dict[str, float | str | None]] = {
        "a": {"employees": 5.0, "source": "web", "country": "2025-03-04T08:00:00Z"},
        "b": {},
        "c": {"employees": employees, "source": odd, "x": 1.0},
    }
    send(database, *(Lead(lead_id, NOON, attributes) for lead_id, attributes in said.items()))

    for lead_ids in (None, list(said)):
        history = read_store(database, funnel=read_funnel(small / "funnel.toml"), known_until=NOON, lead_ids=lead_ids)
        names = history.vocabulary.categories["source"]
        source = [names[code] for code in history.categories["source"].tolist()]
        assert source == ["web", MISSING, "7" if odd == 7 else odd or MISSING]
        assert "2025-03-04T08:00:00Z" in history.vocabulary.categories["country"]
        assert_array_equal(history.numbers["employees"], [5.0, np.nan, 12.0])


@pytest.mark.usefixtures("several_readers")
def test_several_readers_see_one_state(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    stop = threading.Event()

    def write() -> None:
        for number in itertools.takewhile(lambda _: not stop.is_set(), itertools.count()):
            with transaction(database) as connection:
                connection.execute(sa.update(touches).values(value=float(number)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            with arrow.arrow_reader(database) as query:
                pieces = query(sa.select(touches.c.value), touches.c.id)
                values = [value for piece in pieces for batch in piece for value in batch["value"].to_pylist()]
            assert len(values) == 5
            assert len(set(values)) == 1
    finally:
        stop.set()
        writer.join()


def test_some_leads_alone_are_what_they_are_among_all(filled: Store) -> None:
    crowd = read_store(filled)
    wanted = [crowd.ids[5], "nobody", crowd.ids[3], crowd.ids[5]]

    few = read_store(filled, lead_ids=wanted).coded(crowd.vocabulary)

    assert few.ids.tolist() == sorted([crowd.ids[5], crowd.ids[3]])
    moment = np.full(2, crowd.known_until)
    features = catalogue(crowd.funnel, crowd.vocabulary)
    assert_array_equal(matrix(features, few.at([0, 1], moment)), matrix(features, crowd.at([3, 5], moment)))
    assert len(read_store(filled, lead_ids=["nobody"])) == 0


def test_a_second_ingest_changes_nothing(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    before = contents(database)

    again = ingest(database, folder, received_at=NOON + 1)

    assert all(loaded.unchanged for loaded in again.tables.values())
    assert contents(database) == before


def test_a_file_that_was_written_anew_changes_nothing_either(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    before = contents(database)
    for table, rows in TABLES.items():
        (folder / f"{table}.csv").write_text("\n".join([rows[0], *rows[:0:-1]]) + "\n")

    again = ingest(database, folder, received_at=NOON + 1)

    assert said(again, "new") == said(again, "changed") == {}
    assert said(again, "repeated") == {"leads": 3, "transitions": 3, "touches": 6, "changes": 3}
    after = contents(database)
    # Of rows that differ in when they were recorded alone it does not matter which was first.
    assert {name: rows for name, rows in after.items() if name != "imports"} == {
        name: rows for name, rows in before.items() if name != "imports"
    }


def test_of_a_file_that_has_grown_only_what_is_new_is_stored(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    write(folder, "leads", "d,2024-03-09T09:00:00Z,,3,web,,4")
    write(folder, "touches", "d,call,2024-03-09T10:00:00Z,,,,,", "a,mail,2024-03-04T11:00:00Z,,,,,")

    grown = ingest(database, folder, received_at=NOON + 1)

    assert said(grown, "new") == {"leads": 1, "touches": 2}
    assert read_store(database).fingerprint() == read_history(folder).fingerprint()


def test_a_lead_that_was_put_right_is_changed(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    write(folder, "leads", "a,2024-03-01T08:00:00Z,,12,web,false,1", without="a,2024-03-01")

    assert said(ingest(database, folder, received_at=NOON), "changed") == {"leads": 1}
    assert read_store(database).numbers["employees"].tolist()[0] == 12


def test_other_settings_read_the_files_again(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    settings = FUNNEL.replace('categories = ["owner"]', 'categories = ["owner", "phone"]')
    (folder / "funnel.toml").write_text(settings)

    assert said(ingest(database, folder, received_at=NOON), "new") == {"changes": 1}
    assert "phone" in read_store(database).changes

    (folder / "funnel.toml").write_text(FUNNEL.replace('"employees"', '"employees", "phone"'))
    assert said(ingest(database, folder, received_at=NOON), "changed") == {"leads": 3}
    assert read_store(database).numbers["phone"].tolist() == [1, 2]


def test_bad_tables_are_refused_and_nothing_is_stored(database: Store, folder: Path) -> None:
    write(folder, "touches", "nobody,call,2024-03-04T10:00:00Z,,,,,")
    write(folder, "transitions", "a,nowhere,2024-03-04T10:00:00Z,,")

    with pytest.raises(DataError) as refused:
        ingest(database, folder, received_at=NOON)

    assert [problem.table for problem in refused.value.problems] == ["transitions", "touches"]
    assert counts(database) == {}
    with pytest.raises(StoreError, match="make ingest"):
        read_store(database)


def test_with_quarantine_the_rest_is_stored(database: Store, folder: Path) -> None:
    write(folder, "leads", "x,yesterday,,,,,")
    write(folder, "touches", "x,call,2024-03-04T10:00:00Z,,,,,", "too,few")

    ingest(database, folder, received_at=NOON, quarantine=True)

    assert counts(database)["leads"] == 3
    assert counts(database)["touches"] == 5
    assert "yesterday" in (folder / "quarantine" / "leads.csv").read_text()
    assert read_store(database).fingerprint() == read_history(folder, quarantine=True).fingerprint()


def test_the_latest_end_of_history_stays(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    until = read_store(database).known_until
    earlier = FUNNEL.replace("2024-06-01", "2024-05-01")
    (folder / "funnel.toml").write_text(earlier)

    ingest(database, folder, received_at=NOON)

    assert read_store(database).known_until == until
    assert read_store(database, known_until=NOON).known_until == NOON


def test_a_fault_in_the_middle_of_a_file_leaves_whole_files(
    database: Store, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "SLICE", 1_000)
    monkeypatch.setattr(folder_module, "load", _broken(after=3, table="touches"))

    with pytest.raises(RuntimeError, match="pulled"):
        ingest(database, small, received_at=NOON)

    stored = counts(database)
    assert stored["imports"] == 2
    assert stored.keys() == {"leads", "transitions", "imports"}
    monkeypatch.setattr(folder_module, "load", load)
    assert said(ingest(database, small, received_at=NOON), "unchanged") == {"leads": True, "transitions": True}
    assert read_store(database).fingerprint() == read_history(small).fingerprint()


def _broken(after: int, table: str) -> Callable[..., Any]:
    def some(slices: Iterator[Any]) -> Iterator[Any]:
        for number, rows in enumerate(slices):
            if number == after:
                raise RuntimeError("the plug was pulled")
            yield rows

    def broken(connection: Any, into: Any, columns: Any, slices: Iterator[Any], export: Any) -> Any:
        return load(connection, into, columns, some(slices) if into.name == table else slices, export)

    return broken


KILLED = """
import os, signal, sys
from pathlib import Path
from leadscore.store import ingest, open_store
import leadscore.store.folder as module
module.SLICE = 1_000
whole = module.load
def killed(connection, into, columns, slices, export):
    def some():
        for number, rows in enumerate(slices):
            if into.name == "touches" and number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            yield rows
    return whole(connection, into, columns, some(), export)
module.load = killed
ingest(open_store(sys.argv[1]), Path(sys.argv[2]), received_at=1)
"""


def test_killed_in_the_middle_of_a_file_whole_files_are_there_and_a_second_run_completes(
    database_url: str, small: Path
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, database_url, str(small)], check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL

    with opened(database_url) as store:
        assert counts(store).keys() == {"leads", "transitions", "imports"}
        ingest(store, small, received_at=NOON)
        assert read_store(store).fingerprint() == read_history(small).fingerprint()


def test_no_import_brings_an_erased_lead_back(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    with transaction(database) as connection:
        erase(connection, "a", at=NOON)
    write(folder, "leads", "d,2024-03-09T09:00:00Z,,3,web,,4")
    for table in ("transitions", "touches", "changes"):
        (folder / f"{table}.csv").write_text((folder / f"{table}.csv").read_text() + "\n")

    again = ingest(database, folder, received_at=NOON)

    assert said(again, "erased") == {"leads": 1, "transitions": 2, "touches": 3, "changes": 2}
    assert said(again, "new") == {"leads": 1}
    assert read_store(database).ids.tolist() == ["b", "d"]


def test_no_import_takes_an_objection_back(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    with transaction(database) as connection:
        object_to_scoring(connection, "b", objects=True, at=NOON)
    write(folder, "leads", "b,2024-03-02T09:00:00Z,,5,web,false,2", without="b,2024")

    ingest(database, folder, received_at=NOON)

    stored = read_store(database)
    assert (stored.ids.tolist(), stored.left_out) == (["a"], 2)


def test_what_came_by_the_api_is_not_imported_again(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    at = NOON - 3600_000_000
    new: list[Event] = [
        Touch("a", "visit", at),
        Touch("a", "visit", at, event_id="e9"),
        Transition("b", "sal", at),
        Change("a", "amount", 99, at),
    ]
    assert outcomes(database, *new) == ["new"] * 4
    write(folder, "touches", "a,visit,2024-03-04T11:00:00Z,,,,,", "a,visit,2024-03-04T11:00:00Z,,,,,e9")
    write(folder, "transitions", "b,sal,2024-03-04T11:00:00Z,2024-03-06T11:00:00Z,")
    write(folder, "changes", "a,amount,99,2024-03-04T11:00:00Z")

    assert said(ingest(database, folder, received_at=NOON), "new") == {}
    assert outcomes(database, *new) == ["repeat"] * 4


def test_a_stage_that_the_funnel_no_longer_has_is_said(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON)
    other = read_funnel(folder / "funnel.toml").model_dump() | {
        "funnel": {"stages": ["lead", "won"], "handoff": ["lead", "won"]},
        "horizon_days": {"won": 3},
    }

    with pytest.raises(DataError, match=r"transitions.stage: must be a stage of the funnel"):
        read_store(database, funnel=read_funnel(folder / "funnel.toml").model_validate(other))
