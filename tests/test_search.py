"""Questions to a table over simulated nodes: the modes, what a hit says, and vectors that cannot be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, TableError, TableMissing
from prefect_ollama.flows import Only, ingest_pdfs, search
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.flow_samples import (
    MODEL,
    QUERY_PREFIX,
    chunks,
    latest_artifact,
    prose,
    requests,
    to_embed,
    write_pdf,
)
from tests.nodes import Node, nodes, text_hash

pytestmark = pytest.mark.usefixtures("prefect_server")


@dataclass(frozen=True)
class Library:
    """A table, where its documents are, and the nodes that made it."""

    folder: Path
    place: Path
    nodes: list[Node]

    @property
    def table(self) -> LanceTable:
        return LanceTable(uri=str(self.place))

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]


@pytest.fixture(scope="module")
def library(dask_workers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Made without prompts, so that a question that is a chunk's text has that chunk's vector."""
    folder, place = tmp_path_factory.mktemp("papers"), tmp_path_factory.mktemp("db")
    write_pdf(folder / "tides.pdf", [prose("tides one"), prose("tides two")])
    write_pdf(
        folder / "sub" / "gears.pdf",
        [prose("gears one"), "The derailleur moves the chain sideways. " + prose("gears two")],
    )
    chatting = {"chat_models": ["qwen3"]}
    with nodes(chatting, chatting) as running:
        library = Library(folder, place, running)
        plain = OllamaCluster(nodes=library.urls, document_prefix="none", query_prefix="none")
        flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
        with temporary_settings(updates={PREFECT_HOME: tmp_path_factory.mktemp("home")}):
            assert flow(str(folder), plain, library.table).ok
        yield library


@pytest.fixture(autouse=True)
def healthy(library: Library) -> None:
    for node in library.nodes:
        node.heal()
        node.reset()


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_by_meaning_a_chunk_is_found_by_its_own_text(library: Library, step: int) -> None:
    """The question goes out as the table says, though plain URLs would put the model's own prompt before it."""
    for row in chunks(library.place)[::step]:
        best, *_ = search(to_embed(row), library.urls, library.table, mode="vector", limit=2)
        assert (best.chunk_id, best.path, best.page_from) == (row["id"], row["path"], row["page_from"])
        assert best.score == pytest.approx(1, abs=1e-3)
        assert best.text == row["text"]
        assert best.source == str(library.folder)
        assert best.regions
        assert text_hash(QUERY_PREFIX + row["text"]) not in library.nodes[0].stats()["served"]


def test_by_words_no_node_is_asked(library: Library) -> None:
    (hit,) = search("derailleur", None, library.table, mode="text")
    assert (hit.path, hit.page_to) == ("sub/gears.pdf", 2)
    assert "derailleur" in hit.text
    assert requests(library.nodes) == 0
    assert search("xylophone", None, library.table, mode="text") == []


def test_by_both_words_and_meaning_count(library: Library) -> None:
    hits = search("derailleur chain", library.urls, library.table, limit=3)
    assert len(hits) == 3
    assert hits[0].path == "sub/gears.pdf"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_source_can_be_named_and_a_limit_holds(library: Library) -> None:
    assert len(search("tides", library.urls, library.table, limit=1)) == 1
    assert search("tides", library.urls, library.table, source=str(library.folder))
    with pytest.raises(ConfigurationError, match='no source "it\'s elsewhere"') as caught:
        search("tides", library.urls, library.table, source="it's elsewhere")
    assert caught.value.state == "Nothing was done."
    only = Only(documents=["gears.pdf"], first_page=2)
    assert {
        (hit.path, hit.page_to) for hit in search("tides", None, library.table, mode="text", only=only)
    } <= {("sub/gears.pdf", 2)}
    assert len(search("gears one two", library.urls, library.table, only=only, one_per_document=True)) == 1


def test_without_its_reranker_a_search_keeps_its_order(library: Library) -> None:
    plain = search("derailleur chain", None, library.table, mode="text", limit=2)
    found = search(
        "derailleur chain", None, library.table, mode="text", limit=2, reranker="http://127.0.0.1:9/v1"
    )
    assert found == plain
    (note,) = found.notes
    assert "not reranked" in note


def test_a_chat_model_of_the_nodes_judges_passages(library: Library) -> None:
    for node in library.nodes:
        right, wrong = (
            {"match": word, "content": {"score": score}} for word, score in (("chain", 9), ("", 1))
        )
        node.control(chat_script=[right, wrong])
    found = search("gears", library.urls, library.table, limit=2, reranker="judge:qwen3")
    assert ("derailleur" in found[0].text, [hit.score for hit in found], found.notes) == (
        True,
        [9.0, 1.0],
        (),
    )
    with pytest.raises(ConfigurationError, match="No chat model is named"):
        search("gears", library.urls, library.table, mode="text", reranker="judge")


def test_nodes_with_another_model_are_refused(library: Library) -> None:
    for node in library.nodes:
        node.control(models=["bge-m3"], weights="b")
    with pytest.raises(TableError, match="their vectors differ") as caught:
        search("tides", library.urls, library.table, model="bge-m3")
    assert MODEL in caught.value.cause
    assert "mode 'text'" in caught.value.remedy
    for node in library.nodes:
        node.control(models=["bge-m3"], dimension=384)
    with pytest.raises(TableError, match="384 dimensions"):
        search("tides", library.urls, library.table, model="bge-m3")
    # Without a model of the user's choice it is the table's that is asked for.
    with pytest.raises(ClusterError, match=f"does not have the model '{MODEL}'"):
        search("tides", library.urls, library.table)


def test_another_build_with_the_same_vectors_will_do(library: Library) -> None:
    for node in library.nodes:
        node.control(digest="f" * 64)
    assert search("tides", library.urls, library.table, mode="vector")


@pytest.mark.slow
def test_a_table_with_shortened_vectors_is_asked_with_such(
    library: Library, dask_workers: str, tmp_path: Path
) -> None:
    short = OllamaCluster(nodes=library.urls, dimensions=256)
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    table = LanceTable(uri=str(tmp_path / "db"))
    assert flow(str(library.folder / "tides.pdf"), short, table).ok
    assert len(chunks(tmp_path / "db")[0]["vector"]) == 256
    assert search("tides", library.urls, table, mode="vector")


def test_a_table_that_is_not_there_is_not_made(library: Library, tmp_path: Path) -> None:
    for table in (LanceTable(uri=str(tmp_path / "db")), str(tmp_path / "db"), tmp_path / "db"):
        with pytest.raises(TableMissing, match="no table"):
            search("tides", library.urls, table)  # type: ignore[arg-type]
    assert not (tmp_path / "db").exists()
    assert requests(library.nodes) == 0


def test_a_question_may_hold_anything(library: Library) -> None:
    for question in ("{braces} and %s", 'it\'s 100 % "quoted" AND (NOT) near~2 *', "問題", "x" * 3000):
        assert isinstance(search(question, library.urls, library.table), list)


def test_the_pages_of_hits_are_shown_in_the_run(library: Library, prefect_server: str) -> None:
    assert search("derailleur", None, library.table, mode="text", show=True)
    page = latest_artifact(prefect_server, "search-pages")
    assert page.startswith("# derailleur")
    assert "sub/gears" in page.replace("\\", "")
    assert "](data:image/png;base64," in page
