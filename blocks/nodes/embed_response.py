"""Decode an embedding answer and check it: number of vectors, dimension, finite values and norm.

Source of the format: Ollama's API, `POST /api/embed` (https://docs.ollama.com/api/embed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.nodes._disclosure import OPEN, Disclosure
from prefect_ollama.blocks.nodes._errors import start_of
from prefect_ollama.blocks.nodes._payload import Bounds, embed_bounds, parse, unusable, whole
from prefect_ollama.blocks.quantity import quantity

Vectors = NDArray[np.float32]

# Bounds of the tokens of a text. A character has at most four bytes, and no tokenizer makes more than two tokens of a
# byte. Models add a few tokens at the ends of a text.
_TOKENS_A_CHARACTER = 8
_TOKENS_A_TEXT = 64

# Difference of a norm from 1. Ollama sends normalised vectors; rounding to float32, also by a proxy, changes far less.
NORM_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """Checked vectors of one request.

    Attributes:
        vectors: float32 of shape (texts, dimension), each of norm 1.
        tokens: Tokens of all texts, as the node counts them; 0 if it does not.
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
        raise unusable(node, f"answered {got} for {quantity(count, 'text')}.")
    return data, rows


def tokens_in(counted: Any, texts: Sequence[str], node: str) -> int:
    """Return a node's count of tokens; 0 without one.

    Raises:
        NodeAnswerError: The texts cannot have so many. Such a count would distort the measured rate of the node.
    """
    most = sum(_TOKENS_A_CHARACTER * len(text) + _TOKENS_A_TEXT for text in texts)
    tokens = 0 if counted is None else whole(counted, most=most)
    if tokens is None:
        raise unusable(node, "counts tokens that the texts cannot have.")
    return tokens


def read_answer(
    body: bytes, texts: Sequence[str], *, dimension: int | None, node: str, disclosure: Disclosure = OPEN
) -> Answer:
    """Decode an answer of `/api/embed` for these texts and check it.

    Args:
        dimension: Expected length of a vector; None for that of the first one.

    Raises:
        NodeAnswerError: It is no JSON, has another number of vectors, another dimension, a vector that is not finite or
            not of norm 1, or an impossible number of tokens.
    """
    count = len(texts)
    bounds = embed_bounds(count, dimension)
    data, rows = rows_in(body, bounds, "embeddings", count=count, node=node, disclosure=disclosure)
    tokens = tokens_in(data.get("prompt_eval_count"), texts, node)
    try:
        with np.errstate(all="ignore"):  # a number beyond float32 becomes Inf, and its norm tells
            vectors = np.asarray(rows, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        raise unusable(
            node, "answered vectors of unequal length, or with values that are no numbers."
        ) from None
    if vectors.ndim != 2 or (dimension is not None and vectors.shape[1] != dimension):
        length = vectors.shape[1] if vectors.ndim == 2 else "no"
        raise unusable(
            node, f"answered vectors of {length} dimensions where {dimension or 'some'} are expected."
        )
    # einsum gives the squared norms in one pass; NaN and Inf fail the comparison too.
    with np.errstate(all="ignore"):
        squared = np.einsum("ij,ij->i", vectors, vectors)
        good = np.abs(squared - 1.0) <= 2 * NORM_TOLERANCE
    if not good.all():
        bad = float(squared[int(np.argmin(good))])
        raise unusable(
            node, f"answered a vector of norm {bad**0.5:.3g} (0, NaN and Inf are failed embeddings)."
        )
    return Answer(vectors, tokens)
