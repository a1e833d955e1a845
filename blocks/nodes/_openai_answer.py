"""An answer of `/v1/embeddings`, checked: count, order, dimension, finite, not zero.

Source of the format: https://platform.openai.com/docs/api-reference/embeddings. With `encoding_format: base64` a vector
is the base64 text of its float32 values, little-endian.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._errors import start_of
from prefect_ollama.blocks.nodes._payload import MOST_DIMENSIONS, Bounds, embed_bounds, unusable
from prefect_ollama.blocks.nodes.embed_response import NORM_TOLERANCE, Answer, Vectors, rows_in, tokens_in

# Norms of vectors that are usable. Models that do not normalise give norms of 0.1 to 100; a norm of 0 is a
# failure.
_NORM_RANGE: Final = (1e-6, 1e6)

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
        NodeAnswerError: It is no such answer, has another number of vectors, another dimension, or a zero or
            infinite vector.
    """
    # The length before a cut is not known.
    bounds = embedding_bounds(len(texts), None if cut_to else dimension)
    data, rows = rows_in(body, bounds, "data", count=len(texts), node=node, disclosure=disclosure)
    if not all(isinstance(row, dict) for row in rows):
        raise unusable(node, f"answered something that is no embedding{start_of(body, disclosure)}.")
    usage = data.get("usage")
    tokens = tokens_in(usage.get("prompt_tokens") if isinstance(usage, dict) else None, texts, node)
    vectors = _matrix([row.get("embedding") for row in _ordered(rows, node)], node)
    if cut_to and cut_to < vectors.shape[1]:
        vectors = np.ascontiguousarray(vectors[:, :cut_to])
    if dimension is not None and vectors.shape[1] != dimension:
        raise unusable(
            node, f"answered vectors of {vectors.shape[1]} dimensions where {dimension} are expected."
        )
    return Answer(_normalised(vectors, node), tokens)


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


def _matrix(given: list[Any], node: str) -> Vectors:
    """Return vectors in base64 or in lists as float32 of shape (texts, dimension)."""
    try:
        with np.errstate(all="ignore"):  # a number beyond float32 becomes Inf, and its norm tells
            rows = [
                np.frombuffer(base64.b64decode(each, validate=True), "<f4")
                if isinstance(each, str)
                else np.asarray(each, np.float32)
                for each in given
            ]
            vectors = np.stack(rows).astype(np.float32, copy=False)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise unusable(
            node, "answered vectors of unequal length, or with values that are no numbers."
        ) from None
    if vectors.ndim == 3:  # llama-server without pooling gives a vector for each token
        raise unusable(
            node,
            "answered several vectors for a text.",
            "Start its server with pooling, as the model needs it.",
        )
    if vectors.ndim != 2 or not 0 < vectors.shape[1] <= MOST_DIMENSIONS:
        raise unusable(node, "answered something that is no list of vectors.")
    return vectors


def _normalised(vectors: Vectors, node: str) -> Vectors:
    """Return the vectors with norm 1. Whether servers normalise depends on the model and their options."""
    with np.errstate(all="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    least, most = _NORM_RANGE
    if not bool(np.all((norms >= least) & (norms <= most))):  # NaN and Inf fail the comparison too
        bad = float(norms[int(np.argmin((norms >= least) & (norms <= most)))])
        raise unusable(node, f"answered a vector of norm {bad:.3g} (0, NaN and Inf are failed embeddings).")
    if bool(np.all(np.abs(norms - 1.0) <= NORM_TOLERANCE)):
        return vectors
    unit: Vectors = (vectors / norms[:, None]).astype(np.float32)
    return unit
