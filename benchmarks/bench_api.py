"""The service under load, and a million leads in one batch; peers in the same run.

Starts the real server, a bare FastAPI endpoint that parses the same body, and `mlflow models serve` of the same
model, and loads each over loopback with wrk, 8 connections, runs interleaved. Prints a table and, last, one line of
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks import api_servers as servers
from benchmarks.api_load import Load, fresh_touches, loaded, same_body
from benchmarks.api_stores import filled, million_listed, open_leads_multiplied
from leadscore.backtest import learn_until
from leadscore.features import matrix
from leadscore.funnel import open_leads
from leadscore.history import read_history
from leadscore.registry.connection import connected, experiment_id
from leadscore.registry.runs import log_model
from leadscore.registry.versions import CHAMPION
from leadscore.simulate import simulate
from leadscore.store import open_store, read_store
from tests import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.api_servers import Server
    from leadscore.history import History
    from leadscore.model import FunnelModel

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
TOUCHES = 20
CROWD = 50
BATCHES = 3
WARM_SECONDS = 3
ATTRIBUTES = ("employees", "source", "industry", "country")
AS_OF = "2025-07-01T08:00:00Z"


@dataclass
class Bench:
    """What is measured, and with what.

    Attributes
    ----------
    folder : Path
        With a registry whose champion is learnt from the sample.
    seconds, runs, workers : int
        Of a run of load; runs of each; processes of each server.
    """

    folder: Path
    history: History
    model: FunnelModel
    seconds: int
    runs: int
    workers: int
    figures: dict[str, float] = field(default_factory=dict)

    def show(self, what: str, load: Load, cpu_ms: float | None = None) -> None:
        """One row of the table."""
        cpu = "" if cpu_ms is None else f"{cpu_ms:8.2f}"
        print(
            f"{what:<34}{load.rps:>9,.0f}{load.p50_ms:>10.2f}{load.p99_ms:>10.2f}{cpu:>8}{load.refused:>9}", flush=True
        )


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each run of load")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs of the endpoint and the bare one")
    parser.add_argument("--workers", type=int, default=1, help="processes of each server")
    parser.add_argument("--listed", type=int, default=1_000_000, help="leads in the list that is read")
    parser.add_argument("--batch", type=int, default=1_000_000, help="open leads that are scored in one batch")
    parser.add_argument("--steady", type=int, default=100_000, help="requests before memory is looked at again")
    given = parser.parse_args()
    with (
        postgres.server(durable=True) as on_postgres,
        tempfile.TemporaryDirectory(prefix="leadscore-bench-") as scratch,
        _inside(Path(scratch)),
    ):
        bench = prepared(Path(scratch), given)
        print(f"{'':<34}{'req/s':>9}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms':>8}{'refused':>9}")
        one_lead(bench, given.steady)
        mlflow_peer(bench)
        events(bench, "events", f"sqlite:///{scratch}/events.db")
        lists(bench, "list", f"sqlite:///{scratch}/listed.db", given.listed)
        events(bench, "events_postgres", _database(on_postgres, "events"))
        lists(bench, "list_postgres", _database(on_postgres, "listed"), given.listed)
        batch(bench, given.batch)
        print(json.dumps({name: round(value, 2) for name, value in bench.figures.items()}))


def prepared(folder: Path, given: argparse.Namespace) -> Bench:
    """A registry whose champion has learnt from the sample."""
    import mlflow  # noqa: PLC0415 - takes seconds

    history = read_history(SAMPLE)
    model = learn_until(history, history.known_until, servers_cores())
    with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
        log_model(model, {"jitter": {}})
        client.set_registered_model_alias("leadscore", CHAMPION, "1")
    return Bench(folder, history, model, given.seconds, given.runs, given.workers)


def servers_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def one_lead(bench: Bench, steady: int) -> None:
    """One lead with its history, against a bare endpoint; then with reasons; then memory."""
    body = _a_lead()
    script = same_body(bench.folder / "lead.lua", body)
    why = same_body(bench.folder / "why.lua", body | {"reasons": True})
    database = f"sqlite:///{bench.folder}/scores.db"
    filled(database, SAMPLE, bench.history.known_until).close()
    with servers.ours(bench.folder, database, bench.workers) as ours, servers.bare(bench.folder, bench.workers) as bare:
        for each in (ours, bare):
            loaded(f"{each.url}/v1/scores", WARM_SECONDS, script=script)
        found: dict[str, list[Load]] = {"score": [], "bare": []}
        cpu: dict[str, list[float]] = {"score": [], "bare": []}
        for _ in range(bench.runs):
            for name, server in (("score", ours), ("bare", bare)):
                load, used = _watched(server, "/v1/scores", bench.seconds, script)
                found[name].append(load)
                cpu[name].append(used)
        for name, runs in found.items():
            load = _median(runs)
            bench.show({"score": "one lead", "bare": "bare endpoint"}[name], load, statistics.median(cpu[name]))
            bench.figures |= {f"{name}_rps": load.rps, f"{name}_p99_ms": load.p99_ms}
            bench.figures |= {f"{name}_cpu_ms": statistics.median(cpu[name])}
        load, used = _watched(ours, "/v1/scores", bench.seconds, why)
        bench.show("one lead with reasons", load, used)
        bench.figures["reasons_rps"] = load.rps
        _memory(bench, ours, script, steady)


def _memory(bench: Bench, server: Server, script: Path, steady: int) -> None:
    """Memory of a worker after a tenth of so many requests, and after all."""
    megabytes = []
    for requests in (steady // 10, steady - steady // 10):
        seconds = max(1, round(requests / bench.figures["score_rps"]))
        loaded(f"{server.url}/v1/scores", seconds, script=script)
        megabytes.append(server.memory_mb())
    print(f"memory of a worker: {megabytes[0]:.1f} MB, then {megabytes[1]:.1f} MB after about {steady:,} requests")
    bench.figures |= {"memory_before_mb": megabytes[0], "memory_after_mb": megabytes[1]}


def mlflow_peer(bench: Bench) -> None:
    """The same lead, scored by the same model behind `mlflow models serve`."""
    lead = _a_lead()
    record = {"as_of": AS_OF, **lead["leads"][0], **lead["leads"][0]["attributes"]}
    del record["attributes"]
    script = same_body(bench.folder / "mlflow.lua", {"dataframe_records": [record]})
    with servers.mlflow_serve(bench.folder, bench.workers) as server:
        loaded(f"{server.url}/invocations", WARM_SECONDS, script=script)
        load, used = _watched(server, "/invocations", bench.seconds, script)
    bench.show("mlflow models serve", load, used)
    bench.figures |= {"mlflow_rps": load.rps, "mlflow_p99_ms": load.p99_ms}


def events(bench: Bench, name: str, database: str) -> None:
    """One new touch after another: stored, its lead scored again and listed, answered."""
    filled(database, SAMPLE, bench.history.known_until).close()
    _score(bench.folder, database)
    seen = open_leads(bench.history, bench.history.known_until)
    lead_ids = bench.history.ids[seen.lead].tolist()
    with servers.ours(bench.folder, database, bench.workers) as server:
        runs = []
        for run in range(3):
            script = fresh_touches(bench.folder / f"{name}.lua", lead_ids, AS_OF, seed=run + 1)
            runs.append(_watched(server, "/v1/events", bench.seconds, script))
    load = _median([each for each, _ in runs])
    bench.show(name.replace("_", " on "), load, statistics.median(used for _, used in runs))
    bench.figures |= {f"{name}_rps": load.rps, f"{name}_p99_ms": load.p99_ms}


def lists(bench: Bench, name: str, database: str, n_leads: int) -> None:
    """The first page of the list."""
    million_listed(database, n_leads, bench.history.known_until)
    with servers.ours(bench.folder, database, bench.workers) as server:
        loaded(f"{server.url}/v1/leads?limit=50", WARM_SECONDS)
        runs = [_watched(server, "/v1/leads?limit=50", bench.seconds, None) for _ in range(3)]
        filtered, used = _watched(server, "/v1/leads?limit=50&owner=owner%207&stage=mql", bench.seconds, None)
    load = _median([each for each, _ in runs])
    bench.show(f"{name.replace('_', ' on ')} of {n_leads:,}", load, statistics.median(each for _, each in runs))
    bench.show("  of one owner and stage", filtered, used)
    bench.figures |= {f"{name}_rps": load.rps, f"{name}_p99_ms": load.p99_ms}


def batch(bench: Bench, n_leads: int) -> None:
    """`make score` of so many open leads, and the bare prediction of all stages for the same rows."""
    folder, database = bench.folder / "many", f"sqlite:///{bench.folder}/many.db"
    simulate(folder, leads=min(50_000, max(4_000, n_leads)), truth_from=None)
    known_until = read_history(folder).known_until
    n_open = open_leads_multiplied(database, folder, known_until, n_leads)
    as_of = pd.Timestamp(known_until, unit="us", tz="UTC").isoformat()
    # A champion's first batch compiles its trees, which the later ones find.
    print(_score(bench.folder, database, "--as-of", as_of))
    runs = []
    for _ in range(BATCHES):
        begin = time.perf_counter()
        said = _score(bench.folder, database, "--as-of", as_of)
        whole = time.perf_counter() - begin
        print(said)
        steps = {name: float(seconds) for name, seconds in re.findall(r"(\w+) (\d+\.\d)", said.partition("(")[2])}
        # What comes after a list is published, nobody waits for: older lists go to the history.
        published = sum(steps.values()) - steps["sweep"]
        runs.append((published, whole, _raw_predict(bench, database, known_until)))
    for published, whole, raw in runs:
        print(
            f"{n_open:,} open leads: {published:.1f} s from store to list, {published / raw:.2f} times the bare "
            f"prediction of {raw:.1f} s; {whole:.1f} s with start and end, {whole / raw:.2f} times"
        )
    published, whole, raw = sorted(runs, key=lambda each: each[0] / each[2])[len(runs) // 2]
    bench.figures |= {
        "batch_leads_per_s": n_open / published,
        "batch_whole_leads_per_s": n_open / whole,
        "raw_predict_leads_per_s": n_open / raw,
    }


def _raw_predict(bench: Bench, database: str, known_until: int) -> float:
    """Seconds that `Booster.predict` of all stages takes for all open leads, on all cores."""
    store = open_store(database)
    history = read_store(store, funnel=bench.model.funnel, known_until=known_until)
    store.close()
    seen = open_leads(history, known_until).coded(bench.model.vocabulary_)
    taken = 0.0
    for begin in range(0, len(seen), 1 << 17):
        X = matrix(bench.model.features_, seen[begin : begin + (1 << 17)], servers_cores())
        began = time.perf_counter()
        for learnt in bench.model.stages_:
            if learnt.booster is not None:
                learnt.booster.predict(X, raw_score=True, num_threads=servers_cores())
        taken += time.perf_counter() - began
    return taken


def _watched(server: Server, path: str, seconds: int, script: Path | None) -> tuple[Load, float]:
    """A run of load, and the CPU milliseconds of the server per request."""
    before = server.cpu_seconds()
    load = loaded(f"{server.url}{path}", seconds, script=script)
    return load, 1000 * (server.cpu_seconds() - before) / max(load.rps * seconds, 1)


def _median(runs: list[Load]) -> Load:
    return Load(
        statistics.median(each.rps for each in runs),
        statistics.median(each.p50_ms for each in runs),
        statistics.median(each.p99_ms for each in runs),
        sum(each.refused for each in runs),
    )


def _a_lead() -> dict[str, Any]:
    """A lead of the sample that has all stages ahead and at least so many touches; the latest of these are sent."""
    tables = {
        name: pd.read_csv(SAMPLE / f"{name}.csv", dtype=str) for name in ("leads", "transitions", "touches", "changes")
    }
    touched = tables["touches"]["lead_id"].value_counts()
    moved = set(tables["transitions"]["lead_id"])
    lead_id = min(str(each) for each in touched.index[touched >= TOUCHES] if each not in moved)
    own = tables["leads"].set_index("lead_id").loc[lead_id].dropna()
    events = {name: _events(tables[name], lead_id) for name in ("touches", "changes")}
    lead: dict[str, Any] = {"lead_id": lead_id, "created_at": own["created_at"], "transitions": []} | events
    lead["attributes"] = {name: own[name] for name in ATTRIBUTES if name in own}
    return {"leads": [lead], "as_of": AS_OF}


def _events(table: pd.DataFrame, lead_id: str) -> list[dict[str, Any]]:
    rows = table[table["lead_id"] == lead_id].drop(columns="lead_id").sort_values("occurred_at").tail(TOUCHES)
    found = [{str(name): value for name, value in row.items() if not pd.isna(value)} for row in rows.to_dict("records")]
    return [row | {"value": float(row["value"])} if "value" in row and "kind" in row else row for row in found]


def _score(folder: Path, database: str, *arguments: str) -> str:
    """`make score`; what it printed."""
    named = os.environ | {"LEADSCORE_DATABASE_URL": database}
    command = [sys.executable, str(servers.ROOT / "pipelines" / "score.py"), *arguments]
    return subprocess.run(  # noqa: S603
        command, cwd=folder, env=named, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def _database(server: str, name: str) -> str:
    """A new database on a PostgreSQL server."""
    import sqlalchemy as sa  # noqa: PLC0415

    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS bench_{name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE bench_{name}")
    return url.set(database=f"bench_{name}").render_as_string(hide_password=False)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder whose registry is its own."""
    before = Path.cwd()
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/models/mlflow.db"
    (folder / "models").mkdir()
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    main()
