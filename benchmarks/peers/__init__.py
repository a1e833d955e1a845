"""Other libraries on the same nodes: each in an environment and a process of its own, used at its best.

    for way in WAYS:
        outcome = run(way, nodes, texts)

What each way is, is said in the module that runs it. The clock runs over the embedding alone, not over imports,
the making of clients, or what a library does to get warm.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.nodes import Node

ROOT = Path(__file__).parents[2]
# Pinned, so that a figure can be got again.
REQUIREMENTS = {
    "sollol": "sollol==0.9.66",
    "llama_index": "llama-index-embeddings-ollama==0.10.0",
    "langchain": "langchain-ollama==1.1.0",
}
# What the check of the vectors needs in the peer's environment.
CHECKING = ("numpy", "orjson")


@dataclass(frozen=True, slots=True)
class Way:
    """One way of using one library."""

    library: str
    name: str

    def __str__(self) -> str:
        """As a row of a table names it."""
        return f"{self.library} {self.name}"


WAYS = (
    Way("sollol", "embed_batch"),
    Way("sollol", "embed_batch_warm"),
    Way("sollol", "embed_lists"),
    Way("llama_index", "fastest"),
    Way("llama_index", "split"),
    Way("langchain", "fastest"),
    Way("langchain", "split"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a peer did: seconds for all texts, and how many came back right, wrong, and not at all.

    `error` is the last line of what it said when it gave up; then all texts are missing.
    """

    way: Way
    seconds: float
    right: int
    wrong: int
    missing: int
    error: str | None = None


def run(
    way: Way,
    nodes: Sequence[Node],
    texts: Sequence[str],
    *,
    fastest: int = 0,
    model: str = "nomic-embed-text",
    timeout: float = 300.0,
) -> Outcome:
    """Let a peer embed all texts on these nodes; a library that knows one node alone gets `nodes[fastest]`.

    The first run of a library installs it, which takes minutes (SOLLOL brings Ray) and a package index.

    Raises:
        RuntimeError: when the library can't be installed or started here.
    """
    settings = nodes[0].settings
    job = {
        "way": way.name,
        "urls": [node.url for node in nodes],
        "fastest": fastest,
        "texts": list(texts),
        "model": model,
        "dimension": settings.dimension,
        "weights": settings.weights,
        "pool": settings.pool,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        command = [*environment(way.library), "python", "-m", f"benchmarks.peers.{way.library}", str(path)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return Outcome(way, timeout, 0, 0, len(texts), f"not ready after {timeout:g} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
    if done.returncode or not lines:
        raise RuntimeError(f"{way} did not run: {done.stderr[-2000:]}")
    return Outcome(way, **json.loads(lines[-1]))


def environment(library: str) -> list[str]:
    """The command that runs something where this library is installed, and this project is not."""
    extras = [part for name in (REQUIREMENTS[library], *CHECKING) for part in ("--with", name)]
    return ["uv", "run", "--quiet", "--no-project", *extras]


def prepare(library: str, *, timeout: float = 900.0) -> str | None:
    """Install a library; None when it is there, else why not, in a line."""
    command = [*environment(library), "python", "-c", "pass"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["uv failed"])[-1]
