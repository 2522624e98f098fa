"""Bad values and transitions under quarantine: what is kept, what is marked, and that all of it is reported."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from leadscore.api.telling import score_told
from leadscore.batch import publish_list
from leadscore.config import Times
from leadscore.examples import judging_examples, learning_examples
from leadscore.history import Rules, read_history
from leadscore.publishing import rescore, sent_record
from leadscore.store import Merge, Touch, ingest, read_store, reading, records_of, transaction
from leadscore.store.schema import leads, listed, published
from tests.stores import NOON, send

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.history import History
    from leadscore.model import FunnelModel
    from leadscore.store import Store

FUNNEL = """
preset = "b2b"
[time]
known_until = 2024-06-01T00:00:00Z
[attributes]
numbers = ["employees"]
categories = ["source", "incomplete"]
[changes]
numbers = ["amount"]
"""
TABLES = {
    "leads": "lead_id,created_at,employees,source,incomplete\n"
    "a,2024-03-01T09:00:00Z,28,web,no\n"
    'b,2024-03-01T09:00:00Z,"1,675",ads,yes\n'
    "c,2024-03-01T09:00:00Z,7,web,\n",
    "transitions": "lead_id,stage,occurred_at\na,mql,2024-03-04T09:00:00Z\nb,mql,2024-03-04T09:00:00Z\n",
    "touches": "lead_id,kind,occurred_at,direction,by,value\n"
    "a,call,2024-03-05T09:00:00Z,sideways,ann,1.5\n"
    "a,mail,2024-03-05T09:00:00Z,out,,much\n",
    "changes": "lead_id,attribute,value,occurred_at\n"
    "a,amount,5,2024-03-05T09:00:00Z\na,amount,12 EUR,2024-03-06T09:00:00Z\n",
}
LOST = "b,Lost ,2024-03-09T09:00:00Z\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "set")


def written(folder: Path, **more: str) -> Path:
    """The data set, with rows added to its tables."""
    folder.mkdir(exist_ok=True)
    (folder / "funnel.toml").write_text(FUNNEL)
    for table, rows in TABLES.items():
        (folder / f"{table}.csv").write_text(rows + more.get(table, ""))
    return folder


def marked(store: Store) -> list[str]:
    with reading(store) as connection:
        return sorted(connection.execute(sa.select(leads.c.lead_id).where(leads.c.incomplete)).scalars())


def position(history: History, lead_id: str) -> int:
    return int(np.flatnonzero(history.ids == lead_id)[0])


def test_bad_optional_values_become_missing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = read_history(folder, quarantine=True)

    assert history.ids.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(history.numbers["employees"], [28, np.nan, 7])
    assert len(history.touches) == 2
    assert history.touches.direction is not None
    assert history.touches.value is not None
    assert history.touches.direction.tolist() == [0, 2]
    assert history.touches.value.tolist() == [1_500_000, 0]
    np.testing.assert_array_equal(history.changes["amount"].value, [5, np.nan])
    assert history.incomplete is None

    files = (folder / "quarantine").iterdir()
    rows = {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in files}
    assert rows["leads"] == [
        {
            "row": "2",
            "rule": "employees: must be a number, read as missing",
            "lead_id": "b",
            "created_at": "2024-03-01T09:00:00Z",
            "employees": "1,675",
            "source": "ads",
            "incomplete": "yes",
        }
    ]
    assert {table: [row["row"] for row in each] for table, each in rows.items()} == {
        "leads": ["2"],
        "touches": ["1", "2"],
        "changes": ["2"],
    }
    employees, direction, value, amount = history.warnings
    assert employees.startswith("leads.employees: must be a number, not '1,675'; read as missing (1 row); leads b. ")
    assert "commas between thousands" in employees
    assert direction.startswith("touches.direction: must be a direction, not 'sideways'; read as missing (1 row)")
    assert value.startswith("touches.value: must be a number, not 'much'; read as missing")
    assert amount.startswith("changes.value: must be a number, not '12 EUR'; read as missing")
    assert all(caplog.messages.count(warning) == 1 for warning in history.warnings)


@pytest.mark.parametrize(
    ("table", "row"),
    [("leads", "d,2024-03-01T09:00:00Z,,,,soon"), ("leads", "d,2024-03-01T09:00:00Z,,,,,perhaps")],
    ids=["recorded_at", "do_not_score"],
)
def test_what_could_leak_or_be_an_objection_costs_the_row(folder: Path, table: str, row: str) -> None:
    header, *rest = TABLES[table].splitlines()
    lines = [f"{header},recorded_at,do_not_score", *(f"{each},," for each in rest), row + "," * (6 - row.count(","))]
    (folder / f"{table}.csv").write_text("\n".join(lines) + "\n")

    assert read_history(folder, quarantine=True).ids.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "row", [LOST, "b,lost,soon\n", "b,lost\n", "b,,2024-03-09T09:00:00Z\n"], ids=["stage", "time", "ragged", "empty"]
)
def test_a_lead_whose_transition_was_set_aside_is_incomplete(tmp_path: Path, row: str) -> None:
    history = read_history(written(tmp_path / "set", transitions=row), quarantine=True)

    assert history.is_incomplete(np.arange(3)).tolist() == [False, True, False]
    (warning,) = (each for each in history.warnings if "incomplete" in each)
    assert "(1 lead); leads b. " in warning
    assert read_history(written(tmp_path / "set"), quarantine=True).incomplete is None


def test_bad_rows_of_unknown_leads_mark_nobody(tmp_path: Path) -> None:
    rows = "z,Lost ,2024-03-09T09:00:00Z\n,mql,2024-03-09T09:00:00Z\n"

    assert read_history(written(tmp_path / "set", transitions=rows), quarantine=True).incomplete is None


def test_incomplete_leads_are_no_examples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    whole = read_history(written(tmp_path / "set"), quarantine=True)
    history = read_history(written(tmp_path / "set", transitions=LOST), quarantine=True)
    lead = position(history, "b")
    assert history.fingerprint() != whole.fingerprint()  # another model is learnt from it

    for examples in (learning_examples, lambda each: judging_examples(each, 0)):
        before, now = examples(whole), examples(history)
        assert lead in before.lead
        assert now.lead.tolist() == before.lead[before.lead != lead].tolist()
        assert now.as_of.tolist() == before.as_of[before.lead != lead].tolist()
    assert "1 incomplete leads are neither learnt from nor judged on" in caplog.messages


def test_the_store_says_what_the_folder_says(database: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path / "set", transitions=LOST)
    ingest(database, folder, received_at=NOON, quarantine=True)
    logged = [record.message for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()

    stored, read = read_store(database), read_history(folder, quarantine=True)

    assert stored.fingerprint() == read.fingerprint()
    assert set(read.warnings) <= set(logged)
    assert marked(database) == ["b"]
    assert stored.warnings == tuple(each for each in read.warnings if "incomplete" in each)
    assert caplog.messages.count(stored.warnings[0]) == 2  # the store's and the folder's


def test_a_lead_that_comes_after_its_bad_transition_is_incomplete(database: Store, tmp_path: Path) -> None:
    folder = written(tmp_path / "set", transitions=LOST)
    all_leads = TABLES["leads"]
    (folder / "leads.csv").write_text("".join(line for line in all_leads.splitlines(keepends=True) if line[0] != "b"))
    ingest(database, folder, received_at=NOON, quarantine=True)
    (folder / "leads.csv").write_text(all_leads)

    ingest(database, folder, received_at=NOON, quarantine=True)

    assert marked(database) == ["b"]
    assert read_store(database).fingerprint() == read_history(folder, quarantine=True).fingerprint()


def test_a_clean_import_takes_the_mark_away(database: Store, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    ingest(database, written(folder, transitions=LOST), received_at=NOON, quarantine=True)
    elsewhere = written(tmp_path / "other")
    (elsewhere / "leads.csv").write_text("".join(TABLES["leads"].splitlines(keepends=True)[:2]))
    (elsewhere / "transitions.csv").write_text("lead_id,stage,occurred_at\na,sql,2024-04-04T09:00:00Z\n")
    ingest(database, elsewhere, received_at=NOON, quarantine=True)
    assert marked(database) == ["b"]  # it is not in that export

    ingest(database, written(folder, transitions=LOST.replace("Lost ", "lost")), received_at=NOON, quarantine=True)

    assert marked(database) == []
    assert read_store(database).incomplete is None


def test_an_older_export_takes_no_mark_away(database: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ingest(database, written(tmp_path / "set", transitions=LOST), received_at=NOON, quarantine=True)
    older = written(tmp_path / "older")
    (older / "funnel.toml").write_text(FUNNEL.replace("2024-06-01", "2024-05-01"))

    ingest(database, older, received_at=NOON, quarantine=True)

    assert marked(database) == ["b"]
    assert "this export ends before the latest that was stored" in caplog.text


def test_a_lead_that_an_incomplete_one_is_merged_into_is_incomplete(database: Store, tmp_path: Path) -> None:
    folder = written(tmp_path / "set", transitions=LOST)
    ingest(database, folder, received_at=NOON, quarantine=True)
    send(database, Merge("b", "c"))
    assert marked(database) == ["c"]

    again = LOST + "b,Gone,2024-03-10T09:00:00Z\n"
    ingest(database, written(folder, transitions=again), received_at=NOON, quarantine=True)
    assert marked(database) == ["c"]


def test_what_the_store_knows_of_a_lead_is_no_attribute(database: Store, folder: Path) -> None:
    ingest(database, folder, received_at=NOON, quarantine=True)

    with reading(database) as connection:
        records = [sent_record(record, Times()) for record in records_of(connection, ["a", "b"])]

    assert [record["incomplete"] for record in records] == ["no", "yes"]


def test_incomplete_leads_are_listed_with_a_flag(
    company: Store, small_model: FunnelModel, small_history: History
) -> None:
    now = small_history.known_until
    with transaction(company) as connection:
        some = connection.execute(sa.select(leads.c.lead_id).where(~leads.c.do_not_score).limit(400)).scalars().all()
        connection.execute(sa.update(leads).where(leads.c.lead_id.in_(some[::2])).values(incomplete=True))
    publish_list(company, small_model, "7", now, keep_from=0, now=lambda: now)
    query = sa.select(leads.c.lead_id, listed.c.flags).join(leads, leads.c.lead == listed.c.lead)
    query = query.join(published, published.c.run == listed.c.run)

    with reading(company) as connection:
        flags = {lead_id: json.loads(each) for lead_id, each in connection.execute(query)}

    assert {lead_id for lead_id, each in flags.items() if "incomplete" in each} == flags.keys() & set(some[::2])
    _check_rescored(company, small_model, [each for each in some if each in flags][:20], flags, now)


def _check_rescored(
    store: Store, model: FunnelModel, lead_ids: list[str], flags: dict[str, list[str]], now: int
) -> None:
    """That leads scored one by one after an event have the flags of the batch."""
    send(store, *(Touch(each, "call", now) for each in lead_ids), at=now)
    with transaction(store) as connection:
        found = rescore(connection, model, Rules.of(model.funnel), "7", lead_ids, as_of=now, scored_at=now)
    assert found is not None
    for row, lead_id in enumerate(lead_ids):
        assert json.loads(found.listed.flags[row]) == flags[lead_id]
        assert score_told(found.scores, model, row, {})["flags"] == flags[lead_id]
