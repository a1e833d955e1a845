"""Fixtures that the whole suite shares. No test touches the Prefect profile or database of the user who runs it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

# Prefect reads these when it is first imported; processes that tests start inherit them.
_HOME = tempfile.TemporaryDirectory(prefix="prefect-home-", ignore_cleanup_errors=True)
os.environ.update(
    PREFECT_HOME=_HOME.name,
    PREFECT_PROFILES_PATH=str(Path(_HOME.name) / "profiles.toml"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    # A server that starts is awaited; the bound only ends the wait for one that never does.
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="540",
    # One write a second instead of one for each event and five seconds of delay.
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE="100",
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE="50",
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL="1",
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL="0.2",
)
for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE"):
    os.environ.pop(name, None)

# A busy machine is no reason to fail. The examples are the same in each run, so that a run that fails does so for a
# change and not by chance; `uv run pytest --hypothesis-profile=explore` tries others.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("suite")


# They need nodes that somebody names, see their module.
collect_ignore = [] if os.environ.get("PREFECT_OLLAMA_TEST_NODES") else ["test_real_nodes.py"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", action="store_true", help="make the screenshots in docs/images again")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from tests.cases import mark_all_but_samples_as_slow

    mark_all_but_samples_as_slow(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.sharing import FewServers

    return FewServers(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def same_process() -> Iterator[None]:
    """Undo what a command does to its process: it narrows the umask, and silences Prefect's console in its children."""
    before = os.umask(0o022)
    yield
    os.umask(before)
    os.environ.pop("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", None)


@pytest.fixture
def all_nodes_take_part() -> Iterator[None]:
    """Wait for each healthy node in this process, however late a busy machine gives it a core."""
    from tests.waiting import all_nodes_awaited

    with all_nodes_awaited():
        yield


def _copy(source: Path, target: Path) -> None:
    """Copy a database of SQLite, also if a server has it open."""
    with closing(sqlite3.connect(source)) as opened, closing(sqlite3.connect(target)) as copy:
        opened.backup(copy)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the API of a real Prefect server of this test session, which flows and blocks then use.

    With `-n` each process has a server. Half of the time of a start goes to the making of tables, so the first of
    these servers gives the others a copy of its new database.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer

    from tests.nodes.ports import bound

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    # Prefect would choose a port that nobody listens on yet, as another session may at the same time.
    held = bound()
    server = SubprocessASGIServer(held.getsockname()[1])
    with FileLock(shared / "prefect.lock"):
        own, new = Path(_HOME.name) / "prefect.db", shared / "prefect.db"
        if not new.exists():
            server.start()
            _copy(own, new)
        elif not own.exists():
            _copy(new, own)
    server.start()
    os.environ["PREFECT_API_URL"] = server.api_url
    refresh_global_settings_context()
    try:
        yield server.api_url
    finally:
        # What is on its way to the server goes first: it would be retried at the end of the process.
        APILogWorker.drain_all()
        EventsWorker.drain_all()
        del os.environ["PREFECT_API_URL"]
        refresh_global_settings_context()
        server.stop()
        held.close()


@pytest.fixture(scope="session")
def dask_workers(prefect_server: str) -> Iterator[str]:
    """Address of the scheduler of real worker processes, one that parses and one that embeds.

    To start workers takes longer than what most tests have them do; flows use these with
    `with_options(task_runner=IngestTaskRunner(address=dask_workers))`.
    """
    from distributed import Client

    from prefect_ollama.flows.runner._local_cluster import WorkerCluster
    from tests.certificates import trusted

    env = {"PREFECT_API_URL": prefect_server}
    with (
        trusted() as security,
        WorkerCluster(1, 8, env=env, security=security) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=240)
        yield cluster.scheduler_address
