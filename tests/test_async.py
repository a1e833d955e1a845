"""The flows called from wherever users call them: async code, other flows, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.settings import PREFECT_HOME, temporary_settings

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.documents import Hit
from prefect_ollama.flows import IngestReport, check_nodes, ingest_pdfs, search
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.flow_samples import assert_right, chunks, write_folder
from tests.nodes import nodes

pytestmark = pytest.mark.usefixtures("prefect_server", "all_nodes_take_part")


@pytest.fixture(scope="module")
def pair() -> Iterator[list[str]]:
    with nodes({}, {}) as running:
        yield [node.url for node in running]


class Library:
    """A folder, a table, and the two calls that a user makes."""

    def __init__(self, folder: Path, workers: str, urls: list[str]) -> None:
        self.source = str(write_folder(folder / "papers", ["a", "b"]))
        self.place = folder / "db"
        self.table = LanceTable(uri=str(self.place))
        self.urls = urls
        self._ingest = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=workers))

    def ingest(self) -> IngestReport:
        return self._ingest(self.source, self.urls, self.table)

    def search(self) -> list[Hit]:
        return search("harbour", self.urls, self.table)

    def check(self, report: IngestReport, hits: list[Hit]) -> None:
        assert report.outcomes() == {"stored": 2}
        assert report.embedded == len(chunks(self.place))
        assert_right(chunks(self.place))
        assert {hit.path for hit in hits} == {"a.pdf", "b.pdf"}


@pytest.fixture
def library(tmp_path: Path, dask_workers: str, pair: list[str]) -> Iterator[Library]:
    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        yield Library(tmp_path, dask_workers, pair)


@pytest.mark.slow
def test_from_async_code(library: Library) -> None:
    async def main() -> tuple[IngestReport, list[Hit], int]:
        return library.ingest(), library.search(), len(check_nodes(library.urls))

    report, hits, count = asyncio.run(main())
    library.check(report, hits)
    assert count == 2


@pytest.mark.slow
def test_from_async_code_without_blocking_its_loop(library: Library) -> None:
    async def main() -> tuple[IngestReport, list[Hit], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        report = await asyncio.to_thread(library.ingest)
        hits = await asyncio.to_thread(library.search)
        ticking.cancel()
        return report, hits, ticks

    report, hits, ticks = asyncio.run(main())
    library.check(report, hits)
    assert ticks > 10


@pytest.mark.slow
def test_inside_another_flow(library: Library) -> None:
    @task
    def count(hits: list[Hit]) -> int:
        return len(hits)

    @flow
    def nightly() -> tuple[IngestReport, list[Hit]]:
        report, hits = library.ingest(), library.search()
        assert count(hits) == len(hits)
        return report, hits

    library.check(*nightly())


@pytest.mark.slow
def test_inside_an_async_flow(library: Library) -> None:
    @flow
    async def nightly() -> tuple[IngestReport, list[Hit]]:
        return library.ingest(), await asyncio.to_thread(library.search)

    library.check(*asyncio.run(nightly()))


@pytest.mark.slow
def test_from_threads_at_once(library: Library, tmp_path: Path, dask_workers: str) -> None:
    other = Library(tmp_path / "other", dask_workers, library.urls)
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda each: each.ingest(), (library, other)))
        hits = list(pool.map(lambda each: each.search(), (library, other)))
    assert {report.source for report in reports} == {library.source, other.source}
    for each, report, found in zip((library, other), reports, hits, strict=True):
        assert report.outcomes() == {"stored": 2}
        assert report.embedded + report.reused == len(chunks(each.place))
        assert_right(chunks(each.place))
        assert found
