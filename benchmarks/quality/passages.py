"""Passages that a search can find: ours and those of other splitters, put into a table of ours.

Every splitter's passages go into a `Store`, so that all are searched by the same code and only the passages differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pymupdf

from benchmarks.quality.vectors import MODEL, Embedder
from prefect_ollama.blocks.documents import Document, EmbeddedDocument, Identity
from prefect_ollama.blocks.documents.chunk import Chunk
from prefect_ollama.blocks.embedded._model import DIGEST
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.tasks.chunking import ChunkOptions, chunk_document
from prefect_ollama.tasks.parsing import ParseOptions, Parser

TOKENS, OVERLAP = ChunkOptions().target_tokens, ChunkOptions().overlap_tokens


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage.

    Attributes:
        text: What is shown, and found by words.
        page_from: First page, counted from 1.
        page_to: Last page.
        embedded: What is embedded.
    """

    text: str
    page_from: int
    page_to: int
    embedded: str


Splitter = Callable[[Path], Iterator[Passage]]


def ours(parser: Parser, embedder: Embedder) -> Splitter:
    """Our parser and chunker with their defaults."""

    def split(file: Path) -> Iterator[Passage]:
        document = parser.parse(file, ParseOptions(ocr="off"))
        for chunk in chunk_document(document, ChunkOptions(), embedder.count, name=file.name):
            yield Passage(chunk.text, chunk.page_from, chunk.page_to, chunk.to_embed)

    return split


def others(embedder: Embedder) -> dict[str, Splitter]:
    """LlamaIndex's and LangChain's splitters on the text of each page, at their defaults and at our size."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from llama_index.core.node_parser import SentenceSplitter

    sized = {"chunk_size": TOKENS, "chunk_overlap": OVERLAP}
    splits = {
        "LlamaIndex": SentenceSplitter().split_text,
        f"LlamaIndex {TOKENS}": SentenceSplitter(**sized, tokenizer=embedder.ids).split_text,
        "LangChain": RecursiveCharacterTextSplitter().split_text,
        f"LangChain {TOKENS}": RecursiveCharacterTextSplitter(
            **sized, length_function=embedder.count
        ).split_text,
    }
    return {name: _each_page(split) for name, split in splits.items()}


def _each_page(split: Callable[[str], list[str]]) -> Splitter:
    def pages(file: Path) -> Iterator[Passage]:
        with pymupdf.open(file) as document:
            for number, page in enumerate(document, 1):
                for text in split(page.get_text()):
                    if text.strip():
                        yield Passage(text, number, number, text)

    return pages


def _other(embedded: str, text: str) -> str:
    return "" if embedded == text else embedded


def build_table(
    place: Path, documents: Iterable[tuple[str, Sequence[Passage]]], embedder: Embedder
) -> tuple[Store, int]:
    """Store the passages of named documents; return the table and how many passages it holds."""
    kept = [(name, list(passages)) for name, passages in documents]
    vectors = embedder.embed([each.embedded for _, passages in kept for each in passages])
    store = Store.open(
        StoreSpec(str(place), "quality"),
        identity=Identity(MODEL.name, DIGEST, embedder.dimension),
        create=True,
    )
    store.begin_run("quality", "quality")
    batch: list[EmbeddedDocument] = []
    first = 0
    for number, (name, passages) in enumerate(kept):
        if passages:
            chunks = [
                Chunk(
                    each.text,
                    position,
                    each.page_from,
                    each.page_to,
                    embedded_text=_other(each.embedded, each.text),
                )
                for position, each in enumerate(passages)
            ]
            document = Document(f"{number:032x}", "quality", name, content_hash=f"{number:064x}")
            batch.append(EmbeddedDocument(document, chunks, vectors[first : first + len(chunks)]))
            first += len(chunks)
    store.write(batch)
    store.end_run()
    return store, first
