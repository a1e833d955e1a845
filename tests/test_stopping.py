"""Ctrl-C and SIGTERM on the command line, in a real terminal: said at once, over soon, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.flow_samples import assert_right, chunks, write_folder
from tests.nodes import Node, nodes
from tests.terminal import CTRL_C, Terminal

COMMAND = Path(sys.executable).with_name("prefect-ollama")
STARTING = "Starting Prefect…"


class Place:
    """A home of its own, and a mark in the environment by which its processes are known."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.node = ("-n", url)
        self.papers = write_folder(folder / "papers", [f"doc{n:02}" for n in range(12)], pages=2, words=300)
        self.db = folder / "db"
        clean = {name: each for name, each in os.environ.items() if name != "PREFECT_API_URL"}
        self.env = clean | {
            "PREFECT_HOME": str(folder / "home"),
            "STOPPING_TEST": str(folder),
            "COLUMNS": "80",
        }

    def terminal(self, *arguments: str | Path) -> Terminal:
        return Terminal([COMMAND, *arguments], cwd=self.folder, env=self.env)

    def ingest(self) -> Terminal:
        return self.terminal("ingest", self.papers, "--uri", self.db, *self.node)

    def left(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("STOPPING_TEST") == str(self.folder):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes({"texts_per_second": 10}) as (running,):
        yield running


@pytest.fixture
def place(tmp_path: Path, node: Node) -> Place:
    return Place(tmp_path, node.url)


def assert_ended(place: Place, terminal: Terminal, status: int) -> None:
    ended, _ = terminal.end()
    said = terminal.said
    assert ended == status, said
    assert "Stopping…" in said
    assert "Traceback" not in said
    assert "Error" not in said
    assert terminal.is_sane()
    _, alive = psutil.wait_procs(place.left(), timeout=240)
    assert not alive


def works(said: str) -> bool:
    return "works\x1b" in said


PHASES: dict[str, Callable[[str], bool]] = {
    "while it imports": lambda said: STARTING in said,
    "when the plan is made": lambda said: "Plan for" in said,
    "while nodes work": works,
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_in_an_ingest(place: Place, phase: str) -> None:
    with place.ingest() as terminal:
        terminal.wait_for(PHASES[phase])
        terminal.press(CTRL_C)
        terminal.wait_for(lambda said: "Stopping…" in said)
        assert_ended(place, terminal, 130)
        if phase == "while nodes work":
            assert "Stored documents are kept. Run again to continue." in terminal.said
    if place.db.exists():
        assert_right(chunks(place.db))


@pytest.mark.slow
def test_sigterm_and_a_second_signal(place: Place) -> None:
    with place.ingest() as terminal:
        terminal.wait_for(works)
        terminal.process.send_signal(signal.SIGTERM)
        assert_ended(place, terminal, 143)
    with place.ingest() as terminal:
        terminal.wait_for(works)
        terminal.press(CTRL_C)
        terminal.wait_for(lambda said: "Stopping…" in said)
        terminal.press(CTRL_C)
        assert_ended(place, terminal, 130)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("search", "what is it"), ("tune",), ("discover", "10.0.0.0/22"), ("nodes",), ("maintain",), ("runs",)],
    ids=lambda command: command[0],
)
def test_ctrl_c_in_other_commands(place: Place, command: tuple[str, ...]) -> None:
    with place.terminal(*command) as terminal:
        terminal.wait_for(lambda said: "…" in said)
        terminal.press(CTRL_C)
        terminal.wait_for(lambda said: "Stopping…" in said)
        assert_ended(place, terminal, 130)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_node_too(place: Place, number: int, status: int) -> None:
    with place.terminal("node", "--port", "0") as terminal:
        terminal.wait_for(lambda said: "is served at" in said)
        terminal.process.send_signal(number)
        assert_ended(place, terminal, status)


HUNG = """
import sys, time
from prefect_ollama import stopping as module
module.GRACE_S = float(sys.argv[1])
module.stopping.install()
greeting = "ready"
while True:
    try:  # It greets in here: a signal may come as soon as it has.
        if greeting:
            said, greeting = greeting, ""
            print(said, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("not yet", flush=True)
"""


def hung(grace: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HUNG, str(grace)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_does_not_end_is_ended() -> None:
    process = hung(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert (process.returncode, out, err) == (130, "not yet\n", "Stopping…\n")


def test_a_second_signal_ends_at_once() -> None:
    process = hung(3600)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "not yet\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 143
    assert "Stopping…" in err
    assert "Stopped at once" in err


UNRAISED = """
import sys, time, signal
from prefect_ollama.stopping import stopping
stopping.install()
class Frees:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
try:
    each = Frees()
    del each  # where nothing can be raised
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(stopping.status)
"""


def test_an_interruption_that_python_cannot_raise_is_raised_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", UNRAISED], capture_output=True, text=True, timeout=240)
    assert done.returncode == 130
    assert "Exception ignored" not in done.stderr


def test_the_first_line_comes_before_prefect_is_imported() -> None:
    """What a command imports before its first line is so little that it takes some tenths of a second."""
    code = (
        "import sys, prefect_ollama.commands; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert not {"prefect", "lancedb", "numpy", "pyarrow", "httpx", "pydantic"} & set(done.stdout.split())


AGAIN = """
import os, threading, time
from prefect_ollama.stopping import stopping
stopping.install()
open_files = os.listdir("/proc/self/fd")
for _ in range(5):
    stopping.install()
while sum(thread.name == "signals" for thread in threading.enumerate()) > 1:
    time.sleep(0.01)
assert len(os.listdir("/proc/self/fd")) == len(open_files)
"""


def test_to_install_it_again_leaves_no_thread_and_no_socket_of_before() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AGAIN], capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (0, "")
