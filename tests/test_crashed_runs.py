"""The states in Prefect of killed runs, and of task runs whose end its server lost or never received."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Pending, Running, State

from prefect_ollama.blocks.documents.run import RUN_DONE, RUN_FAILED, RUN_INTERRUPTED, Run
from prefect_ollama.blocks.errors import ServerLost
from prefect_ollama.blocks.lance._runs import alive
from prefect_ollama.flows.runner import _task_run_states as task_run_states
from prefect_ollama.flows.runner import server_watch
from prefect_ollama.flows.runner._task_run_states import Ended, report, report_lost_states
from prefect_ollama.tasks.prefect_state.crashed_runs import HOST, PROCESS, label_flow_run, settle_interrupted
from tests import dask_tasks as tasks
from tests.waiting import until


@pytest.fixture
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def gone() -> int:
    """Id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@flow
def signs(number: int, unsigned: float) -> UUID:
    label_flow_run(timedelta(seconds=unsigned))
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


@flow
def other(number: int) -> None: ...


def begun(
    client: SyncPrefectClient,
    state: State[Any],
    labels: dict[str, Any],
    *,
    of: Any = signs,
    **parameters: Any,
) -> UUID:
    """A flow run that is under way, as far as the server knows."""
    flow_run = client.create_flow_run(of, parameters=parameters or {"number": 1, "unsigned": 60}, state=state)
    if labels:
        client.update_flow_run_labels(flow_run.id, labels)
    return flow_run.id


def state_of(client: SyncPrefectClient, flow_run_id: UUID) -> str:
    return client.read_flow_run(flow_run_id).state_name or ""


def recorded(client: SyncPrefectClient, task_run_id: UUID, name: str) -> State[Any]:
    """The state of a task run, once the server has written down one of this name."""

    def read() -> State[Any] | None:
        with contextlib.suppress(ObjectNotFound):
            state = client.read_task_run(task_run_id).state
            if state is not None and state.name == name:
                return state
        return None

    return until(read, why=lambda: f"the task run never was {name}")


class TestSigned:
    def test_runs_whose_process_is_gone_are_crashed_with_their_task_runs(
        self, client: SyncPrefectClient, gone: int
    ) -> None:
        here = socket.gethostname()
        killed = begun(client, Running(), {HOST: here, PROCESS: gone})
        early = begun(client, Pending(), {HOST: here, PROCESS: gone})
        under_way = begun(client, Running(), {HOST: here, PROCESS: os.getpid()})
        elsewhere = begun(client, Running(), {HOST: "another-host", PROCESS: gone})
        foreign = begun(client, Running(), {HOST: here, PROCESS: gone}, of=other, number=1)
        task_run = client.create_task_run(tasks.parse, killed, "0", state=Running())
        this = signs(1, 60)
        assert state_of(client, killed) == state_of(client, early) == "Crashed"
        assert client.read_task_run(task_run.id).state_name == "Crashed"
        assert {state_of(client, each) for each in (under_way, elsewhere, foreign)} == {"Running"}
        assert client.read_flow_run(this).labels[PROCESS] == os.getpid()

    @pytest.mark.slow
    def test_one_that_was_killed_before_it_signed_is_known_by_its_age(
        self, client: SyncPrefectClient
    ) -> None:
        unsigned = begun(client, Running(), {})
        namesake = begun(client, Running(), {}, folder="of another project")
        signs(1, 60)
        assert state_of(client, unsigned) == "Running"
        signs(1, 0)
        assert state_of(client, unsigned) == "Crashed"
        assert state_of(client, namesake) == "Running"


def run(flow_run_id: UUID, status: str, ended: datetime | None) -> Run:
    began = datetime.now(UTC) - timedelta(hours=1)
    return Run(str(flow_run_id), "ingest", "papers", status, began, ended, 1, 1, None, None, "host", 1)


@pytest.mark.parametrize(("status", "shown"), [(RUN_DONE, "Completed"), (RUN_FAILED, "Crashed")])
def test_task_runs_of_a_run_that_is_over_are_ended_by_the_next(
    client: SyncPrefectClient, status: str, shown: str
) -> None:
    interrupted, over, just_now = (
        begun(client, state, {}) for state in (Running(), Completed(), Completed())
    )
    left = [client.create_task_run(tasks.parse, each, "0", state=Running()).id for each in (over, just_now)]
    now = datetime.now(UTC)
    log = [
        run(interrupted, RUN_INTERRUPTED, now - timedelta(minutes=30)),
        run(over, status, now - timedelta(minutes=5)),
        run(just_now, RUN_DONE, now),
        replace(run(over, RUN_DONE, now - timedelta(days=1)), run_id="by hand"),
    ]

    @flow
    def settles() -> None:
        settle_interrupted(log[:3])
        settle_interrupted(log[3:])

    settles()
    assert state_of(client, interrupted) == "Crashed"
    assert [client.read_task_run(each).state_name for each in left] == [shown, "Running"]


def test_a_process_that_came_later_is_not_the_one_that_was(gone: int) -> None:
    now = datetime.now(UTC)
    assert alive("here", os.getpid(), "here", now)
    assert alive("there", gone, "here", now)
    assert not alive("here", gone, "here", now)
    # It was there before this one began, and has its id.
    assert not alive("here", os.getpid(), "here", now - timedelta(days=1000))


def test_a_server_that_forgot_is_told_again(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_run_states, "EVENT_LAG_S", 0.5)
    known, unknown, recent = uuid4(), uuid4(), uuid4()

    @flow
    def forgotten() -> None:
        for each in (known, unknown, recent):
            report(each, tasks.parse, Running())
        for each in (known, unknown, recent):
            recorded(client, each, "Running")
        late = Ended(Completed(), time.monotonic() + 60)
        report_lost_states({recent: late}, doubtful=False)
        assert client.read_task_run(recent).state_name == "Running"
        lost = Ended(Failed(message="not today"), time.monotonic() - 60)
        report_lost_states({recent: late, known: lost}, doubtful=False)

    forgotten()
    assert recorded(client, known, "Failed").message == "not today"
    recorded(client, unknown, "Crashed")  # the flow was not over when it was asked
    recorded(client, recent, "Completed")


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        {PREFECT_API_URL: "http://127.0.0.1:9/api"},
        {PREFECT_API_URL: "https://127.0.0.1:9/api", PREFECT_API_SSL_CERT_FILE: "/lost/certificates.pem"},
    ],
    ids=["no server", "no certificates"],
)
def test_a_server_that_stays_away_is_named(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch, wrong: dict[Any, str]
) -> None:
    monkeypatch.setattr(server_watch, "SERVER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(server_watch, "CHECK_INTERVAL_S", 0.01)
    seen: dict[str, Any] = {}

    @flow
    def waits() -> None:
        server_watch.wait_for_server()
        with temporary_settings(wrong):
            watch = server_watch.ServerWatch()
            with pytest.raises(ServerLost, match="has not answered") as caught:
                server_watch.wait_for_server()
            seen.update(error=caught.value, watch=watch)
            until(lambda: watch.missed >= 3)
            watch.close()

    waits()
    assert "done and stored" in seen["error"].state
    assert seen["watch"].missed >= 3


@pytest.mark.slow
def test_an_environment_that_became_wrong_does_not_end_the_watch(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run keeps the settings with which it began."""
    monkeypatch.setattr(server_watch, "CHECK_INTERVAL_S", 0.01)
    ended: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", ended.append)

    @flow
    def watched() -> None:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
            monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "NONSENSE")
            watch = server_watch.ServerWatch()
            until(lambda: watch.missed or ended)
            watch.close()
        server_watch.wait_for_server()

    watched()
    assert not ended
