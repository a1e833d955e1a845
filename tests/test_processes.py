"""No process outlives the run that started it, however the run ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.flow_samples import write_folder
from tests.nodes import nodes
from tests.waiting import until

MARK = "PREFECT_OLLAMA_TEST_MARK"

# Without a guard, as people write scripts; without a server, so that Prefect's temporary one belongs to the run.
SCRIPT = """
import sys
from prefect_ollama.blocks import LanceTable
from prefect_ollama.flows import ingest_pdfs
from prefect_ollama.flows.runner import IngestTaskRunner

source, place, *urls = sys.argv[1:]
flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(1, 4))
flow(source, urls or None, LanceTable(uri=place))
"""


class Run:
    """A script of a user's that ingests a folder; every process that it starts carries its mark."""

    def __init__(self, folder: Path, *urls: str) -> None:
        self._mark = uuid.uuid4().hex
        (folder / "script.py").write_text(SCRIPT)
        write_folder(folder / "papers", [f"paper {number}" for number in range(40)])
        env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        env |= {
            MARK: self._mark,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_PROFILES_PATH": str(folder / "profiles.toml"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "540",
        }
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "script.py", str(folder / "papers"), str(folder / "db"), *urls],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """All that carry the mark and have not ended."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found

    def shown(self) -> str:
        """Command lines of the processes, for people."""
        lines = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                lines.append(" ".join(process.cmdline())[:200])
        return "\n".join(lines)

    def ends(self) -> int:
        """Wait until it and all that it started have ended; return its exit status."""
        status = self.process.wait(580)
        until(lambda: not self.processes(), why=lambda: f"left: {self.shown()}\n{self.said}")
        return status

    def kill(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(240)


@contextlib.contextmanager
def running(folder: Path, *urls: str) -> Iterator[Run]:
    run = Run(folder, *urls)
    try:
        yield run
    finally:
        run.kill()


def at_work(run: Run) -> None:
    """Wait until the run has all its processes: flow, server, tracker, fork server, two workers, a parser."""

    def started() -> bool:
        return len(run.processes()) >= 7 or run.process.poll() is not None

    until(started, seconds=240, why=lambda: run.shown() + run.said)
    assert run.process.poll() is None, run.said


@pytest.mark.slow  # a server, and worker processes
class TestRun:
    def test_leaves_nothing_after_success(self, tmp_path: Path) -> None:
        with nodes({"texts_per_second": 500}) as (node,), running(tmp_path, node.url) as run:
            assert run.ends() == 0, run.said

    def test_leaves_nothing_after_an_error(self, tmp_path: Path) -> None:
        refuses = {"name": "unauthorized", "after_requests": 6}
        with (
            nodes({"texts_per_second": 500, "faults": (refuses,)}) as (node,),
            running(tmp_path, node.url) as run,
        ):
            assert run.ends() != 0, run.said

    @pytest.mark.parametrize("number", [signal.SIGINT])
    def test_leaves_nothing_after_a_signal(self, tmp_path: Path, number: signal.Signals) -> None:
        with nodes({"texts_per_second": 3}) as (node,), running(tmp_path, node.url) as run:
            at_work(run)
            run.process.send_signal(number)
            assert run.ends() != 0


BUSY = """
import re, sys
from prefect_ollama.blocks.child_processes import end_with_parent
end_with_parent()
print("busy", flush=True)
re.match("(a+)+$", "a" * 60 + "b")  # for years, with the interpreter's lock: no other thread runs
"""

PARENT = """
import subprocess, sys, threading
from prefect_ollama.blocks.child_processes import start_tied
children = []
def start():
    child = start_tied([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"busy\\n"
    children.append(child)
thread = threading.Thread(target=start)
thread.start()
thread.join()  # the thread that asked for the child is gone, and the child is not
print(children[0].pid, children[0].poll(), flush=True)
sys.stdin.read()
"""


def test_process_that_is_busy_in_a_library_ends_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, poll = parent.stdout.readline().split()
        child = psutil.Process(int(pid))
        try:
            assert poll == "None"
            parent.kill()
            until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        finally:
            with contextlib.suppress(psutil.Error):
                child.kill()
