"""A run's Dask processes answer nobody else, import nothing that another user left, and do not run the script again."""

from __future__ import annotations

import os
import pickle
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import psutil
import pytest
from distributed.core import connect
from distributed.security import Security
from prefect import flow
from prefect.settings import get_current_settings

from prefect_ollama.flows.runner._local_cluster import SCRATCH, WorkerCluster
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests import dask_tasks as tasks
from tests.killing import workers_of
from tests.other_user import as_other, needs_root, open_folder

pytestmark = pytest.mark.usefixtures("prefect_server")

PLANTED = ("lancedb", "distributed", "multiprocessing", "uvicorn", "prefect_ollama", "signal", "struct")
"""Modules that processes of a run import sooner or later."""

SCRIPT = """
print("the script runs", flush=True)
from prefect import flow, task
from prefect_ollama.flows.runner import IngestTaskRunner
from prefect_ollama.tasks.prefect_state import runs_on

FACTOR = 3

@task
@runs_on("parse")
def times(number):
    import lancedb
    return number * FACTOR

@flow(task_runner=IngestTaskRunner(1, 2))
def total():
    return sum(future.result() for future in times.map(range(4)))

"""
UNGUARDED = SCRIPT + 'print("total", total())\n'
GUARDED = SCRIPT + 'if __name__ == "__main__":\n    print("total", total())\n'


@pytest.fixture(scope="module")
def cluster(prefect_server: str) -> Iterator[WorkerCluster]:
    with (
        WorkerCluster(1, 1, env={"PREFECT_API_URL": prefect_server}) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=240)
        yield cluster


def listening(*pids: int) -> set[int]:
    """Ports that processes listen on."""
    return {
        each.laddr.port
        for pid in pids
        for each in psutil.Process(pid).net_connections()
        if each.status == psutil.CONN_LISTEN
    }


class TestConnections:
    @pytest.mark.parametrize("way", ["plain", "without a certificate", "with a certificate of another run"])
    @pytest.mark.sampled(1)
    def test_are_refused_to_others(self, cluster: WorkerCluster, way: str) -> None:
        mine = psutil.Process().pid
        ports = listening(mine, *(process.pid for process in workers_of(mine)))
        assert len(ports) >= 5, "scheduler, two nannies, two workers"
        scheme, arguments = "tls", Security.temporary().get_connection_args("client")
        if way == "plain":
            scheme, arguments = "tcp", {}
        elif way == "without a certificate":
            arguments["ssl_context"] = ssl._create_unverified_context()

        async def ask(port: int) -> Any:
            comm = await connect(f"{scheme}://127.0.0.1:{port}", timeout=3, **arguments)
            await comm.write({"op": "identity"})
            return await comm.read()

        for port in ports:
            with pytest.raises(OSError):  # noqa: PT011  # Dask's own errors and those of ssl are such
                cluster.sync(ask, port)

    def test_are_taken_with_the_certificate(self, cluster: WorkerCluster) -> None:
        arguments = cluster.security.get_connection_args("client")

        async def ask() -> Any:
            comm = await connect(cluster.scheduler_address, timeout=240, **arguments)
            try:
                await comm.write({"op": "identity"})
                return await comm.read()
            finally:
                await comm.close()

        assert cluster.sync(ask)["type"] == "RunScheduler"

    def test_nothing_answers_by_http(self, cluster: WorkerCluster) -> None:
        """Dask's own servers offer logs and tasks by HTTP, also without a dashboard."""
        assert cluster.scheduler is not None
        assert not hasattr(cluster.scheduler, "http_server")
        with distributed.Client(cluster, set_as_default=False) as client:
            services = client.run(lambda dask_worker: hasattr(dask_worker, "http_server"))
        assert not any(services.values())

    def test_key_is_in_no_file_command_line_or_environment(self, cluster: WorkerCluster) -> None:
        mine = psutil.Process().pid
        key = cluster.security.tls_client_key
        some = key.splitlines()[2]
        for process in (psutil.Process(mine), *workers_of(mine)):
            assert some not in " ".join(process.cmdline())
            assert some not in Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
        folder = Path(cluster.scheduler.local_directory).parent.parent
        assert not [
            path for path in folder.rglob("*") if path.is_file() and some in path.read_text(errors="replace")
        ]

    def test_runner_does_not_take_its_keys_along_when_it_is_pickled(self) -> None:
        security = Security.temporary()
        runner = IngestTaskRunner(address="tls://127.0.0.1:1", client_kwargs={"security": security})
        assert security.tls_client_key.splitlines()[2].encode() not in pickle.dumps(runner)


def test_open_scheduler_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:

        @flow(task_runner=IngestTaskRunner(address=cluster.scheduler_address))
        def ask() -> int:
            return tasks.embed.submit(tasks.parse.submit(4), 2, wait_for=[]).result()["value"]

        assert ask() == 8
    assert f"Dask's scheduler at {cluster.scheduler_address} uses no TLS" in caplog.text


class TestScratch:
    def test_is_private_and_on_no_path(self, cluster: WorkerCluster) -> None:
        def look(dask_worker: Any) -> tuple[str, list[str]]:
            return dask_worker.local_directory, list(sys.path)

        with distributed.Client(cluster, set_as_default=False) as client:
            seen = list(client.run(look).values())
        assert cluster.scheduler is not None
        seen.append((cluster.scheduler.local_directory, list(sys.path)))
        for place, paths in seen:
            assert not [path for path in paths if SCRATCH in path or "dask-scratch" in path]
            base = next(each for each in Path(place).parents if each.name == SCRATCH)
            for folder in (Path(place), base):
                found = folder.stat()
                assert (found.st_uid, found.st_mode & 0o777) == (os.geteuid(), 0o700)

    @pytest.mark.slow
    def test_goes_with_its_run_and_that_of_a_killed_run_with_the_next(self) -> None:
        code = (
            "import os, signal; from prefect_ollama.flows.runner._local_cluster import WorkerCluster\n"
            "print(WorkerCluster(1, 1).scheduler.local_directory, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
        assert done.returncode == -signal.SIGKILL
        left = Path(done.stdout.strip())
        assert left.exists()
        with WorkerCluster(1, 1) as first, WorkerCluster(1, 1) as second:
            assert not left.exists()
            folders = [Path(each.scheduler.local_directory) for each in (first, second) if each.scheduler]
            assert all(each.exists() for each in folders), "their runs live"
        assert len(folders) == 2
        assert not [each for each in folders if each.exists()]

    @pytest.mark.slow
    @needs_root
    def test_folder_of_another_user_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with open_folder() as folder:
            as_other('mkdir -m 777 "$1"', folder / SCRATCH)
            settings = get_current_settings().model_copy(update={"home": folder})
            monkeypatch.setattr(
                "prefect_ollama.flows.runner._local_cluster.get_current_settings", lambda: settings
            )
            with WorkerCluster(1, 1) as cluster:
                assert cluster.scheduler is not None
                place = Path(cluster.scheduler.local_directory)
                assert folder not in place.parents
                assert place.stat().st_mode & 0o777 == 0o700
                base = next(each for each in place.parents if each.name.startswith("prefect-ollama-"))
                assert base.stat().st_mode & 0o777 == 0o700
            assert not base.exists()


def run_script(command: list[str], folder: Path, text: str = "", **env: str) -> str:
    """Run a script that starts a run, and return what it and all its processes print."""
    done = subprocess.run(
        command, cwd=folder, input=text, env=os.environ | env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow  # worker processes start
@needs_root
def test_modules_that_another_user_left_do_not_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    with open_folder() as folder:
        plant = 'mkdir -p -m 777 "$1/dask-scratch-space"; shift; for file; do echo "$code" > "$file"; done'
        code = f"open({str(folder / 'ran')!r}, 'a').write(__name__ + '\\n')"
        places = (folder, folder / "dask-scratch-space")
        files = [place / f"{name}.py" for place in places for name in PLANTED]
        as_other(f"code={shlex.quote(code)}; {plant}", folder, *files)
        said = run_script([sys.executable, str(script)], folder, TMPDIR=str(folder))
        ran = (folder / "ran").read_text() if (folder / "ran").exists() else ""
    assert "total 18" in said
    assert ran == ""


@pytest.mark.slow  # worker processes start, each time
@pytest.mark.parametrize("way", ["script", "module", "stdin", "notebook", "guarded"])
def test_script_runs_once(tmp_path: Path, way: str) -> None:
    text = GUARDED if way == "guarded" else UNGUARDED
    (tmp_path / "work.py").write_text(text)
    command = {
        "script": ["work.py"],
        "guarded": ["work.py"],
        "module": ["-m", "work"],
        "stdin": ["-"],
        # As a notebook's kernel runs cells: in `__main__`, and not from its file.
        "notebook": [
            "-c",
            "exec(open('work.py').read())",
        ],
    }[way]
    said = run_script([sys.executable, *command], tmp_path, text if way == "stdin" else "")
    assert said.count("the script runs") == 1
    assert "total 18" in said
