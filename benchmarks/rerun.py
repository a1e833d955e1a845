"""What the next night costs: the same folder again, a page changed, a file renamed, a text in two files.

    uv run python -m benchmarks.rerun [--documents 1000]

Real PDFs over simulated nodes, through the whole flow as users start it, with its own workers, against one Prefect
server. Texts are counted at the nodes, without those by which nodes prove themselves. Times are those of processes:
from the start of Python to its end, imports included, in turn with a flow on our task runner that does nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.papers import pages, write_papers, write_pdf
from benchmarks.stage import prefect_server

PAGES = 3
MODEL = "nomic-embed-text"
ABOVE = 3.0
"""Seconds that an unchanged re-run may take above a flow that does nothing."""


class Ground:
    """A folder of PDFs, the nodes and the table of this benchmark."""

    def __init__(self, place: Path, nodes: list[Any]) -> None:
        self.folder = place / "papers"
        self.table = place / "lance"
        self.nodes = nodes
        self.results = Table("what", "measured", "must be", "", title_justify="left")
        self.failed = False

    def ingest(self, **options: Any) -> Any:
        """Run the flow, and count at the nodes from here on."""
        from prefect_ollama.blocks import LanceTable
        from prefect_ollama.flows import ingest_pdfs

        for node in self.nodes:
            node.reset()
        table = LanceTable(uri=str(self.table), table="chunks")
        report = ingest_pdfs(str(self.folder), [node.url for node in self.nodes], table, MODEL, **options)
        assert report.ok, report.failed
        return report

    def embedded(self) -> Counter[str]:
        """How often nodes answered with the vector of each text, by the text's hash."""
        from prefect_ollama.blocks.nodes.canaries import CANARIES
        from prefect_ollama.blocks.nodes.prefixes import prefixes_of
        from prefect_ollama.tasks.chunking import gauge_texts
        from tests.nodes import text_hash

        count: Counter[str] = Counter()
        for node in self.nodes:
            count.update(node.stats()["served"])
        prefix = prefixes_of(MODEL).document
        for text in (*CANARIES, *gauge_texts()):
            count.pop(text_hash(prefix + text), None)
            count.pop(text_hash(text), None)
        return count

    def requests(self) -> int:
        """Calls of any kind that the nodes had."""
        return sum(sum(node.stats()["paths"].values()) for node in self.nodes)

    def rows(self) -> dict[str, dict[str, Any]]:
        """All chunks by their id."""
        table = lancedb.connect(str(self.table)).open_table("chunks").to_arrow()
        vectors = np.stack(table["vector"].to_numpy())
        rows = table.select(["id", "path", "position", "text", "run_id"]).to_pylist()
        return {
            row["id"]: {**row, "vector": vector.tobytes()} for row, vector in zip(rows, vectors, strict=True)
        }

    def show(self, what: str, measured: object, wanted: str = "", good: bool | None = None) -> None:
        """Note a result; one without a limit is for information."""
        self.failed |= good is False
        print(f"{what}: {measured}", file=sys.stderr, flush=True)
        self.results.add_row(what, str(measured), wanted, {None: "", True: "pass", False: "FAIL"}[good])


def hashes(texts: Iterable[str]) -> set[str]:
    """The hashes under which nodes count these chunks."""
    from prefect_ollama.blocks.nodes.prefixes import prefixes_of
    from tests.nodes import text_hash

    return {text_hash(prefixes_of(MODEL).document + text) for text in texts}


def unchanged(ground: Ground, times: int) -> None:
    """The same folder again, in turn with a flow that does nothing."""
    for node in ground.nodes:
        node.reset()
    urls = [node.url for node in ground.nodes]
    took: dict[str, list[tuple[float, float]]] = {"nothing": [], "unchanged": []}
    for _ in range(times):
        for what, each in took.items():
            wall, cpu = time.perf_counter(), _cpu_of_children()
            command = [sys.executable, "-m", "benchmarks.rerun", "--child", what]
            subprocess.run([*command, str(ground.folder), str(ground.table), *urls], check=True)
            each.append((time.perf_counter() - wall, _cpu_of_children() - cpu))
    nothing, again = (np.median(each, axis=0) for each in took.values())
    above = again - nothing
    ground.show("a flow that does nothing, s (CPU)", f"{nothing[0]:.1f} ({nothing[1]:.1f})")
    ground.show("the same folder again, s (CPU)", f"{again[0]:.1f} ({again[1]:.1f})")
    ground.show("  above that", f"{above[0]:.2f} ({above[1]:.2f})", f"≤ {ABOVE:.0f}", bool(above[0] <= ABOVE))
    ground.show("  requests to nodes", ground.requests(), "0", ground.requests() == 0)


def _cpu_of_children() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def child(what: str, folder: str, table: str, urls: list[str]) -> None:
    """One flow in a process of its own."""
    from prefect import flow

    from prefect_ollama.blocks import LanceTable
    from prefect_ollama.flows import ingest_pdfs
    from prefect_ollama.flows.runner.task_runner import IngestTaskRunner

    if what == "nothing":
        flow(task_runner=IngestTaskRunner())(lambda: None)()
        return
    report = ingest_pdfs(folder, urls, LanceTable(uri=table, table="chunks"), MODEL)
    assert set(report.outcomes()) == {"unchanged"}, report.outcomes()


def one_page(ground: Ground, number: int, *, cached: bool = True) -> None:
    """One page changes in one document; without a cache its vectors come from the table."""
    from prefect_ollama.flows import Advanced

    name = f"document-{number:05}.pdf"
    content = pages(PAGES, random.Random(f"0 {number}"))
    content[1] = pages(1, random.Random(f"changed {number}"))[0]
    write_pdf(ground.folder / name, content)
    before = ground.rows()
    report = ground.ingest(advanced=Advanced(use_cache=cached))
    after = ground.rows()
    fresh = {row["text"] for row in after.values()} - {row["text"] for row in before.values()}
    ours = [row for row in after.values() if row["path"] == name]
    kept = [row for key, row in after.items() if key in before]
    what = f"one page of one changed{'' if cached else ', no cache'}"
    embedded = ground.embedded()
    right = embedded.keys() == hashes(fresh) and 0 < len(fresh) < len(ours)
    ground.show(f"{what}: its chunks", len(ours))
    ground.show("  texts embedded", len(embedded), f"{len(fresh)}, those whose text changed", right)
    same = all(row["vector"] == before[row["id"]]["vector"] for row in kept)
    touched = {row["path"] for key, row in after.items() if row["run_id"] == report.run_id}
    ground.show("  chunks with their vector of before", len(kept), "the others, bit for bit", same)
    ground.show("  documents written", len(touched), "1", touched == {name})
    ground.show("  s, start of workers included", f"{report.seconds:.1f}")


def renamed(ground: Ground) -> None:
    """One file gets another name."""
    old, new = ground.folder / "document-00003.pdf", ground.folder / "sub" / "another name.pdf"
    new.parent.mkdir()
    before = [row for row in ground.rows().values() if row["path"] == old.name]
    old.rename(new)
    report = ground.ingest()
    rows = [row for row in ground.rows().values() if row["path"] == "sub/another name.pdf"]
    places = [
        sorted((row["position"], row["text"], row["vector"]) for row in each) for each in (before, rows)
    ]
    good = places[0] == places[1] and report.outcomes()["renamed"] == 1
    ground.show("one renamed: chunks that moved", len(rows), f"{len(before)}, as they were", good)
    ground.show("  requests to nodes", ground.requests(), "0", ground.requests() == 0)
    ground.show("  s", f"{report.seconds:.1f}")


def doubled(ground: Ground) -> None:
    """Two new files of one text, of another name and with other bytes; and a copy of one that is there."""
    content = pages(PAGES, random.Random("the same in two"))
    write_pdf(ground.folder / "first of two.pdf", content)
    write_pdf(ground.folder / "second of two.pdf", content)
    with (ground.folder / "second of two.pdf").open("ab") as file:
        file.write(b"\n% other bytes\n")
    (ground.folder / "copy.pdf").write_bytes((ground.folder / "document-00004.pdf").read_bytes())
    report = ground.ingest()
    rows = ground.rows().values()
    texts = {row["text"] for row in rows if row["path"] == "first of two.pdf"}
    in_two = sum(row["text"] in texts for row in rows)
    embedded = ground.embedded()
    ground.show(
        "the same text in two new files: chunks", in_two, str(2 * len(texts)), in_two == 2 * len(texts)
    )
    good = embedded.keys() == hashes(texts)
    ground.show("  and a copy of an old one: texts embedded", len(embedded), str(len(texts)), good)
    ground.show("  reused", report.reused, "", None)


def main() -> None:
    """Print the table; status 1 if something is not as it must be."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--documents", type=int, default=1_000)
    arguments.add_argument("--times", type=int, default=5, help="re-runs of which the median counts")
    arguments.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        what, folder, table, *urls = options.child
        child(what, folder, table, urls)
        return
    from tests.nodes import nodes

    with (
        tempfile.TemporaryDirectory() as scratch,
        prefect_server(),
        nodes({"pool": 4096}, {"pool": 4096}) as started,
    ):
        ground = Ground(Path(scratch), started)
        write_papers(ground.folder, options.documents, PAGES)
        first = ground.ingest()
        ground.results.title = f"{options.documents:,} PDFs, {first.chunks:,} chunks"
        ground.show("first run, s", f"{first.seconds:.1f}")
        unchanged(ground, options.times)
        one_page(ground, 1)
        one_page(ground, 2, cached=False)
        renamed(ground)
        doubled(ground)
    Console(width=110).print(ground.results)
    sys.exit(ground.failed)


if __name__ == "__main__":
    main()
