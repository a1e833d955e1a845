"""Vectors of the embedded model, through nodes and the HTTP client, kept in one SQLite file."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.embedded._model import DIGEST, DIMENSION
from prefect_ollama.blocks.embedded._weights import TOKENIZER, find_model_file
from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes
from prefect_ollama.blocks.embedded.tokens import CONTEXT, WordPiece
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec

TEXTS = 16
TIMEOUT = 300.0
MODEL = ModelSpec("all-minilm")


class Embedder:
    """Embeds texts, each once for ever.

    Args:
        file: The SQLite file with the vectors made so far.

    Texts of more than the model's 512 tokens are cut there, as Ollama does by default.
    """

    dimension = DIMENSION

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._kept = sqlite3.connect(file)
        self._kept.execute(
            "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
        )
        self._tokenizer = WordPiece(find_model_file(TOKENIZER))
        self._nodes: EmbeddedNodes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()
        if self._nodes is not None:
            self._nodes.stop()

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return self._tokenizer.count(text)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self._tokenizer.encode(text)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 of shape (texts, dimension)."""
        keys = [hashlib.sha256(f"{DIGEST}\n{text}".encode()).digest() for text in texts]
        found = {key: vector for key in set(keys) if (vector := self._look_up(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            # The longest first: the last ones then end at nearly the same time on both nodes.
            ordered = sorted(missing, key=lambda key: -len(missing[key]))
            for part in (ordered[i : i + 64 * TEXTS] for i in range(0, len(ordered), 64 * TEXTS)):
                made = asyncio.run(self._from_nodes([self._shortened(missing[key]) for key in part]))
                with self._kept:
                    self._kept.executemany(
                        "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
                        [(key, vector.tobytes()) for key, vector in zip(part, made, strict=True)],
                    )
                found |= dict(zip(part, made, strict=True))
        return np.stack([found[key] for key in keys])

    def _look_up(self, key: bytes) -> NDArray[np.float32] | None:
        row = self._kept.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)

    def _shortened(self, text: str) -> str:
        encoded = self._tokenizer._tokenizer.encode(text)
        if len(encoded.ids) <= CONTEXT:
            return text or " "
        # [SEP] takes the last of the 512 places.
        return text[: encoded.offsets[CONTEXT - 2][1]]

    async def _from_nodes(self, texts: list[str]) -> NDArray[np.float32]:
        if self._nodes is None:
            self._nodes = EmbeddedNodes().start()
        parts = iter([(i, texts[i : i + TEXTS]) for i in range(0, len(texts), TEXTS)])
        vectors = np.empty((len(texts), DIMENSION), np.float32)

        async def work(url: str) -> None:
            async with OllamaEndpoint(NodeSpec(url, url), MODEL) as client:
                for first, part in parts:
                    answer = await client.embed(part, timeout=TIMEOUT, dimension=DIMENSION)
                    vectors[first : first + len(part)] = answer.vectors

        # Two requests for each node, so that none waits for the next.
        await asyncio.gather(*(work(url) for url in self._nodes.urls for _ in range(2)))
        return vectors
