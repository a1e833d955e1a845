"""Runs, roll back, re-embedding and maintenance, as flows over a real table, server and Dask workers."""

from __future__ import annotations

from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store
from prefect_ollama.flows import ingest_pdfs, maintain_table, re_embed, roll_back, runs
from tests.nodes import expected_vector, nodes

MODEL = "nomic-embed-text"
pytestmark = pytest.mark.usefixtures("prefect_server")


def pdf(path: Path, words: str) -> None:
    with pymupdf.open() as document:
        document.new_page().insert_textbox((50, 50, 545, 790), f"{words}. " * 30, fontsize=10)
        document.save(path)


def rows(table: LanceTable) -> dict[str, set[str]]:
    """Texts by path."""
    found: dict[str, set[str]] = {}
    store = Store.open(table.to_spec())
    for hit in store.search(text="harbour lantern meadow", mode="text", limit=100):
        found.setdefault(hit.path, set()).add(hit.text)
    return found


@pytest.mark.slow  # four flow runs, each with Dask workers of its own
def test_a_run_is_rolled_back_and_a_table_embedded_again(tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    pdf(papers / "a.pdf", "The harbour is quiet")
    table = LanceTable(uri=str(tmp_path / "lance"), table="chunks")
    with nodes({"dimension": 32, "models": (MODEL, "other")}) as (node,):
        first = ingest_pdfs(str(papers), [node.url], table, MODEL)
        pdf(papers / "b.pdf", "The lantern is lit")
        second = ingest_pdfs(str(papers), [node.url], table, MODEL)
        assert rows(table).keys() == {"a.pdf", "b.pdf"}
        assert [run.run_id for run in runs(table)] == [first.run_id, second.run_id]

        undone = roll_back(second.run_id, table)
        assert undone.counts == {"restored": 0, "removed": 1}
        assert rows(table).keys() == {"a.pdf"}

        with pytest.raises(TableError, match="re_embed"):
            ingest_pdfs(str(papers), [node.url], table, "other", chunking={"target_tokens": 100})  # type: ignore[arg-type]
        node.control(weights="b")
        swapped = re_embed(table, [node.url], "other")
        assert rows(table).keys() == {"a.pdf", "b.pdf"}
        store = Store.open(table.to_spec())
        assert store.identity.model == "other"
        prefix = store.identity.document_prefix
        for text, vector in store.sample(10):
            assert vector @ expected_vector(prefix + text, 32, "b") > 0.999

        roll_back(swapped.run_id, table)
        assert Store.open(table.to_spec()).identity.model == MODEL
        assert rows(table).keys() == {"a.pdf"}
        assert maintain_table(table, force=True).done
        assert rows(table).keys() == {"a.pdf"}
