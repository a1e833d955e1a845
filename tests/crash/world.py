"""One machine's worth of parts for trials: server, nodes, documents, table; and what undisturbed runs make of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import lancedb
import orjson
import psutil

from tests.crash.server import PrefectServer
from tests.flow_samples import prose, write_pdf
from tests.nodes import Node, nodes

MARK = "PREFECT_OLLAMA_CRASH_WORLD"
"""Environment variable by which all processes of a world's ingests are found, whichever process started them."""

NODES = ({"texts_per_second": 24}, {"texts_per_second": 12}, {"texts_per_second": 4, "slots": 2})
DOCUMENTS = 14
PAGES = 5
CALL_SECONDS = 900.0

# What tells runs and times apart, and nothing else.
VOLATILE = frozenset({"run_id", "stored_at", "updated_at", "node_seconds"})


def _first(folder: Path) -> None:
    for number in range(DOCUMENTS):
        _write(folder, f"doc{number:02}", f"document {number}")
    # The same text in many files is one text for the nodes.
    for number in range(3):
        write_pdf(folder / f"licence{number}.pdf", [prose("the licence", 300)])


def _changed(folder: Path) -> None:
    _first(folder)
    for number in range(0, DOCUMENTS, 2):
        _write(folder, f"doc{number:02}", f"document {number}", changed=range(0, PAGES, 2))
    for number in range(4):
        _write(folder, f"new{number}", f"new document {number}")
    (folder / "broken.pdf").write_bytes(b"no PDF at all")


def _moved(folder: Path) -> None:
    _first(folder)
    (folder / "sub").mkdir()
    for number in range(0, DOCUMENTS, 3):
        (folder / f"doc{number:02}.pdf").rename(folder / "sub" / f"it's {number}.pdf")
    # Two that take each other's names.
    (folder / "doc01.pdf").rename(folder / "doc.tmp")
    (folder / "doc02.pdf").rename(folder / "doc01.pdf")
    (folder / "doc.tmp").rename(folder / "doc02.pdf")
    for name in ("doc04.pdf", "doc05.pdf", "licence1.pdf"):
        (folder / name).unlink()
    for number in range(4):
        _write(folder, f"new{number}", f"new document {number}")
    _write(folder, "doc07", "document 7", changed=[1])


def _write(folder: Path, name: str, seed: str, changed: Sequence[int] = ()) -> None:
    pages = [
        prose(f"{seed} page {page}" + " anew" * (page in changed), 280 + 7 * page) for page in range(PAGES)
    ]
    write_pdf(folder / f"{name}.pdf", pages, no_new_id=True)


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "first ingest": _first,
    "changed files": _changed,
    "renamed and removed": _moved,
}


@dataclass
class Undisturbed:
    """What a run that nobody disturbs leaves in the table, and how long it takes.

    Attributes:
        chunks: Rows of the chunk table.
        documents: Rows of the manifest.
        seconds: From the start of its process to its end.
        texts: Texts that nodes embedded in it.
    """

    chunks: list[tuple[Any, ...]]
    documents: list[tuple[Any, ...]]
    seconds: float
    texts: int


@dataclass
class Call:
    """One ingest in a process of its own, in a session of its own.

    Attributes:
        process: It.
        began: `time.monotonic()` at its start.
        log: What it and its workers say.
    """

    process: subprocess.Popen[bytes]
    began: float
    log: Path

    def wait(self, timeout: float = CALL_SECONDS) -> int:
        """Wait for its end and return its exit status.

        Raises:
            TimeoutError: It does not end; it was killed now.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            for each in psutil.Process(self.process.pid).children(recursive=True):
                each.kill()
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"the ingest did not end in {timeout:.0f} s; see {self.log}") from None

    def report(self) -> dict[str, Any]:
        """What it printed."""
        return orjson.loads(self.log.with_suffix(".json").read_bytes())


@dataclass
class World:
    """See the module.

    Attributes:
        root: A folder for all of it.
        server: The Prefect server.
        nodes: Simulated nodes, which go on through all kills.
        mark: Value of `MARK` in the environment of its ingests.
    """

    root: Path
    server: PrefectServer
    nodes: list[Node]
    mark: str = field(default_factory=lambda: uuid4().hex)
    calls: int = 0
    _known: dict[str, Undisturbed] = field(default_factory=dict)

    @property
    def papers(self) -> Path:
        """The source, always at this place, because documents are named by it."""
        return self.root / "papers"

    @property
    def place(self) -> Path:
        """Folder of the table."""
        return self.root / "db"

    @property
    def home(self) -> Path:
        """Prefect's home of the ingests, with their cache of vectors."""
        return self.root / "home"

    def begin(self, scenario: str) -> Undisturbed:
        """Put all in the place where the scenario begins; return how it ends when nobody disturbs it."""
        if scenario not in self._known:
            self._rehearse(scenario)
        self._set(scenario)
        return self._known[scenario]

    def call(self, commit_chunks: int) -> Call:
        """Start an ingest."""
        self.calls += 1
        log = self.root / "logs" / f"{self.calls:04}.log"
        log.parent.mkdir(exist_ok=True)
        urls = [node.url for node in self.nodes]
        with log.open("wb") as said, log.with_suffix(".json").open("wb") as printed:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.crash.flow"),
                    *(str(self.papers), str(self.place), str(commit_chunks), *urls),
                ],
                cwd=Path(__file__).parents[2],
                env=os.environ
                | {
                    MARK: self.mark,
                    "PREFECT_HOME": str(self.home),
                    "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
                    "PREFECT_API_URL": self.server.url,
                    "PREFECT_LOGGING_LEVEL": "INFO",
                },
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
                start_new_session=True,
            )
        return Call(process, time.monotonic(), log)

    def processes(self) -> list[psutil.Process]:
        """All processes of its ingests that are there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def served(self) -> dict[str, int]:
        """How often nodes answered each text, by its hash, since they were reset."""
        counts: dict[str, int] = {}
        for node in self.nodes:
            for text, count in node.stats()["served"].items():
                counts[text] = counts.get(text, 0) + count
        return counts

    def rows(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """All rows of the chunk table and of the manifest, in a fixed order, without what is `VOLATILE`."""
        connection = lancedb.connect(str(self.place))
        return tuple(  # type: ignore[return-value]
            sorted(
                tuple((name, _plain(value)) for name, value in sorted(row.items()) if name not in VOLATILE)
                for row in connection.open_table(name).to_arrow().to_pylist()
            )
            for name in ("documents", "documents__documents")
        )

    def _rehearse(self, scenario: str) -> None:
        ready = self.root / "scenarios" / scenario
        SCENARIOS[scenario](ready)
        first = next(iter(SCENARIOS))
        if scenario != first and first not in self._known:
            self._rehearse(first)
        self._set(scenario)
        call = self.call(4096)
        if status := call.wait():
            said = " | ".join(call.log.read_text(errors="replace").splitlines()[-6:])
            raise RuntimeError(f"an undisturbed ingest ended with {status}: {said}")
        seconds = time.monotonic() - call.began
        self._known[scenario] = Undisturbed(*self.rows(), seconds, sum(self.served().values()))
        if scenario == first:
            for name in ("db", "home/ollama-vectors"):
                shutil.copytree(self.root / name, self.root / "after first" / name)

    def _set(self, scenario: str) -> None:
        for path in (self.papers, self.place, self.home):
            shutil.rmtree(path, ignore_errors=True)
        self.home.mkdir()
        if scenario != next(iter(SCENARIOS)):
            shutil.copytree(self.root / "after first", self.root, dirs_exist_ok=True)
        shutil.copytree(self.root / "scenarios" / scenario, self.papers)
        for node in self.nodes:
            node.reset()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


@contextmanager
def world(root: Path) -> Iterator[World]:
    """A world with its server and nodes running."""
    with nodes(*NODES) as running, PrefectServer(root / "server") as server:
        made = World(root, server, running)
        try:
            yield made
        finally:
            for process in made.processes():
                process.kill()
