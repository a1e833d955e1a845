"""What the tests of the flows share: small PDFs with known text, and looks into a table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import lancedb
import numpy as np
import pymupdf

from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.nodes.prefixes import prefixes_of
from tests.nodes import Node, expected_vector, text_hash

MODEL = "nomic-embed-text"
PREFIX = prefixes_of(MODEL).document
QUERY_PREFIX = prefixes_of(MODEL).query

_WORDS = (
    *("harbour", "ledger", "cedar", "valve", "spring", "meadow", "copper", "lantern", "bridge", "winter"),
    *("salt", "compass", "granite", "orchard", "signal", "ferry", "canvas", "barrel", "turbine", "marble"),
    *("thistle", "anchor", "furnace", "pebble", "saddle", "quarry", "hammer", "willow", "cargo", "plough"),
)


def prose(seed: str, words: int = 120) -> str:
    """Sentences that no other seed gives."""
    bits = hashlib.shake_128(seed.encode()).digest(words)
    sentences = []
    for start in range(0, words, 10):
        chosen = [_WORDS[bit % len(_WORDS)] for bit in bits[start : start + 10]]
        sentences.append(f"{seed.capitalize()} {' '.join(chosen)} {start}.")
    return " ".join(sentences)


def write_pdf(path: Path, pages: Sequence[str], **save: Any) -> Path:
    """Write a PDF with one page for each text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as document:
        for text in pages:
            page = document.new_page()
            left = page.insert_textbox(pymupdf.Rect(50, 50, 545, 790), text, fontsize=10)
            assert left >= 0, "the text does not fit on its page"
        document.save(path, **save)
    return path


def write_folder(folder: Path, documents: Iterable[str], pages: int = 2, words: int = 120) -> Path:
    """Write PDFs `<name>.pdf`, each with text of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in documents:
        write_pdf(folder / f"{name}.pdf", [prose(f"{name} page {n}", words) for n in range(1, pages + 1)])
    return folder


def manifest(place: Path, table: str = "documents") -> dict[str, Document]:
    """The manifest's rows by path."""
    return {row.path: row for row in Store.open(StoreSpec(str(place), table)).manifest()}


def chunks(place: Path, table: str = "documents") -> list[dict[str, Any]]:
    """All rows of the chunk table, by document and position."""
    rows = lancedb.connect(str(place)).open_table(table).to_arrow().to_pylist()
    return sorted((row for row in rows if row["doc_id"]), key=lambda row: (row["path"], row["position"]))


def content(place: Path, table: str = "documents") -> list[tuple[Any, ...]]:
    """What must be the same after any two ways to the same table."""
    return [
        (row["id"], row["path"], row["position"], row["text"], row["page_from"], tuple(row["vector"]))
        for row in chunks(place, table)
    ]


def assert_right(rows: Sequence[Mapping[str, Any]], *, weights: str = "a", dimension: int = 768) -> None:
    """Every row has the one right vector of what is embedded, none is there twice, and positions have no gaps."""
    assert len({row["id"] for row in rows}) == len(rows)
    places: dict[str, list[int]] = {}
    for row in rows:
        expected = expected_vector(PREFIX + to_embed(row), dimension, weights)
        assert np.dot(row["vector"], expected) > 0.9999, row["text"][:60]
        places.setdefault(row["doc_id"], []).append(row["position"])
    for positions in places.values():
        assert sorted(positions) == list(range(len(positions)))


def requests(nodes: Iterable[Node]) -> int:
    """Calls of any kind that nodes had since they were reset."""
    return sum(sum(node.stats()["paths"].values()) for node in nodes)


def to_embed(row: Mapping[str, Any]) -> str:
    """What was embedded of a row, without the prompt prefix."""
    return str(row["embedded_text"] or row["text"])


def times_embedded(nodes: Iterable[Node], texts: Iterable[str]) -> list[int]:
    """How often nodes answered with the vector of each of these texts."""
    served = [node.stats()["served"] for node in nodes]
    return [sum(each.get(text_hash(PREFIX + text), 0) for each in served) for text in texts]


def reset(nodes: Iterable[Node]) -> None:
    """Begin to count from zero."""
    for node in nodes:
        node.reset()


def latest_artifact(server: str, key: str) -> str:
    """What the newest artifact of this key shows: Markdown, or a table as JSON."""
    answer = httpx.get(f"{server}/artifacts/{key}/latest", trust_env=False, timeout=240)
    assert answer.is_success, answer.text
    return str(answer.json()["data"])
