"""One message for one cause, that names the cause and what to do about it."""

from __future__ import annotations

import gzip
import io
import sqlite3
import zipfile
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from leadscore.command import data_set_arguments, read
from leadscore.config import parse_funnel
from leadscore.errors import DataError
from leadscore.history import read_history, read_tables
from leadscore.history.reading import hints
from leadscore.store import ingest, read_store
from tests.stores import NOON, counts

if TYPE_CHECKING:
    from pathlib import Path

    from leadscore.store import Store

FUNNEL = """
preset = "b2b"
[time]
known_until = 2025-07-01T08:00:00
timezone = "Europe/Berlin"
"""
TABLES = {
    "leads": "lead_id,created_at,size,source\n1,2025-01-02T09:00:00,5,web\n2,2025-01-03T09:00:00,,ads\n",
    "transitions": "lead_id,stage,occurred_at\n1,mql,2025-01-05T10:00:00\n",
    "touches": "lead_id,kind,occurred_at\n1,call,2025-01-03T10:00:00\n",
}
ATTRIBUTES = '[attributes]\nnumbers = ["size"]\ncategories = ["source"]\n'


def written(folder: Path, more: str = "", **tables: str | bytes | None) -> Path:
    (folder / "funnel.toml").write_text(FUNNEL + more)
    for name, contents in (TABLES | tables).items():
        if contents is not None:
            (folder / f"{name}.csv").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    return folder


def refused(folder: Path) -> str:
    """The message of the one problem that a data set has."""
    with pytest.raises(DataError) as caught:
        read_history(folder)
    (problem,) = caught.value.problems
    return str(problem)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 100)
    return file.getvalue()


LEADS = TABLES["leads"]
TABS = LEADS.replace(",", "\t")
CYRILLIC = LEADS.replace("web", "Сайт").replace("ads", "Реклама")


@pytest.mark.parametrize(
    ("contents", "looks"),
    [
        (TABS.encode("utf-16"), "UTF-16 text separated by tabs"),
        (TABS.encode("utf-16-le"), "UTF-16 text separated by tabs"),
        (LEADS.encode("utf-16"), "UTF-16 text. Save it as CSV in UTF-8"),
        (LEADS.encode("utf-32"), "UTF-32 text"),
        (LEADS.replace(",", ";").encode("utf-8-sig"), "text separated by semicolons"),
        (LEADS.replace(",", ";").replace("size", '"size, or so"'), "text separated by semicolons"),
        (TABS, "text separated by tabs"),
        (LEADS.replace(",", "|"), "text separated by vertical bars"),
        ("sep=,\n" + LEADS, "text with a first line 'sep=,', which is no header"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook"),
        (zipped("mimetype", "content.xml"), "an OpenDocument workbook"),
        (zipped("leads.csv"), "a ZIP archive"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 500, "an old Excel workbook"),
        (gzip.compress(LEADS.encode(), mtime=0), "compressed by gzip"),
        ("<html><table><tr><td>lead_id", "an HTML or XML document"),
        ('[{"lead_id": 1}]', "JSON"),
        (b"PAR1" + b"\0" * 50, "Parquet"),
        (CYRILLIC.encode("cp1251"), "leads.csv line 2 is not: it looks like Windows-1251"),
        (LEADS.replace("web", "café").encode("cp1252"), "leads.csv line 2 is not: it looks like Windows-1252"),
        (LEADS.replace("web", "广告").encode("gbk"), "an East Asian encoding"),
    ],
)
def test_a_file_of_another_format_is_one_problem(tmp_path: Path, contents: str | bytes, looks: str) -> None:
    message = refused(written(tmp_path, ATTRIBUTES, leads=contents))

    assert looks in message
    assert message.startswith("leads: ")
    assert "Save it as CSV in UTF-8, separated by commas" in message


def test_one_cause_in_several_tables_is_one_problem(tmp_path: Path) -> None:
    semicolons = {name: rows.replace(",", ";") for name, rows in TABLES.items()}

    assert refused(written(tmp_path, **semicolons)).startswith("leads, transitions, touches: must be CSV in UTF-8")


def test_semicolons_in_a_header_separated_by_commas_are_text(tmp_path: Path) -> None:
    header, *rows = LEADS.splitlines()
    leads = "\n".join([header + ",a;b;c;d;e", *(row + "," for row in rows)])

    assert len(read_history(written(tmp_path, leads=leads))) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leads.xlsx", "there is leads.xlsx, an Excel workbook. Save it as CSV in UTF-8"),
        ("Leads.ods", "there is Leads.ods, an OpenDocument workbook"),
        ("leads.csv.gz", "there is leads.csv.gz, compressed"),
        ("Leads.CSV", "there is Leads.CSV. Rename it"),
        ("leads-2024.csv", "there is leads-2024.csv. Rename it, or say file = 'leads-2024.csv'"),
        ("leads.md", "table is missing, there is no leads.parquet or leads.csv"),
    ],
)
def test_a_file_with_nearly_the_right_name_is_named(tmp_path: Path, name: str, message: str) -> None:
    written(tmp_path, leads=None)
    (tmp_path / name).write_bytes(b"x")

    assert message in refused(tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("leads.xlsx", "leads.xlsx is an Excel workbook. Save it as CSV in UTF-8, separated by commas, and name that"),
        ("leads-*.csv", "no pattern, and leads-2023.csv, leads-2024.csv would match it. Join them"),
        ("leads-2025.csv", "there is no leads-2025.csv. Did you mean 'leads-2024.csv'?"),
    ],
)
def test_a_file_that_is_named_and_cannot_be_read(tmp_path: Path, file: str, message: str) -> None:
    written(tmp_path, f'[tables.leads]\nfile = "{file}"\n', leads=None)
    for year in (2023, 2024):
        (tmp_path / f"leads-{year}.csv").write_text(LEADS)
    (tmp_path / "leads.xlsx").write_bytes(zipped("xl/workbook.xml"))

    assert message in refused(tmp_path)


def test_a_workbook_named_parquet(tmp_path: Path) -> None:
    written(tmp_path, leads=None)
    (tmp_path / "leads.parquet").write_bytes(zipped("xl/workbook.xml"))

    assert "leads.parquet is not: it looks like an Excel workbook" in refused(tmp_path)


@pytest.mark.parametrize(
    ("value", "looks"),
    [
        ("13.01.2025 09:00:00", "dates with the day first"),
        ("01/13/2025 9:00 AM", "dates with the month first"),
        ("02.01.2025", "the day or the month first, and which is not clear"),
        ("1735808400000", "milliseconds since 1970: write 1735808400000 as 2025-01-02T09:00:00Z"),
        ("1735808400", "seconds since 1970: write 1735808400 as 2025-01-02T09:00:00Z"),
        ("45659.375", "days as a spreadsheet counts them: write 45659.375 as 2025-01-02"),
        ("2025-01-02 09:00:00 UTC", "the name of a zone: write Z for UTC"),
        ("2025-01-02T09:00:00 CET", "the name of a zone"),
        ("2025/01/02 09:00", "dots or slashes"),
        ("20250102", "dates without hyphens"),
        ("2 Jan 2025", "the name of a month"),
        ("NULL", "'NULL' looks like a missing value"),
    ],
)
def test_what_an_unreadable_time_looks_like(tmp_path: Path, value: str, looks: str) -> None:
    leads = LEADS.replace("2025-01-02T09:00:00", value)

    message = refused(written(tmp_path, leads=leads))

    assert message.startswith(f"leads.created_at: must be a time in ISO 8601, not '{value}' (1 row); leads 1. ")
    assert looks in message


@pytest.mark.parametrize(
    ("value", "looks"),
    [
        ("1 234.50", "with spaces or apostrophes between thousands"),
        ("1\u00a0234,50", "with spaces or apostrophes between thousands, decimal commas"),
        ("1'234", "with spaces or apostrophes between thousands"),
        ("1.234,50", "with points between thousands, decimal commas"),
        ("1,675", "with commas between thousands"),
        ("1,5", "with decimal commas"),
        ("€12", "with currencies"),
        ("12 EUR", "with currencies"),
        ("45%", "with percent signs"),
        ("(12)", "with brackets or a minus"),
        ("2k", "with K or M"),
        ("10-50", "with ranges, which are categories"),
        ("N/A", "'N/A' looks like a missing value: leave it empty"),
        ("nan", "'nan' looks like a missing value: leave it empty"),
        ("False", "'False' looks like a missing value"),
    ],
)
def test_what_an_unreadable_number_looks_like(tmp_path: Path, value: str, looks: str) -> None:
    leads = LEADS.replace(",5,", f',"{value}",')

    message = refused(written(tmp_path, ATTRIBUTES, leads=leads))

    assert message.startswith("leads.size: must be a number, not ")
    assert looks in message
    if "They look like" in message:
        assert f"They look like numbers {looks}" in message


def test_a_column_of_many_forms_is_one_problem(tmp_path: Path) -> None:
    values = ["NULL", "nan", "N/A", "12 %", "1 234"]
    leads = "lead_id,created_at,size,source\n" + "".join(f"{n},2025-01-02,{v},\n" for n, v in enumerate(values))

    message = refused(written(tmp_path, ATTRIBUTES, leads=leads, transitions="lead_id,stage,occurred_at\n"))

    assert "'NULL', 'nan', 'N/A' look like missing values: leave them empty." in message
    assert "numbers with percent signs, spaces or apostrophes between thousands." in message
    assert "(5 rows)" in message


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("web", "NULL", "\\N", "(No value)"), ["NULL", "\\N", "(No value)"]),
        (("web", "False"), ["False"]),
        (("True", "False"), []),
        (("yes", "no", "false"), []),
        (("none of these", "nullable", "web"), []),
    ],
)
def test_categories_that_look_like_missing_values(names: tuple[str, ...], words: list[str]) -> None:
    assert hints.missing_words(names) == words


def test_words_for_missing_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = read_history(written(tmp_path, ATTRIBUTES, leads=LEADS.replace("web", "(No value)")))

    (warning,) = history.warnings
    assert warning.startswith("leads.source: ")
    assert "look like missing ones, such as '(No value)' (1 row); leads 1. Leave them empty" in warning
    assert caplog.messages.count(warning) == 1
    assert "(No value)" in history.vocabulary.categories["source"]


@pytest.mark.parametrize("ids", ["1;2", "1, 2", "2|1"])
def test_several_ids_in_one_value(tmp_path: Path, ids: str) -> None:
    touches = f'{TABLES["touches"]}"{ids}",call,2025-01-03T10:00:00\n7;8,call,2025-01-03T10:00:00\n'

    message = refused(written(tmp_path, touches=touches))

    assert f"The likely cause is several ids in one field, of which each needs a row: '{ids}' for '" in message


def test_stages_in_other_words(tmp_path: Path) -> None:
    rows = [f"1,{stage},2025-01-05T10:00:00\n" for stage in ("MQL", "Lost ", "Marketing Qualified Lead")]

    message = refused(written(tmp_path, transitions=TABLES["transitions"] + "".join(rows)))

    assert "'mql' for 'MQL', 'lost' for 'Lost ', 'mql' for 'Marketing Qualified Lead'?" in message


def test_a_time_that_the_clocks_skip_is_read_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = TABLES["transitions"] + "2,mql,2025-03-30T02:30:00\n2,sal,2025-03-30T02:30:00+01:00\n"
    history = read_history(written(tmp_path, transitions=steps + "1,sql,2024-10-27T02:30:00\n"))

    warning, tied = history.warnings
    assert tied.startswith("transitions: 1 row of the same moment")
    assert warning.startswith("transitions.occurred_at: local times that the clocks skip are read as the time that ")
    assert "such as '2025-03-30T02:30:00' (1 row); leads 2. " in warning
    assert caplog.messages.count(warning) == 1
    assert np.datetime64("2025-03-30T01:30", "us").astype(np.int64) in history.steps.known


def test_no_touches_table_is_no_touches(database: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path, touches=None)
    ingest(database, folder, received_at=NOON)
    history = read_history(folder)

    assert len(history.touches) == 0
    assert read_store(database).fingerprint() == history.fingerprint()
    assert counts(database) == {"leads": 2, "transitions": 1, "imports": 2}
    assert history.warnings == ("touches: there is no touches.parquet or touches.csv, so no lead has touches",)
    assert caplog.messages.count(history.warnings[0]) == 2


def test_no_transitions_table_is_an_error(tmp_path: Path) -> None:
    assert "transitions: table is missing" in refused(written(tmp_path, transitions=None))


def test_a_query_from_a_file(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as connection:
        connection.execute("create table calls (lead integer, note text)")
        connection.execute("insert into calls values (1, '50% :off')")
    connection.close()
    # A colon and a per cent sign in it are text.
    where = "where note like '%:off' -- " + "x" * 1_000
    (tmp_path / "calls.sql").write_text(f"select lead lead_id, note kind, '2025-01-03' occurred_at from calls {where}")
    more = f'[source]\nurl = "sqlite:///{tmp_path}/crm.db"\n[tables.touches]\nquery_file = "{{}}"\n'

    history = read_history(written(tmp_path, more.format("calls.sql"), touches=None))
    assert history.vocabulary.kinds == ("50% :off",)

    message = refused(written(tmp_path, more.format("call.sql"), touches=None))
    assert message.startswith("touches: query cannot be read: ")
    assert message.endswith("Correct [tables.touches] query_file")


def test_known_until_of_the_command_may_be_local_time(
    database: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path)
    monkeypatch.setenv("LEADSCORE_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    ingest(database, folder, received_at=NOON)
    ends = {"2025-06-01T08:00": "2025-06-01T06:00", "2025-06-01T08:00Z": "2025-06-01T08:00"}

    for stated, end in ends.items():
        for data in (str(folder), "store"):
            asked = data_set_arguments(None).parse_args([data, "--known-until", stated])
            assert read(asked).known_until == np.datetime64(end, "us").astype(np.int64)


def test_an_import_takes_local_time_too(database: Store, tmp_path: Path) -> None:
    until = datetime(2025, 8, 1, 8)  # noqa: DTZ001
    folder = written(tmp_path)

    ingest(database, folder, received_at=NOON, known_until=until)

    assert read_store(database).known_until == read_history(folder, until).known_until


def test_stages_that_the_preset_lacks_are_read_with_its_horizons(tmp_path: Path) -> None:
    more = '[funnel]\nstages = ["lead", "mql", "sql", "opportunity", "won"]\nhandoff = ["mql", "sql"]\n'

    assert parse_funnel(FUNNEL + more).horizons == (30, 45, 60, 90)
    assert len(read_tables(written(tmp_path), parse_funnel(FUNNEL + more)).transitions.lead) == 1
