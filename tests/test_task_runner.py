"""The task runner on real worker processes and a real Prefect server."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import dask.config
import distributed
import prefect.context
import prefect.utilities.engine
import psutil
import pytest
from distributed.nanny import WorkerProcess
from distributed.scheduler import TaskState, WorkerState
from prefect import flow, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import LogSort, TaskRunSort
from prefect.context import FlowRunContext, SyncClientContext, serialize_context
from prefect.runtime import flow_run
from prefect_dask.task_runners import DaskTaskRunner

from prefect_ollama.blocks.errors import ConfigurationError, TaskRunLost
from prefect_ollama.flows.runner._local_cluster import WorkerCluster
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.prefect_state.task_options import runs_on
from tests import dask_tasks as tasks
from tests.certificates import reaching, trusted
from tests.killing import fork_servers, killed_as_they_start, workers_of
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("prefect_server")


def task_runs(flow_run_id: Any, *, count: int) -> list[TaskRun]:
    """Task runs of a flow run, once there are `count` that have ended."""

    def read() -> list[TaskRun] | None:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
                sort=TaskRunSort.EXPECTED_START_TIME_ASC,
                limit=200,
            )
        ended = [run for run in runs if run.state and run.state.is_final()]
        return ended if len(ended) == count else None

    return until(read)


def children() -> dict[int, list[str]]:
    """Command lines of the processes below this one, by their ids; what serves all runs stays as long as this one."""
    staying = {process.pid for process in fork_servers(os.getpid())}
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may end meanwhile
            found[process.pid] = process.cmdline()
    return {
        pid: command
        for pid, command in found.items()
        if pid not in staying and "resource_tracker" not in "".join(command)
    }


@pytest.fixture(scope="module")
def cluster(prefect_server: str) -> Iterator[WorkerCluster]:
    """Workers that a runner reaches by address only, as it would those of other machines."""
    with (
        trusted() as security,
        WorkerCluster(1, 4, env={"PREFECT_API_URL": prefect_server}, security=security) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=240)
        yield cluster


@pytest.fixture
def runner(cluster: WorkerCluster) -> IngestTaskRunner:
    return IngestTaskRunner(address=cluster.scheduler_address)


def runner_of_this_flow() -> Any:
    context = FlowRunContext.get()
    assert context is not None
    return context.task_runner


class TestSettings:
    def test_duplicate_and_equality_keep_every_setting(self) -> None:
        runner = IngestTaskRunner(3, 7, cluster_kwargs={"anything": 1}, client_kwargs={"name": "x"})
        twin = runner.duplicate()
        assert twin == runner
        assert pickle.loads(pickle.dumps(runner)) == runner
        assert (twin.parse_processes, twin.embed_threads) == (3, 7)
        assert twin.cluster_kwargs == {"anything": 1}
        assert twin != IngestTaskRunner(3, 8)
        assert twin != DaskTaskRunner()

    def test_address_excludes_arguments_for_a_cluster(self) -> None:
        with pytest.raises(ValueError, match="address"):
            IngestTaskRunner(address="tcp://127.0.0.1:1", cluster_kwargs={"security": None})

    @pytest.mark.parametrize("counts", [(0, 1), (1, 0)])
    def test_counts_below_one_are_refused(self, counts: tuple[int, int]) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            IngestTaskRunner(*counts)

    def test_unknown_role_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'store'"):
            runs_on("store")  # type: ignore[arg-type]

    def test_flow_that_submits_nothing_starts_nothing(self) -> None:
        @flow(task_runner=IngestTaskRunner(1, 1))
        def idle() -> set[int]:
            return set(children())

        before = set(children())
        assert idle() <= before  # others may have ended meanwhile


@pytest.fixture(scope="module")
def run(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one flow run on workers of its own saw."""
    seen: dict[str, Any] = {}
    folder = tmp_path_factory.mktemp("tries")
    shared_folder = tmp_path_factory.mktemp("meeting")

    @flow(task_runner=IngestTaskRunner(2, 8))
    def everything() -> None:
        seen["id"] = flow_run.id
        before = children()
        parsed = tasks.parse.map(range(6))
        embedded = tasks.embed.map(parsed, scale=unmapped(3))
        seen["embedded"] = [future.result() for future in embedded]
        seen["new"] = {pid: command for pid, command in children().items() if pid not in before}
        seen["parsed_ids"] = {future.task_run_id for future in parsed}
        seen["async"] = tasks.embed_async.submit(1).result()
        seen["options"] = tasks.parse.with_options(name="renamed").submit(9).result()
        seen["cached"] = [tasks.cached.submit(folder_size).result() for folder_size in (1, 1)]
        seen["retried"] = tasks.works_the_third_time.submit(folder).result()
        failed = tasks.fails.submit()
        seen["failure"] = failed.result(raise_on_failure=False)
        seen["failed"] = failed.state
        met = tasks.meets.map(unmapped(shared_folder), ["a", "b", "c", "d", "e", "f", "g", "h"], unmapped(8))
        seen["met"] = [future.result() for future in met]

    everything()
    seen["after"] = children()
    return seen


def test_inner_parts_that_the_runner_leans_on_are_there() -> None:
    """Parts of Prefect and Dask that are not documented; a release that moves one fails here first."""
    assert isinstance(SyncClientContext.__var__, ContextVar)
    assert "settings_context" in serialize_context()
    assert callable(prefect.context.refresh_global_settings_context)
    assert callable(prefect.utilities.engine.emit_task_run_state_change_event)
    assert {"suspicious", "priority"} <= set(TaskState.__slots__)
    assert {"processing", "executing", "nthreads"} <= set(WorkerState.__slots__)
    assert "executor_wait" in inspect.signature(WorkerProcess.kill).parameters
    assert {"stimulus_id", "expected"} <= inspect.signature(
        distributed.Scheduler.remove_worker
    ).parameters.keys()
    for name in ("_correct_state_internal", "_update_worker_status", "new_worker_spec", "scale"):
        assert callable(getattr(distributed.SpecCluster, name))
    assert "no_workers_timeout" in distributed.Scheduler.__annotations__


class TestOwnWorkers:
    """One flow run on workers of its own, looked at from many sides."""

    def test_tasks_run_on_workers_of_their_role(self, run: dict[str, Any]) -> None:
        assert {result["worker"] for result in run["embedded"]} == {"embed"}
        assert {result["parsed"]["worker"] for result in run["embedded"]} <= {"parse-0", "parse-1"}
        assert [result["value"] for result in run["embedded"]] == [0, 3, 6, 9, 12, 15]

    def test_role_survives_with_options(self, run: dict[str, Any]) -> None:
        assert run["options"]["worker"].startswith("parse-")

    def test_embed_tasks_share_a_process_and_run_at_a_time(self, run: dict[str, Any]) -> None:
        assert len({result["pid"] for result in run["embedded"]}) == 1
        assert run["met"] == ["a", "b", "c", "d", "e", "f", "g", "h"]

    def test_async_task_runs(self, run: dict[str, Any]) -> None:
        assert run["async"] == 2

    def test_retries_and_cache_work_on_workers(self, run: dict[str, Any]) -> None:
        assert run["retried"] == 2
        first, second = run["cached"]
        assert first == second

    def test_failure_comes_back_as_it_was_raised(self, run: dict[str, Any]) -> None:
        assert isinstance(run["failure"], ValueError)
        assert run["failed"].is_failed()

    def test_workers_start_no_server_of_their_own(self, run: dict[str, Any], prefect_server: str) -> None:
        assert {result["api"] for result in run["embedded"]} == {prefect_server}
        assert run["new"]
        assert not [command for command in run["new"].values() if "uvicorn" in command]

    def test_workers_are_gone_afterwards(self, run: dict[str, Any]) -> None:
        assert not run["new"].keys() & run["after"].keys()

    def test_server_knows_names_states_and_lineage(self, run: dict[str, Any]) -> None:
        runs = task_runs(run["id"], count=26)
        by_name = {task_run.name: task_run for task_run in runs}
        assert {f"parse {n}" for n in range(6)} | {"parse 9"} <= by_name.keys()
        states = {task_run.task_key.split("-")[0]: set() for task_run in runs}
        for task_run in runs:
            states[task_run.task_key.split("-")[0]].add(task_run.state_name)
        assert states == {
            "parse": {"Completed"},
            "embed": {"Completed"},
            "embed_async": {"Completed"},
            "cached": {"Completed", "Cached"},
            "works_the_third_time": {"Completed"},
            "fails": {"Failed"},
            "meets": {"Completed"},
        }
        edges = {
            source.id
            for task_run in runs
            if task_run.name == "embed 3"
            for source in task_run.task_inputs["parsed"]
        }
        assert edges == run["parsed_ids"]
        retried = next(task_run for task_run in runs if task_run.task_key.startswith("works"))
        assert retried.run_count == 3

    def test_logs_of_workers_reach_the_server(self, run: dict[str, Any]) -> None:
        def read() -> bool:
            with get_client(sync_client=True) as client:
                found = client.read_logs(
                    LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run["id"]])),
                    sort=LogSort.TIMESTAMP_ASC,
                    limit=200,
                    offset=0,
                )
            return {f"parsing number {n}" for n in range(6)} <= {log.message for log in found}

        assert until(read)


class TestForeignWorkers:
    @pytest.mark.slow
    def test_leaving_says_nothing_about_task_runs_of_others(
        self, cluster: WorkerCluster, runner: IngestTaskRunner, tmp_path: Path
    ) -> None:
        started, stop, seen = tmp_path / "started", tmp_path / "stop", {}

        @flow(task_runner=runner)
        def slow() -> None:
            seen["id"] = flow_run.id
            tasks.waits.submit(started, stop).result()

        thread = threading.Thread(target=slow, daemon=True)
        thread.start()
        until(started.exists)
        quick = tasks.small.with_options(task_runner=runner)
        assert quick(3) == 6
        stop.touch()
        thread.join(240)
        assert [run.state_name for run in task_runs(seen["id"], count=1)] == ["Completed"]

    def test_task_submits_tasks(self, runner: IngestTaskRunner) -> None:
        @flow(task_runner=runner)
        def nested() -> int:
            return tasks.submits.submit(4).result()

        assert nested() == 5

    def test_roles_are_kept_where_workers_offer_them(self, runner: IngestTaskRunner) -> None:
        @flow(task_runner=runner)
        def ask() -> dict[str, Any]:
            return tasks.embed.submit(tasks.parse.submit(4), 2).result()

        found = ask()
        assert (found["value"], found["worker"], found["parsed"]["worker"]) == (8, "embed", "parse-0")

    def test_dasks_own_setting_names_the_scheduler(self, cluster: WorkerCluster) -> None:
        @flow(task_runner=IngestTaskRunner(parse_processes=9))
        def ask() -> tuple[str, str, int]:
            runner = runner_of_this_flow()
            return tasks.parse.submit(4).result()["worker"], runner.address, runner.parse_processes

        before = set(children())
        with dask.config.set({"scheduler-address": cluster.scheduler_address}):
            worker, address, parse = ask()
        assert (worker, address, parse) == ("parse-0", cluster.scheduler_address, 1)
        assert set(children()) <= before

    def test_arguments_for_a_cluster_stand_above_dasks_setting(self) -> None:
        with (
            dask.config.set({"scheduler-address": "tcp://127.0.0.1:1"}),
            IngestTaskRunner(1, 1, cluster_kwargs={"security": None}) as runner,
        ):
            assert runner.submit(tasks.parse, {"number": 5}).result()["number"] == 5

    @pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
    def test_scheduler_that_does_not_answer_is_named(self, address: str) -> None:
        runner = IngestTaskRunner(address=address, client_kwargs={"timeout": "1s"})
        with runner, pytest.raises(ConfigurationError, match=f"{address}.*Nothing was started") as raised:
            runner.submit(tasks.parse, {"number": 5})
        assert "DASK_SCHEDULER_ADDRESS" in raised.value.remedy

    def test_tasks_run_anywhere_where_no_worker_offers_their_role(self, prefect_server: str) -> None:
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster:

            @flow(task_runner=IngestTaskRunner(address=cluster.scheduler_address))
            def ask() -> int:
                return tasks.embed.submit(tasks.parse.submit(4), 2, wait_for=[]).result()["value"]

            assert ask() == 8

    def test_settings_travel_to_workers_that_were_started_without_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: dict[str, Any] = {}
        monkeypatch.delenv("PREFECT_API_URL")
        with (
            WorkerCluster(1, 1) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            client.wait_for_workers(2, timeout=240)

            @flow(task_runner=reaching(cluster))
            def ask() -> dict[str, Any]:
                seen["id"] = flow_run.id
                return tasks.embed.submit(tasks.parse.submit(4), 2).result()

            before = children()
            assert ask()["api"] is None
            assert not [command for pid, command in children().items() if pid not in before]
        assert len(task_runs(seen["id"], count=2)) == 2


class TestWhereFlowsRun:
    def test_with_options(self, runner: IngestTaskRunner) -> None:
        assert tasks.small.with_options(task_runner=runner)(3) == 6

    def test_sync_flow_called_from_async_code(self, runner: IngestTaskRunner) -> None:
        async def main() -> int:
            return tasks.small.with_options(task_runner=runner)(3)

        assert asyncio.run(main()) == 6

    def test_own_workers_start_and_stop_inside_a_running_loop(self) -> None:
        async def main() -> int:
            return tasks.small.with_options(task_runner=IngestTaskRunner(1, 1))(3)

        before = set(children())
        assert asyncio.run(main()) == 6
        assert set(children()) <= before

    def test_flow_in_a_thread(self, runner: IngestTaskRunner) -> None:
        found: list[int] = []
        thread = threading.Thread(
            target=lambda: found.append(tasks.small.with_options(task_runner=runner)(3)), daemon=True
        )
        thread.start()
        thread.join(240)
        assert found == [6]

    def test_subflow(self, runner: IngestTaskRunner) -> None:
        @flow
        def parent() -> int:
            return tasks.small.with_options(task_runner=runner)(3)

        assert parent() == 6

    def test_async_flow(self, runner: IngestTaskRunner) -> None:
        @flow(task_runner=runner)
        async def parent() -> int:
            future = tasks.embed.submit(tasks.parse.submit(2), 5)
            return (await asyncio.to_thread(future.result))["value"]

        assert asyncio.run(parent()) == 10

    def test_runner_without_flow(self, runner: IngestTaskRunner) -> None:
        with runner:
            assert runner.submit(tasks.parse, {"number": 5}).result()["number"] == 5


class TestMemory:
    def test_released_results_leave_the_workers(self, runner: IngestTaskRunner) -> None:
        @flow(task_runner=runner)
        def pass_through(rounds: int, size: int) -> int:
            client = runner_of_this_flow().client
            most = 0
            window: deque[Any] = deque()
            for _ in range(rounds):
                data = tasks.large.submit(size)
                window.append(tasks.length.submit(data))
                data.release()
                if len(window) == 3:
                    done = window.popleft()
                    assert len(done.result()) == size // 2
                    done.release()
                    most = max(most, sum(len(keys) for keys in client.has_what().values()))
            for done in window:
                done.release()
            until(lambda: not client.who_has())
            return most

        # Three under way, each with what it is made from.
        assert pass_through(12, 1000) <= 6

    def test_released_results_leave_the_flow(self, runner: IngestTaskRunner) -> None:
        @flow(task_runner=runner)
        def let_go() -> bool:
            future = tasks.boxed.submit(5)
            result = future.result()
            gone = weakref.ref(result)
            assert result.content == 5
            del result
            future.release()
            gc.collect()
            return gone() is None

        assert let_go()


class TestLostWorkers:
    @pytest.mark.slow  # a worker process takes some seconds to come back, three times
    def test_deadly_task_is_crashed_and_spares_those_behind_it(self, tmp_path: Path) -> None:
        victims = tmp_path / "victims"
        seen: dict[str, Any] = {}

        @flow(task_runner=IngestTaskRunner(1, 1))
        def risky() -> list[int]:
            seen["id"] = flow_run.id
            first, *others = tasks.deadly.map(range(4), victims=unmapped(victims))
            needs_first = tasks.length.submit(first)
            with pytest.raises(TaskRunLost, match="never started") as caught:
                needs_first.result()
            seen["error"], seen["lost"], seen["unasked"] = caught.value, needs_first, first.task_run_id
            return [future.result() for future in others]

        # A worker that takes its time to come back is waited for.
        settings = {"distributed.deploy.lost-worker-timeout": "100 ms"}
        with dask.config.set({"distributed.scheduler.allowed-failures": 1, **settings}):
            assert risky() == [1, 2, 3]
        assert len(victims.read_text().splitlines()) == 2
        assert seen["error"].task_run_id == seen["lost"].task_run_id
        assert "2 worker processes died" in str(seen["error"])
        assert seen["lost"].state.is_crashed()
        runs = {str(run.id): run for run in task_runs(seen["id"], count=5)}
        assert runs[str(seen["lost"].task_run_id)].state_name == "Crashed"
        unasked = runs[str(seen["unasked"])]
        assert unasked.state_name == "Crashed"
        assert unasked.name.startswith("deadly")
        assert unasked.state is not None
        assert unasked.state.message is not None
        assert "2 worker processes died" in unasked.state.message

    @pytest.mark.slow  # the flow ends while a worker process is on its way back
    def test_task_runs_again_where_a_worker_died(self, tmp_path: Path) -> None:
        @flow(task_runner=IngestTaskRunner(2, 1))
        def risky() -> list[int]:
            return [
                future.result() for future in tasks.deadly_once.map(range(4), unmapped(tmp_path / "died"))
            ]

        assert risky() == [0, 1, 2, 3]

    @pytest.mark.slow  # worker processes start seven times
    def test_workers_killed_as_they_start_are_started_again(self) -> None:
        @flow(task_runner=IngestTaskRunner(1, 1))
        def unlucky() -> list[int]:
            with killed_as_they_start(4) as killed:  # both of them, twice
                first = tasks.parse.submit(1).result()
                # The worker that embeds may start later than the one that has parsed.
                until(lambda: len(killed) == 4)
            with killed_as_they_start(1) as killed:
                psutil.Process(first["pid"]).kill()
                second = tasks.parse.submit(2).result()
                until(lambda: len(killed) == 1)
            return [first["number"], second["number"]]

        assert unlucky() == [1, 2]

    @pytest.mark.slow
    def test_what_workers_are_forked_from_may_die(self) -> None:
        @flow(task_runner=IngestTaskRunner(1, 1))
        def unlucky() -> list[int]:
            first = tasks.parse.submit(1).result()
            workers = [process.pid for process in workers_of(os.getpid())]
            assert first["pid"] in workers
            for server in fork_servers(os.getpid()):
                server.kill()
            second = tasks.parse.submit(2).result()
            with suppress(psutil.NoSuchProcess):
                psutil.Process(second["pid"]).kill()
            third = tasks.parse.submit(3).result()
            seen.extend(workers)
            return [first["number"], second["number"], third["number"]]

        seen: list[int] = []
        assert unlucky() == [1, 2, 3]
        assert len(seen) >= 2
        assert until(lambda: not any(psutil.pid_exists(pid) for pid in seen)), "they went with the run"

    def test_workers_that_cannot_start_do_not_hang_the_flow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @flow(task_runner=IngestTaskRunner(1, 1))
        def unlucky() -> None:
            monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "NONSENSE")  # only new processes read it
            tasks.parse.submit(1).result()

        with pytest.raises(TaskRunLost, match=r"no worker process .* If the log above names no error"):
            unlucky()

    def test_task_that_no_worker_can_load_is_crashed(self, runner: IngestTaskRunner) -> None:
        seen: dict[str, Any] = {}

        @flow(task_runner=runner)
        def missing() -> None:
            seen["id"] = flow_run.id
            seen["error"] = tasks.parse.submit(Unloadable()).result(raise_on_failure=False)

        missing()
        assert isinstance(seen["error"], TaskRunLost)
        assert "deserialization" in str(seen["error"])
        (crashed,) = task_runs(seen["id"], count=1)
        assert crashed.state_name == "Crashed"


@pytest.mark.slow
def test_what_workers_are_forked_from_has_nothing_that_a_fork_would_lose() -> None:
    code = (
        "import sys, threading, prefect_ollama.flows.ingest\n"
        "print('lancedb' in sys.modules, threading.active_count())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert said.stdout.split() == ["False", "1"]


class Unloadable:
    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> None:
    raise ImportError("this cannot be loaded")


class TestLeaving:
    def test_failing_flow_leaves_no_process_and_no_running_task_run(self, tmp_path: Path) -> None:
        started = [tmp_path / name for name in "abc"]
        seen: dict[str, Any] = {}

        @flow(task_runner=IngestTaskRunner(1, 4))
        def fails_in_the_midst() -> None:
            seen["id"] = flow_run.id
            seen["futures"] = tasks.hangs.map(started)
            until(lambda: all(path.exists() for path in started))
            raise LookupError("enough")

        before = set(children())
        with pytest.raises(LookupError, match="enough"):
            fails_in_the_midst()
        assert set(children()) <= before
        assert {run.state_name for run in task_runs(seen["id"], count=3)} == {"Crashed"}


@pytest.mark.slow  # Prefect's temporary server takes its time to start
def test_temporary_server_serves_workers_and_keeps_what_they_told_it(tmp_path: Path) -> None:
    # With Prefect's own settings the server writes state by state and falls behind.
    faster = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "PREFECT_API_URL" and not name.startswith(faster)
    }
    environment |= {"PREFECT_HOME": str(tmp_path), "PREFECT_PROFILES_PATH": str(tmp_path / "profiles.toml")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.temporary_server_flow"],
        cwd=Path(__file__).parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert output.count("Starting temporary server") == 1
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as database:
        states = database.execute("select state_name, count(*) from task_run group by state_name").fetchall()
    assert states == [("Completed", 80)]
