"""The whole flow (Prefect, Dask, LanceDB) over simulated nodes: how busy it keeps them, and how fast it can go.

    uv run python -m benchmarks.flow

Efficiency is T*/T: T* is the time in which the nodes could embed all chunks at the sum of their own saturated
rates, each measured alone in the same run; T is from the call of `ingest_pdfs` to its return, with all start-up
and maintenance, into an empty table and without a cache. A run takes its fixed seconds to start and to end however long
it is, so documents are long, as books and manuals are. The second row has nodes that take no time, so the flow
itself is the limit, and longer documents still.

With `--plain` each run is followed by one without TLS between Dask processes, which only this benchmark does. The
column "TLS" shows the rate with TLS as a share of the rate without it.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")

WORDS = [
    "harbour",
    "tide",
    "lantern",
    "copper",
    "signal",
    "meadow",
    "granite",
    "violin",
    "orchard",
    "compass",
    "ledger",
    "kettle",
    "bridge",
    "cedar",
    "thunder",
    "marble",
    "ribbon",
    "anchor",
    "pepper",
    "saddle",
    "window",
    "candle",
    "river",
    "mirror",
    "garden",
    "winter",
    "market",
    "engine",
]


def make_pdfs(folder: Path, documents: int, pages: int, seed: int = 0) -> None:
    """Write PDFs of plain text, no two sentences alike."""
    import pymupdf

    dice = random.Random(seed)
    for number in range(documents):
        with pymupdf.open() as pdf:
            for page in range(pages):
                text = f"Document {number}, part {page}.\n\n"
                for _ in range(6):
                    sentences = (
                        " ".join(dice.choices(WORDS, k=dice.randint(8, 14))).capitalize()
                        + f" {dice.random():.6f}."
                        for _ in range(4)
                    )
                    text += " ".join(sentences) + "\n\n"
                pdf.new_page().insert_textbox((50, 50, 545, 790), text, fontsize=10)
            pdf.save(folder / f"document-{number:05}.pdf", deflate=True)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: As the table shows it.
        nodes: Settings of each node.
        pages: Pages of a document.
        limit: Least efficiency, or least chunks a second where the nodes take no time.
    """

    name: str
    nodes: Sequence[dict[str, Any]]
    pages: int
    limit: float

    @property
    def timed(self) -> bool:
        """Whether the nodes take time."""
        return "texts_per_second" in self.nodes[0]


@dataclass(frozen=True)
class Run:
    """One ingest: chunks, seconds, and the sum of the nodes' rates in texts a second, 0 where they take no time."""

    chunks: int
    seconds: float
    rate: float

    @property
    def reached(self) -> float:
        """Efficiency, or chunks a second."""
        return self.chunks / self.seconds / (self.rate or 1.0)


def cases(pages: int, more: int) -> tuple[Case, ...]:
    """The rows, with so many pages a document."""
    return (
        Case(
            "nodes 200/10/10 texts/s",
            [{"texts_per_second": rate} for rate in (200.0, 10.0, 10.0)],
            pages,
            0.9,
        ),
        Case("nodes of no service time, chunks/s", [{"pool": 256}, {"pool": 256}], more, 1500.0),
    )


def run(folder: Path, case: Case, *, plain: bool = False) -> Run:
    """One ingest into an empty table, if `plain` without TLS between Dask processes."""
    from distributed.security import Security

    from benchmarks.load import saturated_rate
    from prefect_ollama.blocks import LanceTable
    from prefect_ollama.flows import Advanced, ingest_pdfs
    from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
    from tests.nodes import nodes as simulated

    with tempfile.TemporaryDirectory() as place, simulated(*case.nodes) as started:
        sample = [f"{number} ".ljust(800, "x") for number in range(512)]
        rate = sum(saturated_rate(node.url, sample) for node in started) if case.timed else 0.0
        table = LanceTable(uri=str(Path(place) / "lance"), table="chunks")
        runner = IngestTaskRunner(cluster_kwargs={"security": Security()} if plain else None)
        flow = ingest_pdfs.with_options(task_runner=runner)
        began = time.perf_counter()
        report = flow(
            str(folder),
            [node.url for node in started],
            table,
            "nomic-embed-text",
            advanced=Advanced(use_cache=False),
        )
        seconds = time.perf_counter() - began
        assert report.ok, report.failed
        return Run(report.chunks, seconds, rate)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    arguments.add_argument("--runs", type=int, default=3, help="runs of each row; the median is shown")
    arguments.add_argument("--only", default="", help="rows whose name holds this")
    arguments.add_argument("--documents", type=int, default=50)
    arguments.add_argument("--pages", type=int, default=100, help="pages of a document")
    arguments.add_argument(
        "--more-pages", type=int, default=300, help="the same for nodes of no service time"
    )
    arguments.add_argument("--plain", action="store_true", help="compare with runs without TLS")
    options = arguments.parse_args()
    shown = Table(
        "case", "chunks", "limit", "T", "reached", "spread", "TLS", "", title="the whole flow, medians"
    )
    passed = True
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(PREFECT_HOME=home, PREFECT_PROFILES_PATH=str(Path(home) / "profiles.toml"))
        from prefect.context import refresh_global_settings_context
        from prefect.server.api.server import SubprocessASGIServer

        server = SubprocessASGIServer()
        server.start()
        os.environ["PREFECT_API_URL"] = server.api_url
        refresh_global_settings_context()
        try:
            for case in cases(options.pages, options.more_pages):
                if options.only not in case.name:
                    continue
                with tempfile.TemporaryDirectory() as pdfs:
                    make_pdfs(Path(pdfs), options.documents, case.pages)
                    done, without = [], []
                    for _ in range(options.runs):
                        done.append(run(Path(pdfs), case))
                        if options.plain:
                            without.append(run(Path(pdfs), case, plain=True).reached)
                done.sort(key=lambda each: each.reached)
                middle = done[len(done) // 2]
                places = 3 if case.timed else 0
                share = f"{middle.reached / sorted(without)[len(without) // 2]:.3f}" if without else ""
                passed &= middle.reached >= case.limit
                shown.add_row(
                    f"{options.documents} documents, {case.name}",
                    f"{middle.chunks:,}",
                    f"≥ {case.limit:g}",
                    f"{middle.seconds:.1f} s",
                    f"{middle.reached:.{places}f}",
                    f"{done[0].reached:.{places}f}-{done[-1].reached:.{places}f}",
                    share,
                    "pass" if middle.reached >= case.limit else "FAIL",
                )
        finally:
            server.stop()
    Console(width=150).print(shown)
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
