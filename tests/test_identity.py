"""Vectors of two models never meet in a table, a cache or a search, whatever the nodes say of their models."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Protocol
from zipfile import ZipFile

import numpy as np
import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from rich.console import Console

from prefect_ollama import render
from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from prefect_ollama.blocks.documents.identity import context_options, same_options
from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.flows import IngestReport, ingest_pdfs, re_embed, re_embed_cost, search
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.flow_samples import MODEL, PREFIX, chunks, prose, write_pdf
from tests.nodes import Node, expected_vector, nodes

pytestmark = pytest.mark.usefixtures("prefect_server")

DIMENSION = 32
OLD = Path(__file__).parent / "data" / "digest-identity.zip"
"""A table, its PDFs and the cache, as the version before fingerprints made them: identified by the digest alone."""


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    with nodes({"dimension": DIMENSION}) as (running,):
        yield running


@pytest.fixture
def node(running: Node) -> Node:
    running.heal()
    running.reset()
    return running


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    with temporary_settings(updates={PREFECT_HOME: home}):
        yield home


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    write_pdf(tmp_path / "papers" / "plain.pdf", [prose("plain", 40)])
    write_pdf(tmp_path / "papers" / "quoted.pdf", ["The “old” light — café, naïve. " + prose("quoted", 40)])
    return tmp_path / "papers"


class Ingest(Protocol):
    def __call__(self, source: Path, node: Node, place: Path, **options: Any) -> IngestReport: ...


@pytest.fixture
def ingest(dask_workers: str) -> Ingest:
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))

    def run(source: Path, node: Node, place: Path, **options: Any) -> IngestReport:
        at = options.pop("at", None) or OllamaCluster(nodes=[node.url], model=options.pop("model", MODEL))
        return flow(str(source), at, LanceTable(uri=str(place)), **options)

    return run


def are_of(place: Path, prefix: str = PREFIX, **model: str) -> bool:
    """Whether every row has the vector that such a node gives."""
    return all(
        np.allclose(
            row["vector"],
            expected_vector(prefix + (row.get("embedded_text") or row["text"]), DIMENSION, **model),
            atol=1e-3,
        )
        for row in chunks(place)
    )


@pytest.mark.slow
def test_two_models_without_digests_do_not_meet(
    ingest: Ingest, node: Node, papers: Path, tmp_path: Path
) -> None:
    node.control(digest="", models=["model-a"])
    assert ingest(papers, node, tmp_path / "a", model="model-a").embedded == 2
    node.control(weights="b", models=["model-b"])
    report = ingest(papers, node, tmp_path / "b", model="model-b")
    assert (report.embedded, report.reused) == (2, 0)
    assert are_of(tmp_path / "b", prefix="", weights="b")
    with pytest.raises(
        TableError, match=r"their vectors differ \(cosine .*another model \(model-b, not model-a\)"
    ):
        search("light", node.url, LanceTable(uri=str(tmp_path / "a")), model="model-b", mode="vector")
    write_pdf(papers / "more.pdf", [prose("more", 40)])
    with pytest.raises(TableError, match=r"not comparable.*another model \(model-b, not model-a\)"):
        ingest(papers, node, tmp_path / "a", model="model-b")
    # The same vectors under another name are the same model: an alias of it.
    node.control(weights="a", models=["alias"])
    assert ingest(papers, node, tmp_path / "a", model="alias").embedded == 1
    assert ingest(papers, node, tmp_path / "c", model="alias").from_cache == 3


@pytest.mark.slow
def test_an_update_of_ollama_is_found_in_table_cache_and_search(
    ingest: Ingest, node: Node, papers: Path, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    node.control(version="0.24.0", tokenizer="0.24")
    assert ingest(papers, node, old).embedded == 2
    assert search("light", node.url, LanceTable(uri=str(old)), mode="vector")
    node.control(version="0.33.0", tokenizer="0.33")
    # The same digest all the time; nothing of the cache is taken.
    report = ingest(papers, node, new)
    assert (report.embedded, report.from_cache) == (2, 0)
    assert are_of(new)
    cause = r"another version of Ollama \(0\.33\.0, not 0\.24\.0\)"
    with pytest.raises(TableError, match=cause) as caught:
        search("light", node.url, LanceTable(uri=str(old)), mode="vector")
    assert "Nothing was searched" in str(caught.value)
    assert "re-embed" in caught.value.remedy
    assert search("light", None, LanceTable(uri=str(old)), mode="text")
    write_pdf(papers / "more.pdf", [prose("more", 40)])
    with pytest.raises(TableError, match=cause) as caught:
        ingest(papers, node, old)
    assert "re-embed" in caught.value.remedy
    assert are_of(old, tokenizer="0.24")

    # One command repairs it, and says before what it costs.
    cost = re_embed_cost(LanceTable(uri=str(old)), node.url)
    assert (cost.documents, cost.texts, cost.cached, cost.nodes) == (2, 2, 2, 1)
    assert cost.model == MODEL
    assert cost.texts_per_second > 0
    assert "0 of 2 different texts have to be embedded" in str(cost)
    # The file that came after the table is read and embedded too, if no pattern excludes it.
    assert (cost.files, cost.file_texts, cost.seconds > 0) == (1, 1, True)
    assert "and 1 new or changed file has about 1 text: about" in str(cost)
    assert re_embed_cost(LanceTable(uri=str(old)), node.url, exclude=["more.pdf"]).files == 0
    assert "2 vectors are in the cache" in str(cost)
    assert not cost.losses
    # A document whose file is excluded or gone leaves the table with the re-embedding, which nobody should miss.
    less = re_embed_cost(LanceTable(uri=str(old)), node.url, exclude=["plain.pdf"])
    assert (less.documents, less.absent) == (1, (str(papers / "plain.pdf"),))
    assert "1 document has no file in the sources, or an excluded one" in str(less)
    # Sources are looked at first, because that takes less time than the nodes do.
    papers.rename(tmp_path / "unmounted")
    node.reset()
    with pytest.raises(ConfigurationError, match="is not there"):
        re_embed_cost(LanceTable(uri=str(old)), node.url)
    assert node.stats()["paths"] == {}
    (tmp_path / "unmounted").rename(papers)
    shown = Console(width=200, file=StringIO(), force_terminal=False)
    shown.print(render.re_embedding(cost))
    assert cost.work in shown.file.getvalue()  # type: ignore[attr-defined]
    re_embed(LanceTable(uri=str(old)), node.url)
    assert are_of(old)
    assert len(chunks(old)) == 3
    assert search("light", node.url, LanceTable(uri=str(old)), mode="vector")
    store = Store.open(StoreSpec(str(old), "documents"))
    assert store.identity.fingerprint is not None
    assert store.identity.fingerprint.version == "0.33.0"
    assert "Ollama 0.24.0" in store.runs()[0].model
    assert "Ollama 0.33.0" in store.runs()[-1].model
    # What was before comes back with its own fingerprint.
    store.roll_back(store.runs()[-1].run_id, "back")
    assert store.identity.fingerprint.version == "0.24.0"
    with pytest.raises(TableError, match=cause):
        search("light", node.url, LanceTable(uri=str(old)), mode="vector")


@pytest.mark.slow
def test_nodes_that_give_the_tables_vectors_are_preferred(
    ingest: Ingest, node: Node, papers: Path, tmp_path: Path
) -> None:
    """A table decides, and not the majority or the first node."""
    ingest(papers, node, tmp_path / "db")
    write_pdf(papers / "more.pdf", [prose("more", 40)])
    with nodes(*[{"dimension": DIMENSION, "tokenizer": "0.24", "version": "0.24.0"}] * 2) as others:
        at = OllamaCluster(nodes=[*(other.url for other in others), node.url], model=MODEL)
        assert ingest(papers, node, tmp_path / "db", at=at).embedded == 1
        assert search("light", at, LanceTable(uri=str(tmp_path / "db")), mode="vector")
    assert are_of(tmp_path / "db")


@pytest.mark.slow
def test_a_context_that_was_chosen_has_to_stay(
    ingest: Ingest, node: Node, papers: Path, tmp_path: Path
) -> None:
    def at(context: int | None) -> OllamaCluster:
        return OllamaCluster(nodes=[node.url], model=MODEL, num_ctx=context)

    chosen, followed = tmp_path / "chosen", tmp_path / "followed"
    ingest(papers, node, chosen, at=at(512))
    for context in (256, None):
        # Also where no file changed.
        with pytest.raises(TableError, match=r"not comparable.*num_ctx"):
            ingest(papers, node, chosen, at=at(context))
    assert search("light", at(None), LanceTable(uri=str(chosen)), mode="vector")
    assert ingest(papers, node, chosen, at=at(512)).outcomes() == {"unchanged": 2}

    ingest(papers, node, followed, at=at(None))
    node.control(context_length=512)
    for number, context in enumerate((None, 2048)):
        write_pdf(papers / f"more{number}.pdf", [prose(f"more {number}", 40)])
        assert ingest(papers, node, followed, at=at(context)).ok
    with pytest.raises(TableError, match=r"not comparable.*num_ctx"):
        ingest(papers, node, followed, at=at(512))


def test_contexts_compare() -> None:
    assert not same_options(context_options(512, 512), context_options(256, 256))
    assert not same_options(context_options(512, 512), context_options(None, 256))
    assert same_options(context_options(512, 512), context_options(None, 512))
    assert same_options(context_options(None, 2048), context_options(None, 512))
    assert same_options((), context_options(512, 512))  # of an earlier version, or of nodes that give none
    assert not same_options((("other", "1"),), ())


@pytest.fixture
def earlier(tmp_path: Path, home: Path) -> Path:
    """The table of the earlier version, with its cache in this home."""
    with ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "earlier")
    (tmp_path / "earlier" / "cache").rename(home / "ollama-vectors")
    return tmp_path / "earlier"


def plain(node: Node) -> OllamaCluster:
    return OllamaCluster(nodes=[node.url], model=MODEL, document_prefix="none", query_prefix="none")


@pytest.fixture
def private_home(home: Path) -> None:
    home.mkdir(mode=0o700, exist_ok=True)


@pytest.mark.slow
@pytest.mark.usefixtures("private_home")
def test_a_table_of_an_earlier_version_gets_its_fingerprint(
    ingest: Ingest, node: Node, papers: Path, earlier: Path
) -> None:
    place = earlier / "db"
    table, spec = LanceTable(uri=str(place)), StoreSpec(str(place), "documents")
    assert Store.open(spec).identity.fingerprint is None
    assert search("light", plain(node), table, mode="vector")
    assert Store.open(spec).identity.fingerprint is None  # a search writes nothing of it
    before = {row["id"]: row["vector"] for row in chunks(place)}
    assert ingest(papers, node, place, at=plain(node)).ok
    store = Store.open(spec)
    assert store.identity.fingerprint is not None
    assert store.identity.fingerprint.digest == store.identity.digest
    assert dict(store.identity.options)["num_ctx"] == "2048"
    assert [run.model == "" for run in store.runs()] == [True, False]
    after = {row["id"]: row["vector"] for row in chunks(place)}
    assert {key: after[key] for key in before} == before
    node.control(tokenizer="0.24", version="0.24.0")
    with pytest.raises(TableError, match=r"another version of Ollama \(0\.24\.0, not 0\.33\.0\)"):
        search("light", plain(node), table, mode="vector")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"tokenizer": "0.24", "version": "0.24.0"}, r"another version of Ollama \(it is 0\.24\.0 now\)"),
        pytest.param({"cosine": 0.9996}, "another quantization", marks=pytest.mark.slow),
        pytest.param({"weights": "b"}, "another model under the name", marks=pytest.mark.slow),
        ({"weights": "b", "digest": ""}, "another model under the name"),
    ],
)
@pytest.mark.usefixtures("private_home")
def test_a_table_of_an_earlier_version_is_held_against_the_nodes(
    ingest: Ingest, node: Node, papers: Path, earlier: Path, changes: dict[str, Any], cause: str
) -> None:
    """The digest is the table's, or none is given: its rows are embedded again and show the difference."""
    place = earlier / "db"
    node.control(**changes)
    for use in (
        lambda: search("light", plain(node), LanceTable(uri=str(place)), mode="vector"),
        lambda: ingest(papers, node, place, at=plain(node)),
    ):
        with pytest.raises(TableError, match=f"other vectors than table.*of its rows.*{cause}"):
            use()
    assert Store.open(StoreSpec(str(place), "documents")).identity.fingerprint is None
    assert len(chunks(place)) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("private_home")
def test_a_cache_of_an_earlier_version_is_not_believed(
    ingest: Ingest, node: Node, earlier: Path, home: Path, tmp_path: Path
) -> None:
    """Vectors of one digest may be of two versions of Ollama; they stay until their room is needed."""
    cache = VectorCache(CacheSpec(str(home / "ollama-vectors")))
    assert cache.stats().entries == 3
    node.control(tokenizer="0.24", version="0.24.0")
    report = ingest(earlier / "papers", node, tmp_path / "new", at=plain(node))
    assert (report.embedded, report.from_cache) == (3, 0)
    assert are_of(tmp_path / "new", prefix="", tokenizer="0.24")
    assert cache.stats().entries == 6
