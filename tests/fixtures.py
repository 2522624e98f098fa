"""A small simulated data set, models of it, databases, and MLflow's store migrated once."""

from __future__ import annotations

import shutil
import warnings
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leadscore.backtest import learn_until
from leadscore.drift import RECALIBRATE, Drift, Finding
from leadscore.examples import learning_examples
from leadscore.history import read_history
from leadscore.labels import reached
from leadscore.model import FunnelModel
from leadscore.simulate import simulate
from leadscore.store import ingest
from tests.stores import KINDS, fresh_url, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leadscore.examples import Examples
    from leadscore.history import History
    from leadscore.store import Store

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
# What had moved when the registered model was trained.
SAID = Drift((Finding("level", "sql", 0.075, 0.251, 9.1, 1e-12, "sql: it rose", RECALIBRATE),), n_tests=92)
# Seconds, not minutes: fewer examples and fewer trees than the settings that are served.
QUICK = """
[examples]
grid_days = [4, 32]
mornings_every_days = 21

[judging]
cuts = 2
mornings_every_days = 14
resamples = 20

[lightgbm]
rounds = 10
max_rounds = 20
early_stopping_rounds = 5
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set folder of 600 invented leads."""
    folder = tmp_path_factory.mktemp("data") / "small"
    simulate(folder, leads=600, truth_from=None)
    with (folder / "funnel.toml").open("a", encoding="utf-8") as settings:
        settings.write(QUICK)
    return folder


@pytest.fixture(scope="session")
def small_history(small: Path) -> History:
    """Its history; not to be changed."""
    return read_history(small)


@pytest.fixture(scope="session")
def small_model(small_history: History) -> FunnelModel:
    """A model that has learnt from all of it; not to be changed."""
    return learn_until(small_history, small_history.known_until, n_jobs=1)


@pytest.fixture(scope="session")
def sample_history() -> History:
    """The history of the sample; not to be changed."""
    return read_history(SAMPLE)


@pytest.fixture(scope="session")
def sample_examples(sample_history: History) -> Examples:
    """Examples of a quarter of its leads."""
    examples = learning_examples(sample_history)
    return examples.of(examples.lead % 4 == 0)


@pytest.fixture(scope="session")
def sample_model(sample_history: History, sample_examples: Examples) -> FunnelModel:
    """A model that has learnt from them, with few trees; not to be changed."""
    quick = sample_history.funnel.lightgbm.model_copy(update={"max_rounds": 20, "rounds": 10})
    funnel = sample_history.funnel.model_copy(update={"lightgbm": quick})
    outcome = reached(sample_history, sample_examples.lead, sample_examples.as_of)
    snapshot = sample_history.at(sample_examples.lead, sample_examples.as_of)
    return FunnelModel(funnel).fit(snapshot, outcome, on_morning=sample_examples.on_morning)


@pytest.fixture(scope="session")
def code_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled trees are kept between tests: compiling takes seconds."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def registered(small_model: FunnelModel, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry in ``models/`` whose champion is version 1; tests get copies of it."""
    import mlflow  # noqa: PLC0415 - its environment is set above

    from leadscore.registry.connection import connected, experiment_id  # noqa: PLC0415
    from leadscore.registry.runs import log_model  # noqa: PLC0415
    from leadscore.registry.versions import CHAMPION  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("registered")
    shutil.copytree(empty_store, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        with connected() as client, mlflow.start_run(experiment_id=experiment_id(client)):
            log_model(small_model, {"note": "a test", "jitter": {}, "drift": SAID.as_json()})
            client.set_registered_model_alias("leadscore", CHAMPION, "1")
    return folder


@pytest.fixture
def registry(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a registry that the test may spoil."""
    (tmp_path / "models").mkdir()
    shutil.copy(registered / "models" / "mlflow.db", tmp_path / "models" / "mlflow.db")
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="session")
def ingested(
    small: Path, small_history: History, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """From a kind of database to the URL of one with the small data set in it; tests get copies of it."""
    with ExitStack() as databases:

        @cache
        def filled(kind: str) -> str:
            url = databases.enter_context(fresh_url(kind, tmp_path_factory.mktemp("ingested")))
            with opened(url) as store:
                ingest(store, small, received_at=small_history.known_until)
            return url

        yield filled


@pytest.fixture(scope="session", params=KINDS)
def ingested_url(request: pytest.FixtureRequest, ingested: Callable[[str], str]) -> str:
    """The URL of a database of each kind with the small data set in it; tests get copies of it."""
    return ingested(request.param)


@pytest.fixture(params=KINDS)
def company_url(request: pytest.FixtureRequest, ingested: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind with the small data set, which the test may change."""
    with fresh_url(request.param, tmp_path, ingested(request.param)) as url:
        yield url


@pytest.fixture
def sqlite_url(ingested: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an SQLite file with the small data set, which services are told of."""
    with fresh_url("sqlite", tmp_path, ingested("sqlite")) as url:
        monkeypatch.setenv("LEADSCORE_DATABASE_URL", url)
        yield url


@pytest.fixture
def company(company_url: str) -> Iterator[Store]:
    """The store at `company_url`."""
    with opened(company_url) as store:
        yield store


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``models/mlflow.db``, migrated: that takes longer than most tests."""
    # Here, so that tests without a store do not wait for MLflow. It hides this warning of its own import by
    # replacing showwarning, which hides no error.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType")
        import mlflow.pyfunc  # noqa: F401, PLC0415
    from leadscore.registry.connection import connected  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        with connected() as client:
            client.search_experiments()
    return folder


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with an empty store of its own."""
    shutil.copytree(empty_store, tmp_path, dirs_exist_ok=True)
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database: an SQLite file, and one on a PostgreSQL server."""
    with fresh_url(request.param, tmp_path) as url:
        yield url


@pytest.fixture(scope="session", params=KINDS)
def migrated_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database of each kind with empty tables; tests get copies of it."""
    with fresh_url(request.param, tmp_path_factory.mktemp("migrated")) as url:
        with opened(url):
            pass
        yield url


@pytest.fixture
def database(migrated_url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind; `store` is MLflow's."""
    kind = migrated_url.partition(":")[0].partition("+")[0]
    with fresh_url(kind, tmp_path, migrated_url) as url, opened(url) as store:
        yield store


def enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder, with the store below it."""
    patch.chdir(folder)
    # Set, not deleted: MLflow sets it too, and what is set here is put back.
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve() / 'models' / 'mlflow.db'}")
    patch.setenv("LEADSCORE_MODEL", "leadscore")
