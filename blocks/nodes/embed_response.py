"""Decode an embedding answer of either API and check it: number and order of vectors, dimension, finite values, norm.

Sources of the formats: Ollama's `POST /api/embed` (https://docs.ollama.com/api/embed), and `/v1/embeddings`
(https://platform.openai.com/docs/api-reference/embeddings). With `encoding_format: base64` a vector is the base64 text
of its float32 values, little-endian.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.nodes._body import (
    LOOK,
    MAX_DIMENSIONS,
    Bounds,
    embed_bounds,
    parse,
    unusable,
    whole,
)
from prefect_ollama.blocks.nodes._disclosure import OPEN, Disclosure
from prefect_ollama.blocks.nodes._errors import start_of
from prefect_ollama.blocks.quantity import quantity

Vectors = NDArray[np.float32]

# Bounds of the tokens of a text. A character has at most four bytes, and no tokenizer makes more than two tokens of a
# byte. Models add a few tokens at the ends of a text.
_TOKENS_A_CHARACTER = 8
_TOKENS_A_TEXT = 64

# Difference of a norm from 1. Ollama sends normalised vectors; rounding to float32, also by a proxy, changes far less.
NORM_TOLERANCE = 0.01

# Norms of vectors that are usable. Models that do not normalise give norms of 0.1 to 100; a norm of 0 is a failure.
_USABLE_NORMS: Final = (1e-6, 1e6)


@dataclass(frozen=True, slots=True)
class Answer:
    """Checked vectors of one request.

    Attributes:
        vectors: float32 of shape (texts, dimension), each of norm 1.
        tokens: Tokens of all texts, as the node counts them; 0 if it gives no possible count.
    """

    vectors: Vectors
    tokens: int


def rows_in(
    body: bytes, bounds: Bounds, name: str, *, count: int, node: str, disclosure: Disclosure
) -> tuple[dict[str, Any], list[Any]]:
    """Return an answer, and its list of this name with an entry for each text.

    Raises:
        NodeAnswerError: There is no such list, or it has another number of entries than `count`.
    """
    try:
        data = parse(body, bounds)
    except ValueError as error:
        # A body that begins as JSON is a broken answer. Any other body is not from an embedding server.
        if body.lstrip()[:1] == b"{":
            raise unusable(node, f"answered {error}.") from None
        data = None
    if not isinstance(data, dict) or name not in data:
        raise unusable(node, f"answered something that is no embedding{start_of(body, disclosure)}.")
    rows = data[name]
    if not isinstance(rows, list) or len(rows) != count:
        got = quantity(len(rows), "vector") if isinstance(rows, list) else "no list of vectors"
        # Some servers read the first text of a request alone.
        first = isinstance(rows, list) and len(rows) == 1
        raise unusable(
            node,
            f"answered {got} for {quantity(count, 'text')}.",
            "If its server reads one text of a request, set *Max texts per request* to 1 in its block."
            if first
            else LOOK,
        )
    return data, rows


def tokens_in(counted: Any, texts: Sequence[str]) -> int:
    """Return a node's count of tokens; 0 without one that these texts can have, which would distort the node's rate."""
    most = sum(_TOKENS_A_CHARACTER * len(text) + _TOKENS_A_TEXT for text in texts)
    return whole(counted, most=most) or 0


def vectors_in(
    given: Sequence[Any],
    node: str,
    dimension: int | None,
    *,
    cut_to: int | None = None,
    any_norm: bool = False,
) -> Vectors:
    """Return vectors of norm 1, float32 of shape (texts, dimension), from lists of numbers or base64 texts.

    Args:
        dimension: Expected length of a vector, after the cut; None for that of the first one.
        cut_to: Floats of each vector to keep; None keeps all.
        any_norm: Whether vectors of another norm are normalised; otherwise they are refused.

    Raises:
        NodeAnswerError: They differ in length, have another dimension, or are not finite or of no usable norm.
    """
    try:
        with np.errstate(all="ignore"):  # a number beyond float32 becomes Inf, and so does the norm
            rows = [
                np.frombuffer(base64.b64decode(each, validate=True), "<f4") if isinstance(each, str) else each
                for each in given
            ]
            vectors = np.asarray(rows, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        raise unusable(
            node, "answered vectors of unequal length, or with values that are no numbers."
        ) from None
    if vectors.ndim == 3:  # llama-server without pooling gives a vector for each token
        raise unusable(
            node,
            "answered several vectors for a text.",
            "Start its server with pooling, as the model needs it.",
        )
    if vectors.ndim != 2 or not 0 < vectors.shape[1] <= MAX_DIMENSIONS:
        raise unusable(node, "answered something that is no list of vectors.")
    if cut_to and cut_to < vectors.shape[1]:
        vectors = np.ascontiguousarray(vectors[:, :cut_to])
    if dimension is not None and vectors.shape[1] != dimension:
        raise unusable(
            node, f"answered vectors of {vectors.shape[1]} dimensions where {dimension} are expected."
        )
    least, most = _USABLE_NORMS
    with np.errstate(all="ignore"):
        # einsum gives the squared norms in one pass; NaN and Inf fail the comparisons too.
        squared = np.einsum("ij,ij->i", vectors, vectors)
        unit = np.abs(squared - 1.0) <= 2 * NORM_TOLERANCE
        good = (squared >= least**2) & (squared <= most**2) if any_norm else unit
    if not good.all():
        bad = float(squared[int(np.argmin(good))])
        raise unusable(
            node, f"answered a vector of norm {bad**0.5:.3g} (0, NaN and Inf are failed embeddings)."
        )
    if unit.all():
        return vectors
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return np.asarray(vectors / norms[:, None], np.float32)


def read_answer(
    body: bytes, texts: Sequence[str], *, dimension: int | None, node: str, disclosure: Disclosure = OPEN
) -> Answer:
    """Decode an answer of `/api/embed` for these texts and check it.

    Args:
        dimension: Expected length of a vector; None for that of the first one.

    Raises:
        NodeAnswerError: The answer is not JSON, has another number of vectors, or vectors that `vectors_in` refuses.
    """
    count = len(texts)
    bounds = embed_bounds(count, dimension)
    data, rows = rows_in(body, bounds, "embeddings", count=count, node=node, disclosure=disclosure)
    tokens = tokens_in(data.get("prompt_eval_count"), texts)
    return Answer(vectors_in(rows, node, dimension), tokens)


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
    tokens = tokens_in(usage.get("prompt_tokens") if isinstance(usage, dict) else None, texts)
    given = [row.get("embedding") for row in _ordered(rows, node)]
    return Answer(vectors_in(given, node, dimension, cut_to=cut_to, any_norm=True), tokens)


def _ordered(rows: list[dict[str, Any]], node: str) -> list[dict[str, Any]]:
    """Return the rows in the order of the texts. A server without indices sends them in this order."""
    if all(row.get("index") is None for row in rows):
        return rows
    # Some servers leave out a 0, as protobuf does.
    places = {index: row for row in rows if type(index := row.get("index", 0)) is int}
    if sorted(places) != list(range(len(rows))):
        raise unusable(
            node, "numbers its vectors in a way that does not match the texts.", "Update the server there."
        )
    return [places[index] for index in range(len(rows))]
