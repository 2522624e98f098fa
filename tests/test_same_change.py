"""The same leads by CSV, Parquet, both posts and the pyfunc, each value written differently: the same probabilities."""

from __future__ import annotations

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadscore import scoring
from leadscore.backtest import learn_until
from leadscore.batch import publish_list
from leadscore.config import Attributes
from leadscore.errors import DataError
from leadscore.features import catalogue, columns_of
from leadscore.history import read_history
from leadscore.model import load_model, save_model
from leadscore.model.manifest import MANIFEST, write_manifest
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.runs import log_model
from leadscore.registry.versions import CHAMPION
from leadscore.scoring import rank, score_records
from leadscore.store import read_store
from tests.service import Clock, Running, running, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hypothesis.strategies import DrawFn, SearchStrategy

    from leadscore.history import History
    from leadscore.model import FunnelModel

    # A value by the way it is given.
    Ways = dict[str, Any]
    Scores = dict[str, list[float]]

NOW = datetime(2025, 7, 1, 9, tzinfo=UTC)
NOW_US = 1_751_360_400_000_000
TABLES = ("leads", "transitions", "touches", "changes")
TYPES = {"transitions": "transition", "touches": "touch", "changes": "change"}
ATTRIBUTES = ("employees", "source", "industry", "country")
WAYS = ("csv", "parquet", "scores", "events", "pyfunc")

# What the model has learnt, in the place of the simulated values.
LEARNT = ["3", "true", "12345678901", "3.10", "0.5", "web", "false", "-7"]
CATEGORIES: dict[str | None, list[Any]] = {
    "3": [3, 3.0, "3", "3.0", "3.00"],
    "-7": [-7, -7.0, "-7.0", "-7"],
    "0.5": [0.5, "0.5"],
    "12345678901": [12345678901, 12345678901.0, "12345678901", "1.2345678901e+10"],
    None: [None],
    "true": [True, "true", "True", "TRUE"],
    "false": [False, "false", "FALSE"],
    "3.10": ["3.10"],
    "web": ["web"],
    "new": ["new"],
    "\u00dc x": ["\u00dc x"],
}
ONLY_NUMBERS = ["3", "-7", "0.5", "12345678901", None]
# Python has more types than JSON.
IN_PYTHON: dict[str | None, list[Any]] = {
    "3": [Decimal("3.0"), np.int64(3), np.float32(3)],
    "true": [np.True_],
    "0.5": [np.float32(0.5), Decimal("0.50")],
    "-7": [np.int8(-7), Decimal(-7)],
    None: [float("nan"), pd.NaT, ""],
}
NUMBERS: dict[str | None, list[Any]] = {
    "1000": [1000, 1000.0, "1e3", "1000.00", "+1000"],
    "0.1": [0.1, "0.1", "1e-1"],
    "-2.5": [-2.5, "-2.5"],
    "2^53": [2**53 + 1, "9007199254740993", 2.0**53],
    None: [None],
}
DIRECTIONS: dict[str | None, list[Any]] = {None: [None, ""], "in": ["in", "IN", "inbound"], "out": ["OUT", "Outbound"]}
KINDS = ["3", "true", "web", "new"]
numbers = count(1)


@st.composite
def valued(draw: DrawFn, values: dict[Any, list[Any]], meant: Any, *, text: bool = False) -> Ways:
    """One value as each way writes it; ``text`` says that the posts take text alone."""
    ways = {way: draw(st.sampled_from(values[meant])) for way in WAYS}
    if text:
        words = [value for value in values[meant] if value is None or isinstance(value, str)]
        ways |= {way: draw(st.sampled_from(words)) for way in ("scores", "events")}
    if values is CATEGORIES:
        ways["pyfunc"] = draw(st.sampled_from(values[meant] + IN_PYTHON.get(meant, [])))
    return ways


def one_of(values: dict[Any, list[Any]], of: list[Any] | None = None, *, text: bool = False) -> SearchStrategy[Ways]:
    return st.sampled_from(list(values) if of is None else of).flatmap(lambda meant: valued(values, meant, text=text))


@st.composite
def moment(draw: DrawFn) -> Ways:
    """A time in the year before `NOW`, with another offset each way; or the same local time or day each way."""
    at = NOW - timedelta(minutes=draw(st.integers(5_000, 500_000)), microseconds=draw(st.sampled_from([0, 1, 500_000])))
    form = draw(st.sampled_from(["zoned", "zoned", "local", "day"]))
    if form != "zoned":
        local = at.replace(tzinfo=None)
        return dict.fromkeys(WAYS, local.date().isoformat() if form == "day" else local.isoformat(" "))
    ways = {way: at.astimezone(timezone(timedelta(hours=draw(st.integers(-5, 9))))).isoformat() for way in WAYS}
    return ways | {"pyfunc": draw(st.sampled_from([at, pd.Timestamp(at), at.isoformat()]))}


@st.composite
def lead_ids(draw: DrawFn) -> Ways:
    n = 900_000 + next(numbers)
    text = draw(st.sampled_from([f"L{n}", f"\u00dc{n}", f"{n}.0", f"0{n}", f"a b{n}", f"{n}", f"{n}"]))
    ways: Ways = dict.fromkeys(WAYS, text)
    if text == str(n):
        ways["pyfunc"] = draw(st.sampled_from([n, float(n), np.int64(n), Decimal(n), text]))
    return ways


@st.composite
def leads(draw: DrawFn, n: int) -> list[dict[str, Any]]:
    """Leads, each with its own columns and the rows of the other tables."""
    sources = draw(st.sampled_from([None, ONLY_NUMBERS]))
    owners = draw(st.sampled_from([None, ONLY_NUMBERS]))
    change = st.one_of(
        st.fixed_dictionaries({"attribute": same("amount"), "value": one_of(NUMBERS), "occurred_at": moment()}),
        st.fixed_dictionaries(
            {"attribute": same("owner"), "value": one_of(CATEGORIES, owners), "occurred_at": moment()}
        ),
    )
    stage = st.sampled_from(["mql", "sal", "sql", "lost"]).flatmap(same)
    touch = {
        "kind": one_of(CATEGORIES, KINDS, text=True),
        "occurred_at": moment(),
        "direction": one_of(DIRECTIONS),
        "by": one_of(CATEGORIES, text=True),
        "value": st.sampled_from([None, 4, 4.0, 0.1, -2.5]).flatmap(same),
    }
    lead = {
        "lead_id": lead_ids(),
        "created_at": moment(),
        "employees": one_of(NUMBERS),
        "source": one_of(CATEGORIES, sources),
        "industry": one_of(CATEGORIES),
        "country": one_of(CATEGORIES),
        "transitions": st.lists(st.fixed_dictionaries({"stage": stage, "occurred_at": moment()}), max_size=2),
        "touches": st.lists(st.fixed_dictionaries(touch), max_size=3),
        "changes": st.lists(change, max_size=2),
    }
    return [draw(st.fixed_dictionaries(lead)) for _ in range(n)]


def same(value: Any) -> SearchStrategy[Ways]:
    return st.just(dict.fromkeys(WAYS, value))


def as_sent(row: dict[str, Any], way: str) -> dict[str, Any]:
    """A row as one way gives it, with the rows of other tables in it."""
    return {
        name: [as_sent(each, way) for each in value] if isinstance(value, list) else value[way]
        for name, value in row.items()
    }


def rows_of(some: list[dict[str, Any]], way: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by table, all recorded now: what comes as an event was not known before."""
    sent = [as_sent(lead, way) | {"recorded_at": NOW.isoformat()} for lead in some]
    rows = {"leads": [{name: value for name, value in lead.items() if name not in TABLES} for lead in sent]}
    for table in TABLES[1:]:
        rows[table] = [
            {"lead_id": lead["lead_id"], **row, "recorded_at": NOW.isoformat()} for lead in sent for row in lead[table]
        ]
    return rows


EMPTY = {
    "transitions": ("lead_id", "stage", "occurred_at"),
    "touches": ("lead_id", "kind", "occurred_at"),
    "changes": ("lead_id", "attribute", "value", "occurred_at"),
}


def write_csv(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table, each in rows.items():
        with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(each[0]) if each else EMPTY[table])
            writer.writeheader()
            writer.writerows(each)


def write_parquet(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table, each in rows.items():
        names = list(each[0]) if each else EMPTY[table]
        pyarrow.parquet.write_table(
            pa.table({name: typed([row[name] for row in each]) for name in names}), folder / f"{table}.parquet"
        )


def typed(values: list[Any]) -> pa.Array:
    """A column of floating-point numbers where all are numbers; else text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    return pa.array([None if value is None else str(value) for value in values], pa.string())


@pytest.fixture(scope="module")
def company(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small company with values that are numbers and true or false, written in several ways."""
    folder = tmp_path_factory.mktemp("same") / "company"
    shutil.copytree(small, folder)
    path = folder / "funnel.toml"
    toml = path.read_text(encoding="utf-8").replace("[time]", '[time]\ntimezone = "Europe/Berlin"')
    path.write_text(toml + "\n[features]\nmin_category_leads = 3\n", encoding="utf-8")
    for table, columns in {"leads": ATTRIBUTES[1:], "touches": ("kind", "by"), "changes": ("value",)}.items():
        rows = pd.read_csv(folder / f"{table}.csv", dtype=str, keep_default_na=False)
        for column in columns:
            which = rows["attribute"] == "owner" if table == "changes" else rows[column] != ""
            rows.loc[which, column] = odd(rows.loc[which, column])
        rows.to_csv(folder / f"{table}.csv", index=False)
    return folder


def odd(values: pd.Series[str]) -> list[str]:
    """Each value in the place of another, by how often it occurs."""
    learnt = {value: LEARNT[place % len(LEARNT)] for place, value in enumerate(values.value_counts().index)}
    ways = [CATEGORIES[learnt[value]] for value in values]
    return [str(each[row % len(each)]) for row, each in enumerate(ways)]


@pytest.fixture(scope="module")
def model(company: Path) -> FunnelModel:
    history = read_history(company)
    return learn_until(history, history.known_until, n_jobs=1)


@pytest.fixture(scope="module")
def api(model: FunnelModel, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    import mlflow  # noqa: PLC0415 - its environment is set by then

    folder = tmp_path_factory.mktemp("same_api")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/models/mlflow.db")
        patch.setenv("LEADSCORE_MODEL", "leadscore")
        patch.setenv("LEADSCORE_DATABASE_URL", f"sqlite:///{folder}/store.db")
        with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
            log_model(model, {"note": "a test", "jitter": {}})
            client.set_registered_model_alias("leadscore", CHAMPION, "1")
        with running(settings_of(folder, max_per_second=1e6), Clock(NOW_US)) as service:
            yield service


def by_history(history: History, model: FunnelModel) -> Scores:
    probability = model.predict_proba(history.at(np.arange(len(history)), np.full(len(history), NOW_US)))
    return {lead: row[~np.isnan(row)].tolist() for lead, row in zip(history.ids, probability, strict=True)}


def by_folder(some: list[dict[str, Any]], way: str, model: FunnelModel, company: Path, folder: Path) -> Scores:
    write: dict[str, Callable[[Path, dict[str, list[dict[str, Any]]]], None]] = {
        "csv": write_csv,
        "parquet": write_parquet,
    }
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(company / "funnel.toml", folder)
    write[way](folder, rows_of(some, way))
    return by_history(read_history(folder, NOW), model)


def answered(api: Running, path: str, body: dict[str, Any]) -> Scores:
    answer = api.post(path, body)
    assert answer.status_code == 200, answer.text
    return {
        score["lead_id"]: [each["probability"] for each in score["probabilities"]] for score in answer.json()["scores"]
    }


def by_scores(some: list[dict[str, Any]], api: Running) -> Scores:
    sent = [as_sent(lead, "scores") for lead in some]
    for lead in sent:
        lead["attributes"] = {name: lead.pop(name) for name in ATTRIBUTES}
        for row in (lead, *(row for table in TYPES for row in lead[table])):
            row["recorded_at"] = NOW.isoformat()
    return answered(api, "/v1/scores", {"leads": sent})


def by_events(some: list[dict[str, Any]], api: Running) -> Scores:
    events: list[dict[str, Any]] = []
    for lead in (as_sent(lead, "events") for lead in some):
        own = {name: lead[name] for name in ("lead_id", "created_at")}
        events.append({"type": "lead", **own, "attributes": {name: lead[name] for name in ATTRIBUTES}})
        for table, kind in TYPES.items():
            events += [{"type": kind, "lead_id": lead["lead_id"], **row} for row in lead[table]]
    return answered(api, "/v1/events", {"events": events})


def by_pyfunc(some: list[dict[str, Any]], model: FunnelModel) -> Scores:
    sent = [as_sent(lead, "pyfunc") | {"recorded_at": NOW, "as_of": NOW} for lead in some]
    for number, lead in enumerate(sent):
        for table in TYPES:
            rows = [row | {"recorded_at": NOW} for row in lead[table]]
            into = np.empty(len(rows), object)
            into[:] = rows
            # Lists that came from Parquet are arrays.
            lead[table] = (rows, tuple(rows), into)[number % 3]
    scores = score_records(model, pd.DataFrame(sent, dtype=object))
    columns = scores.columns[2:]
    return {
        row["lead_id"]: [row[name] for name in columns if not pd.isna(row[name])] for row in scores.to_dict("records")
    }


def assert_same(some: list[dict[str, Any]], api: Running, model: FunnelModel, company: Path, folder: Path) -> None:
    expected = by_folder(some, "csv", model, company, folder)
    assert len(expected) == len(some)
    assert by_folder(some, "parquet", model, company, folder) == expected
    assert by_scores(some, api) == expected
    assert by_events(some, api) == expected
    stored = read_store(api.service.store, funnel=model.funnel, known_until=NOW_US, lead_ids=list(expected))
    assert by_history(stored, model) == expected
    assert by_pyfunc(some, model) == expected


QUIET = [HealthCheck.data_too_large, HealthCheck.too_slow, HealthCheck.large_base_example]


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(deadline=None, max_examples=10, derandomize=True, suppress_health_check=QUIET)
@given(some=leads(20))
def test_same_leads_by_every_way(
    some: list[dict[str, Any]],
    api: Running,
    model: FunnelModel,
    company: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert_same(some, api, model, company, tmp_path_factory.getbasetemp() / "same_folder")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(deadline=None, max_examples=50, suppress_health_check=QUIET)
@given(some=leads(20))
def test_a_thousand_leads_by_every_way(
    some: list[dict[str, Any]],
    api: Running,
    model: FunnelModel,
    company: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert_same(some, api, model, company, tmp_path_factory.getbasetemp() / "same_folder")


def test_the_model_has_learnt_the_values(model: FunnelModel) -> None:
    known = model.vocabulary_
    assert {"3", "true"} <= set(known.kinds)
    assert {"3", "true"} <= {name for names in known.categories.values() for name in names}
    for names in (known.kinds, known.agents, *known.categories.values()):
        assert not {"3.0", "3.00", "True", "TRUE", "1.2345678901e+10"} & set(names)


# One lead, and what is said of it.


def lead(**change: Any) -> dict[str, Any]:
    """A lead as it is sent to the pyfunc."""
    call = {"kind": "3", "occurred_at": "2025-06-01T09:00:00Z", "by": "true"}
    own = {"lead_id": "A", "created_at": "2025-05-01T09:00:00Z", "as_of": NOW, "source": "3", "employees": 5}
    return own | {"transitions": [{"stage": "mql", "occurred_at": "2025-06-01T09:00:00Z"}], "touches": [call]} | change


def scored(model: FunnelModel, *some: dict[Any, Any]) -> list[list[Any]]:
    """``lead_id``, stage and the probabilities that there are."""
    rows = score_records(model, pd.DataFrame(list(some))).to_numpy().tolist()
    return [[value for value in row if value is None or value == value] for row in rows]  # noqa: PLR0124 - NaN


def test_a_float_id_is_the_id_of_a_whole_number(model: FunnelModel) -> None:
    ((lead_id, stage, *probability),) = scored(model, lead(lead_id=101.0))
    assert (lead_id, stage) == ("101", "mql")
    assert len(probability) == 4
    with pytest.raises(DataError, match="export it as text"):
        scored(model, lead(lead_id=2.0**53))


def test_a_lead_that_is_not_found_is_an_error(model: FunnelModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "id_text", str)
    assert scored(model, lead(lead_id="1", do_not_score=True))[0][1] is None
    with pytest.raises(DataError, match=r"leads.lead_id: must be the id of a lead that was read \(1 row\); leads 1.0"):
        scored(model, lead(lead_id=1.0))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT, pd.NA], ids=repr)
def test_missing_values_in_lists(model: FunnelModel, missing: Any) -> None:
    call = lead()["touches"][0]
    with_missing = np.array([call | {"value": missing, "direction": missing, "event_id": missing}], object)
    expected = scored(model, lead())
    assert scored(model, lead(touches=with_missing, changes=missing, industry=missing)) == expected
    assert scored(model, lead(touches=(call,))) == expected


def test_lists_that_came_from_parquet(model: FunnelModel, tmp_path: Path) -> None:
    some = [lead(), lead(lead_id="B", touches=[], employees=None), lead(lead_id="C", transitions=None)]
    pd.DataFrame(some).to_parquet(tmp_path / "leads.parquet")
    read = pd.read_parquet(tmp_path / "leads.parquet")
    assert isinstance(read["touches"][0], np.ndarray)
    assert scored(model, *read.to_dict("records")) == scored(model, *some)
    assert score_records(model, read)["lead_id"].tolist() == ["A", "B", "C"]


def test_a_model_of_an_older_version_knows_its_values(model: FunnelModel, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    words, older = described["vocabulary"], {"3": "3.0", "true": "True", "12345678901": "1.2345678901e+10"}
    for name in ("kinds", "agents"):
        words[name] = [older.get(each, each) for each in words[name]]
    words["categories"] = {name: [older.get(each, each) for each in some] for name, some in words["categories"].items()}
    described["columns"] = catalogue_names(model, words)
    path.write_text(json.dumps(described), encoding="utf-8")
    (tmp_path / "model" / MANIFEST).unlink()
    write_manifest(tmp_path / "model")
    assert "3.0" in words["kinds"]

    before = load_model(tmp_path / "model")
    assert before.vocabulary_ == model.vocabulary_
    assert scored(before, lead(source=3.0, industry=True)) == scored(model, lead(source="3", industry="true"))


def catalogue_names(model: FunnelModel, words: dict[str, Any]) -> list[str]:
    vocabulary = replace(model.vocabulary_, kinds=tuple(words["kinds"]))
    return [column.name for column in columns_of(catalogue(model.funnel, vocabulary))]


def test_unseen_values_are_flagged_in_answers(api: Running, model: FunnelModel) -> None:
    own = {"lead_id": f"unseen {next(numbers)}", "created_at": "2025-05-01T09:00:00Z"}
    attributes = {"source": "nowhere", "industry": 3.0, "country": None}
    change = {"attribute": "owner", "value": "nobody", "occurred_at": "2025-06-01T09:00:00Z"}
    body = {"leads": [own | {"attributes": attributes, "changes": [change]}]}
    events = [
        {"type": "lead", "attributes": attributes, **own},
        {"type": "change", "lead_id": own["lead_id"], **change},
    ]
    flags = ["unseen:source", "unseen:owner"]

    assert flagged(api.post("/v1/scores", body)) == flags
    assert flagged(api.post("/v1/events", {"events": events})) == flags
    assert flagged(api.get(f"/v1/leads/{own['lead_id']}")) == flags
    publish_list(api.service.store, model, "1", NOW_US, keep_from=0, now=lambda: NOW_US)
    assert flagged(api.get(f"/v1/leads/{own['lead_id']}")) == flags
    listed = {each["lead_id"]: each["flags"] for each in api.get("/v1/leads?limit=1000").json()["leads"]}
    assert listed[own["lead_id"]][-2:] == flags


def flagged(answer: Any) -> list[str]:
    body = answer.json()
    (score,) = [body["score"]] if "score" in body else body["scores"]
    return [flag for flag in score["flags"] if flag.startswith("unseen")]


def test_unseen_values_are_counted_in_the_log(
    company: Path, model: FunnelModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(company, tmp_path / "renamed")
    path = tmp_path / "renamed" / "leads.csv"
    rows = pd.read_csv(path, dtype=str)
    rows.loc[rows["source"] == "web", "source"] = "Web"
    rows.to_csv(path, index=False)
    for name in ("leadscore", "leadscore.model"):  # another test may have quietened one
        caplog.set_level("INFO", name)
    listed = rank(read_history(tmp_path / "renamed"), model)
    n_renamed = int(rows.set_index("lead_id").loc[listed["lead_id"], "source"].eq("Web").sum())
    assert n_renamed
    assert (
        f"source: {n_renamed} of {len(listed)} leads have a value that the model has not learnt: 'Web'" in caplog.text
    )


def test_true_is_a_category_and_no_number(api: Running) -> None:
    own = {"lead_id": f"true {next(numbers)}", "created_at": "2025-05-01T09:00:00Z"}
    as_text, as_true = ({"leads": [own | {"attributes": {"industry": each}}]} for each in ("true", True))
    assert api.post("/v1/scores", as_text).json() == api.post("/v1/scores", as_true).json()
    for path, body in (
        ("/v1/scores", {"leads": [own | {"attributes": {"employees": True}}]}),
        ("/v1/events", {"events": [own | {"type": "lead", "attributes": {"employees": True}}]}),
    ):
        answer = api.post(path, body)
        assert answer.status_code == 422
        assert "must be a number, not 'true'" in answer.text


@pytest.mark.parametrize("lead_ids", [["1.2345678901234568e+18"], ["A", " A"], ["A", "A\u200b"]], ids=ascii)
def test_unclear_ids_are_refused_alone_and_together(api: Running, lead_ids: list[str]) -> None:
    def sent(ids: list[str]) -> dict[str, Any]:
        return {"leads": [{"lead_id": each, "created_at": "2025-05-01T09:00:00Z"} for each in ids]}

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda ids: api.post("/v1/scores", sent(ids)), [lead_ids, ["B"]] * 3))
    assert [answer.status_code for answer in answers] == [422, 200] * 3


def test_the_same_values_written_differently_are_a_repeat(api: Running) -> None:
    own = {"lead_id": f"repeat {next(numbers)}", "created_at": "2025-05-01T09:00:00Z"}
    happened = {"lead_id": own["lead_id"], "occurred_at": "2025-06-01T09:00:00Z"}

    def events(source: Any, employees: Any, kind: str, owner: Any) -> dict[str, Any]:
        lead = own | {"type": "lead", "attributes": {"source": source, "employees": employees}}
        touch = happened | {"type": "touch", "kind": kind, "direction": "in" if kind == "3" else "INBOUND"}
        return {"events": [lead, touch, happened | {"type": "change", "attribute": "owner", "value": owner}]}

    assert api.post("/v1/events", events(3, 1000, "3", "true")).json()["outcomes"] == ["new"] * 3
    assert api.post("/v1/events", events("3.0", "1e3", "3.0", owner=True)).json()["outcomes"] == ["repeat"] * 3
    assert api.post("/v1/events", events(4, 1000, "4", owner=False)).json()["outcomes"] == ["changed", "new", "new"]


def test_stored_attributes_are_read_by_another_declaration(api: Running, model: FunnelModel) -> None:
    own = {"lead_id": f"declared {next(numbers)}", "created_at": "2025-05-01T09:00:00Z"}
    changes = [
        {
            "type": "change",
            "lead_id": own["lead_id"],
            "attribute": name,
            "value": value,
            "occurred_at": own["created_at"],
        }
        for name, value in (("amount", 12345678901), ("owner", "3.0"))
    ]
    events = [own | {"type": "lead", "attributes": {"employees": 120, "source": 7.0}}, *changes]
    assert api.post("/v1/events", {"events": events}).status_code == 200
    swapped = model.funnel.model_copy(
        update={
            "attributes": Attributes(numbers=("source",), categories=("employees",)),
            "changes": Attributes(numbers=("owner",), categories=("amount",)),
        }
    )
    history = read_store(api.service.store, funnel=swapped, known_until=NOW_US, lead_ids=[own["lead_id"]])
    now = history.at([0], [NOW_US])
    names = history.vocabulary.categories
    assert (now.number("source").tolist(), now.number("owner").tolist()) == ([7.0], [3.0])
    assert names["employees"][now.category("employees")[0]] == "120"
    assert names["amount"][now.category("amount")[0]] == "12345678901"
