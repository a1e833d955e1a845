"""An answer of `/v1/embeddings`, checked: count, order, dimension, finite, not zero.

Source of the format: https://platform.openai.com/docs/api-reference/embeddings. With `encoding_format: base64` a vector
is the base64 text of its float32 values, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._errors import start_of
from prefect_ollama.blocks.nodes._payload import Bounds, embed_bounds, unusable
from prefect_ollama.blocks.nodes.embed_response import Answer, rows_in, tokens_in, vectors_in

# What stands around a vector: its index, the kind of the object, indentation.
_BYTES_A_ROW: Final = 512


def embedding_bounds(count: int, dimension: int | None) -> Bounds:
    """Return the bounds of an answer with so many vectors of that length (None: any model's)."""
    floats = embed_bounds(count, dimension)
    return Bounds(floats.size + count * _BYTES_A_ROW, 2 * count + 64, floats.values + 8 * count)


def read_embeddings(
    body: bytes,
    texts: Sequence[str],
    *,
    dimension: int | None,
    node: str,
    disclosure: Disclosure,
    cut_to: int | None = None,
) -> Answer:
    """Decode an answer of `/v1/embeddings` and check it; see `read_answer`.

    Args:
        dimension: Expected length of a vector, after the cut; None for that of the first one.
        cut_to: Floats of each vector to keep; None keeps all.

    Raises:
        NodeAnswerError: The answer has another form, another number of vectors, or vectors that `vectors_in` refuses.
    """
    # The length before a cut is not known.
    bounds = embedding_bounds(len(texts), None if cut_to else dimension)
    data, rows = rows_in(body, bounds, "data", count=len(texts), node=node, disclosure=disclosure)
    if not all(isinstance(row, dict) for row in rows):
        raise unusable(node, f"answered something that is no embedding{start_of(body, disclosure)}.")
    usage = data.get("usage")
    tokens = tokens_in(usage.get("prompt_tokens") if isinstance(usage, dict) else None, texts, node)
    given = [row.get("embedding") for row in _ordered(rows, node)]
    return Answer(vectors_in(given, node, dimension, cut_to=cut_to, any_norm=True), tokens)


def _ordered(rows: list[dict[str, Any]], node: str) -> list[dict[str, Any]]:
    """Return the rows in the order of the texts. A server without indices sends them in this order."""
    if all(row.get("index") is None for row in rows):
        return rows
    places = {index: row for row in rows if type(index := row.get("index")) is int}
    if sorted(places) != list(range(len(rows))):
        raise unusable(
            node, "numbers its vectors in a way that does not match the texts.", "Update the server there."
        )
    return [places[index] for index in range(len(rows))]
