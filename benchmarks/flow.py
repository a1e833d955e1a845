"""The whole flow (Prefect, Dask, LanceDB) over simulated nodes: how busy it keeps them, and how fast it can go.

    uv run python -m benchmarks.flow

Efficiency is T*/T: T* is the time in which the nodes could embed all chunks at the sum of their own saturated
rates, T is from the call of `ingest_pdfs` to its return, with all start-up. The second row has nodes that take
no time, so the flow itself is the limit.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

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


def run(folder: Path, nodes: Sequence[dict[str, object]], rate: float | None) -> dict[str, float]:
    """One ingest into an empty table."""
    from prefect_ollama.blocks import LanceTable
    from prefect_ollama.flows import Advanced, ingest_pdfs
    from tests.nodes import nodes as simulated

    with tempfile.TemporaryDirectory() as place, simulated(*nodes) as started:
        table = LanceTable(uri=str(Path(place) / "lance"), table="chunks")
        began = time.perf_counter()
        report = ingest_pdfs(
            str(folder),
            [node.url for node in started],
            table,
            "nomic-embed-text",
            advanced=Advanced(use_cache=False),
        )
        seconds = time.perf_counter() - began
        assert report.ok, report.failed
        return {
            "chunks": report.chunks,
            "seconds": seconds,
            "rate": report.chunks / seconds,
            "efficiency": report.chunks / rate / seconds if rate else 0.0,
        }


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5, help="runs, of which the median counts")
    arguments.add_argument("--documents", type=int, default=50)
    arguments.add_argument("--pages", type=int, default=60, help="pages of a document")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as pdfs:
        os.environ.update(PREFECT_HOME=home, PREFECT_PROFILES_PATH=str(Path(home) / "profiles.toml"))
        from prefect.context import refresh_global_settings_context
        from prefect.server.api.server import SubprocessASGIServer

        make_pdfs(Path(pdfs), options.documents, options.pages)
        server = SubprocessASGIServer()
        server.start()
        os.environ["PREFECT_API_URL"] = server.api_url
        refresh_global_settings_context()
        try:
            rows = {
                "50 documents, nodes 200 / 10 / 10 texts/s": (
                    [{"texts_per_second": rate} for rate in (200.0, 10.0, 10.0)],
                    220.0,
                ),
                "the same, nodes of no service time": ([{"pool": 256}, {"pool": 256}], None),
            }
            for name, (nodes, rate) in rows.items():
                results = [run(Path(pdfs), nodes, rate) for _ in range(options.runs)]
                results.sort(key=lambda result: result["seconds"])
                middle = results[len(results) // 2]
                print(name, {key: round(value, 3) for key, value in middle.items()}, flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
