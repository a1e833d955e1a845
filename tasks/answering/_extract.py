"""Without a chat model: the sentences of the documents that are nearest to the question, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import CheckedSentence, Hit, Quote
from prefect_ollama.tasks.answering._facts import missing_names
from prefect_ollama.tasks.answering._words import overlap
from prefect_ollama.tasks.chunking import sentences
from prefect_ollama.tasks.dispatch import Dispatcher

VERBATIM: Final = "verbatim"

# Places that are shown at most. Nobody has checked them, so a reader must be able to look at them all.
_SHOWN: Final = 4

# How far below the best score another sentence may be to be shown beside it.
_NEAR_BEST: Final = 0.2

# A sentence that is longer is a list; it is divided at its lines, as tables are.
_SENTENCE_CHARACTERS: Final = 600

# The next sentence is shown too if both together are not longer: an answer often stands behind the sentence with the
# words of the question.
_WITH_NEXT_CHARACTERS: Final = 400

# Words from which a sentence may be shown; shorter ones are headings, labels and numbers of lists.
_LEAST_WORDS: Final = 3

# Weights of a score; the rest is for the words, and for the names and numbers that the question asks for. They were
# chosen on the calibration half of the questions over `samples/`.
_SENTENCE_WEIGHT: Final = 0.25
_NEIGHBOURS_WEIGHT: Final = 0.25
_PASSAGE_WEIGHT: Final = 0.25


@dataclass(frozen=True, slots=True)
class Extract:
    """The sentences of passages that are nearest to a question.

    Attributes:
        sentences: The sentences, the best first, each as its own quote.
        nearest: Best cosine of the question and a sentence with its neighbours; None where nothing was embedded.
    """

    sentences: tuple[CheckedSentence, ...] = ()
    nearest: float | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A sentence in its passage.

    Attributes:
        passage: Number of the passage, from 1.
        start: Where the sentence begins.
        end: Where it ends.
        candidate: Whether it may be shown: it has some words.
    """

    passage: int
    start: int
    end: int
    candidate: bool


def best_sentences(question: str, passages: tuple[Hit, ...], nodes: Dispatcher | None) -> Extract:
    """Return the sentences of passages that are nearest to a question, the best first.

    Args:
        passages: The passages, in reading order.
        nodes: The nodes that embed; None for shared words alone.

    Raises:
        ClusterError: No node works any more.
        TextError: The question cannot be embedded.
    """
    places = [
        _Place(number, start, end, len(text.split()) >= _LEAST_WORDS or not text.isascii())
        for number, hit in enumerate(passages, 1)
        for start, end in _sentences(hit.text)
        for text in (hit.text[start:end],)
    ]
    texts = [passages[each.passage - 1].text[each.start : each.end] for each in places]
    scores, nearest = _scores(question, places, texts, passages, nodes)
    found: list[CheckedSentence] = []
    for at in sorted(range(len(places)), key=lambda each: -scores[each]):
        if not places[at].candidate:
            continue
        if len(found) == _SHOWN or (found and scores[at] < (found[0].score or 0.0) - _NEAR_BEST):
            break
        # Chunks overlap, a document may say a thing twice, and the sentence may be shown behind the one before it.
        if any(" ".join(texts[at].split()) in each.text for each in found):
            continue
        place, end = places[at], places[at].end
        following = places[at + 1] if at + 1 < len(places) else place
        if (
            following.passage == place.passage
            and following.end - place.start <= _WITH_NEXT_CHARACTERS
            and not texts[at].startswith("|")  # a row of a table stands by itself
        ):
            end = following.end
        hit = passages[place.passage - 1]
        start = _without_heading(hit, place)
        quote = Quote.of(passages, place.passage, start, end, hit.text[place.start : end])
        shown = " ".join(quote.text.split())
        found.append(CheckedSentence(shown, (quote,), supported=True, judged_by=VERBATIM, score=scores[at]))
    return Extract(tuple(found), nearest)


def _without_heading(hit: Hit, place: _Place) -> int:
    """Return where a sentence begins behind a heading, which has no full stop and so counts as its part."""
    end = hit.text.rfind("\n\n", place.start, place.end)
    headed = end >= 0 and hit.text[place.start : end].strip() in hit.heading.split(" > ")
    return end + 2 if headed else place.start


def sentence_places(passages: Sequence[Hit]) -> list[tuple[int, int, int]]:
    """Return the sentences of passages: number of the passage, counted from 1, and where they begin and end in it."""
    return [
        (number, start, end)
        for number, hit in enumerate(passages, 1)
        for start, end in _sentences(hit.text)
        if len(hit.text[start:end].split()) >= _LEAST_WORDS or not hit.text[start:end].isascii()
    ]


def _sentences(text: str) -> Sequence[tuple[int, int]]:
    """Return where the sentences of a text begin and end, without the space around them."""
    found: list[tuple[int, int]] = []
    at = 0
    for sentence in sentences(text):
        rows = len(sentence) > _SENTENCE_CHARACTERS or "\n|" in sentence
        parts = sentence.splitlines(keepends=True) if rows else [sentence]
        for part in parts:
            start = at + len(part) - len(part.lstrip())
            end = at + len(part.rstrip())
            if end > start:
                found.append((start, end))
            at += len(part)
    return found


def _scores(
    question: str,
    places: Sequence[_Place],
    texts: Sequence[str],
    passages: Sequence[Hit],
    nodes: Dispatcher | None,
) -> tuple[list[float], float | None]:
    """Return how near sentences are to a question, and the best cosine of it and a sentence with its neighbours."""
    asked_for = len(missing_names(question, ()))
    shared = [
        (
            overlap(question, text)
            + (1 - len(missing_names(question, [text])) / asked_for if asked_for else 0.0)
        )
        / 2
        for text in texts
    ]
    if nodes is None or not texts:
        return shared, None
    asked = nodes.embed([question], kind="query")
    for error in asked.failures.values():
        raise error
    embedded = nodes.embed(texts)
    vectors = np.array(embedded.vectors, np.float32)
    # A sentence that no node can embed counts by its words alone.
    vectors[sorted(embedded.failures)] = 0.0
    own = vectors @ np.asarray(asked.vectors[0])
    around = _with_neighbours(places, vectors) @ np.asarray(asked.vectors[0])
    # A passage that was found by its words alone is as far as the farthest one that was found by its vector.
    known = [hit.vector_score for hit in passages if hit.vector_score is not None]
    whole = [
        min(known, default=0.0) if hit.vector_score is None else hit.vector_score
        for hit in (passages[each.passage - 1] for each in places)
    ]
    rest = 1 - _SENTENCE_WEIGHT - _NEIGHBOURS_WEIGHT - _PASSAGE_WEIGHT
    scores = [
        rest * shared[at]
        + _SENTENCE_WEIGHT * float(own[at])
        + _NEIGHBOURS_WEIGHT * float(around[at])
        + _PASSAGE_WEIGHT * whole[at]
        for at in range(len(places))
    ]
    return scores, max((float(around[at]) for at, each in enumerate(places) if each.candidate), default=None)


def _with_neighbours(places: Sequence[_Place], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each sentence the mean direction of its vector and those of the sentences beside it."""
    sums = vectors.copy()
    same = np.array([a.passage == b.passage for a, b in pairwise(places)], bool)[:, None]
    sums[:-1] += vectors[1:] * same
    sums[1:] += vectors[:-1] * same
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(lengths > 0, lengths, 1.0), np.float32)
