"""The live view of a run in a terminal, in a real pseudo-terminal."""

from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from prefect_ollama.live import MAX_NODES, RunProgress, shown_live
from prefect_ollama.log_lines import OwnLines
from prefect_ollama.tasks.monitoring import NodeNow, ProgressState, Snapshot
from prefect_ollama.tasks.monitoring.snapshot import observer
from tests.flow_samples import write_folder
from tests.nodes import nodes

GPU = NodeNow("gpu", "closed", 1900, in_flight=3, p50=0.5, p95=1.25, share=0.95, now=380.4)
GONE = NodeNow(
    "mini", "open", 100, p50=2.0, p95=3.0, errors={"gone": 1}, last_error="Node 'mini': gone", share=0.05
)
RUN = Snapshot(
    "/papers",
    65.0,
    ProgressState(120, 4000, 31_000_000, 900_000_000, 0.034, 1850.0),
    (GPU, GONE, NodeNow("http://[2001:db8::1]:11434/a/long/prefix")),
    frozenset({"mini"}),
)


def printed(run: Snapshot, width: int = 80) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    progress = RunProgress(console)
    progress.take(run)
    console.print(progress.get_renderable())
    return out.getvalue().splitlines()


def test_every_column_of_the_figures_has_a_title() -> None:
    lines = printed(RUN, 120)
    assert lines[0].split() == ["documents", "done", "texts/s", "time", "left"]
    assert lines[1].split()[:5] == ["120", "of", "4,000", "3%", "╸"]
    assert lines[1].split()[5:] == ["380", "30", "min", "50", "s"]
    assert lines[3].split() == ["node", "state", "texts/s", "share", "in", "flight", "p95", "errors"]
    assert lines[5].split() == ["gpu", "works", "380", "95%", "3", "1.2", "s"]
    assert lines[6].split() == ["mini", "down", "0", "5%", "0", "3", "s", "1"]
    assert lines[7].split() == [RUN.nodes[2].name, "unknown"]


@pytest.mark.parametrize("width", [80, 60])
def test_names_of_nodes_stay_whole_and_columns_go_where_room_is_short(width: int) -> None:
    lines = printed(RUN, width)
    assert max(map(len, lines)) <= width
    assert RUN.nodes[2].name in lines[7] or width == 60
    assert lines[3].split()[:3] == ["node", "state", "texts/s"]
    assert "p95" not in lines[3]


def test_many_nodes_do_not_fill_the_screen() -> None:
    many = tuple(NodeNow(f"node-{number}", "closed") for number in range(100))
    lines = printed(Snapshot("/papers", 1.0, ProgressState(0, 1, 0, 1, 0.0, None), many, frozenset()))
    assert len(lines) == MAX_NODES + 6
    assert lines[-1] == "… and 88 more nodes"


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """stderr is a terminal; yields what it was told, once it is over."""
    ours, theirs = pty.openpty()
    got: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                got.append(data)
        except OSError:
            return  # Linux's way to say that the other end is closed

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def said() -> str:
        reader.join(240)
        return b"".join(got).decode()

    before, sys.stderr = sys.stderr, os.fdopen(theirs, "w", buffering=1)
    try:
        yield said
    finally:
        sys.stderr, stream = before, sys.stderr
        stream.close()
        said()
        os.close(ours)


def test_in_a_terminal_log_lines_stand_above_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    logger = logging.getLogger("test-live")
    logger.propagate = False
    logger.addHandler(OwnLines())
    with terminal() as said, shown_live(json=False):
        show = observer()
        assert show is not None
        show(RUN)
        logger.warning("Down: %s", GONE.last_error)
        show(RUN)
        show(Snapshot(RUN.source, 70.0, RUN.progress_state, RUN.nodes, RUN.down, ended=True))
        logger.warning("It is over.")
    text = said()
    assert text.count("120 of 4,000") >= 2
    assert "Down: Node 'mini': gone\r\n" in text
    assert text.endswith("It is over.\r\n")
    assert observer() is None


@pytest.mark.parametrize("json", [True, False])
def test_without_a_terminal_or_for_a_program_nothing_is_shown(*, json: bool) -> None:
    if json:
        with terminal() as said, shown_live(json=True):
            assert observer() is None
        assert said() == ""
    else:
        with shown_live(json=False):
            assert observer() is None


@pytest.mark.slow  # a whole command, with workers of its own
@pytest.mark.usefixtures("prefect_server")
def test_a_command_shows_its_run_on_stderr_and_prints_its_report_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    folder = write_folder(tmp_path / "papers", [f"doc{number}" for number in range(20)], pages=4, words=300)
    with nodes({"texts_per_second": 100}, {"texts_per_second": 50}) as pair, terminal() as said:
        at = [part for node in pair for part in ("--node", node.url)]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "prefect_ollama",
                "ingest",
                str(folder),
                *at,
                "--uri",
                str(tmp_path / "db"),
            ],
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            timeout=540,
            text=True,
        )
    told = said()
    assert done.returncode == 0, told
    assert "of 20" in told
    assert "texts/s" in told
    assert "2 of 2 nodes serve" in told
    assert "\x1b" not in done.stdout
    assert "20 stored" in done.stdout
    assert "efficiency" in done.stdout
