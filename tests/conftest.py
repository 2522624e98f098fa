"""Where tests run, which of them are integration tests, and what becomes of skipped ones in CI."""

from __future__ import annotations

import os

# Before anything imports NumPy or MLflow. On small matrices threads that wait for each other took two thirds of the
# processor time of fitting, and workers have a core each.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from leadscore.garbage import look_seldom
from tests import postgres

if TYPE_CHECKING:
    from collections.abc import Generator

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
# Where hundreds of small databases are created and removed several times quicker, if there is room.
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 << 30  # noqa: S108
# Fixtures that bring MLflow, which the service needs too, or take seconds to fit.
SLOW_FIXTURES = {"empty_store", "sample_model"}
ALL_INTEGRATION = "\npytestmark = pytest.mark.integration\n"


def pytest_configure(config: pytest.Config) -> None:
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
    # The process that only hands out tests to workers would keep them waiting while it imports leadscore.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("tests.fixtures")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where integration tests are left out, do not even import the files that hold no others: that takes seconds."""
    left_out = "not integration" in config.option.markexpr and collection_path.suffix == ".py"
    return True if left_out and ALL_INTEGRATION in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_finish() -> None:
    # What has been imported by now stays, and looking for garbage in it takes a tenth of a second each time.
    look_seldom()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())) or _needs_postgresql(item):
            item.add_marker("integration")


def _needs_postgresql(item: pytest.Item) -> bool:
    called_with = getattr(item, "callspec", None)
    return called_with is not None and "postgresql" in map(str, called_with.params.values())


def pytest_unconfigure() -> None:
    postgres.started.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("real_data") and not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} is not there")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    excused = hasattr(report, "wasxfail") or (item.get_closest_marker("real_data") and not REAL_DATA.is_dir())
    if report.skipped and not excused and os.environ.get("LEADSCORE_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and os.environ.get("LEADSCORE_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
