"""Without a chat model: the sentences of the documents that are nearest to the question, word for word."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import CheckedSentence, Hit, Quote
from prefect_ollama.tasks.answering._facts import missing_names
from prefect_ollama.tasks.answering._words import overlap
from prefect_ollama.tasks.chunking import sentences
from prefect_ollama.tasks.dispatch import Dispatcher

VERBATIM: Final = "verbatim"

# Places that are shown at most. They were not checked, so a reader must be able to read all of them.
_SHOWN: Final = 4

# How far below the best score another sentence may be to be shown beside it.
_NEAR_BEST: Final = 0.2

# A sentence that is longer is a list; it is divided at its lines, as tables are.
_SENTENCE_CHARACTERS: Final = 600

# The next sentence is shown too if both together are not longer: an answer often stands behind the sentence with the
# words of the question.
_WITH_NEXT_CHARACTERS: Final = 400

# Words from which a sentence may be shown; shorter ones are headings, labels and numbers of lists.
_MIN_WORDS: Final = 3

# Cells with words or numbers from which a row may be shown.
_MIN_CELLS: Final = 2

# Rows at the head of a table that are quoted with a row.
_MAX_HEADS: Final = 4

_TABLE: Final = regex.compile(r"^\|.*(?:\n\|.*)*\n?", regex.MULTILINE)
_ROW: Final = regex.compile(r"^\|.*$", regex.MULTILINE)
_YEAR: Final = regex.compile(r"\b(?:19|20)\d\d\b")
_NUMBERS: Final = regex.compile(r"[\s\p{Sc}\d()+\-–−.,/%]*\d[\s\p{Sc}\d()+\-–−.,/%]*")

# Weights of a score; the rest is for the words, and for the names and numbers that the question asks for. The weights
# were chosen on the calibration half of the questions over `samples/`.
_SENTENCE_WEIGHT: Final = 0.25
_NEIGHBOURS_WEIGHT: Final = 0.25
_PASSAGE_WEIGHT: Final = 0.25


@dataclass(frozen=True, slots=True)
class Extract:
    """The sentences of passages that are nearest to a question.

    Attributes:
        sentences: The sentences, the best first, each as its own quote.
        nearest: Best cosine of the question and a sentence; None if nothing was embedded.
    """

    sentences: tuple[CheckedSentence, ...] = ()
    nearest: float | None = None


class Place(NamedTuple):
    """Where a sentence begins and ends in its passage, which is counted from 1."""

    passage: int
    start: int
    end: int


def best_sentences(question: str, passages: tuple[Hit, ...], nodes: Dispatcher | None) -> Extract:
    """Return the sentences of passages that are nearest to a question, the best first.

    Args:
        nodes: The nodes that embed; None for shared words alone.
    """
    places = _places(passages)
    texts = [passages[each.passage - 1].text[each.start : each.end] for each in places]
    scores, nearest = _scores(question, places, texts, passages, nodes)
    found: list[CheckedSentence] = []
    for at in sorted(range(len(places)), key=lambda each: -scores[each]):
        if not _has_words(texts[at]):
            continue
        if len(found) == _SHOWN or (found and scores[at] < (found[0].score or 0.0) - _NEAR_BEST):
            break
        # Chunks overlap, a document may say a thing twice, and the sentence may be shown behind the one before it.
        if any(" ".join(texts[at].split()) in each.text for each in found):
            continue
        place, end = places[at], places[at].end
        following = places[at + 1] if at + 1 < len(places) else place
        if (
            following is not place
            and following.passage == place.passage
            and following.end - place.start <= _WITH_NEXT_CHARACTERS
            # A row of a table stands by itself.
            and not any(texts[each].startswith("|") for each in (at, at + 1))
        ):
            end = following.end
        hit = passages[place.passage - 1]
        start = _without_headings(hit, place)
        spans = [(start, end), *_table_heads(hit.text, place.start)]
        quotes = tuple(Quote.of(passages, place.passage, *span, hit.text[slice(*span)]) for span in spans)
        shown = " ".join(quotes[0].text.split())
        found.append(CheckedSentence(shown, quotes, supported=True, judged_by=VERBATIM, score=scores[at]))
    return Extract(tuple(found), nearest)


def _without_headings(hit: Hit, place: Place) -> int:
    """Return where a sentence begins behind headings, which have no full stop and so count as its part."""
    start, headings = place.start, hit.heading.split(" > ")
    while (end := hit.text.find("\n\n", start, place.end)) >= 0 and hit.text[start:end].strip() in headings:
        start = end + 2
    return start


def _table_heads(text: str, start: int) -> list[tuple[int, int]]:
    """Return the rows at the head of the table whose row begins at `start`; of a head, those above it.

    Numbers in a row answer nothing without the years and units above them.
    """
    if not text.startswith("|", start):
        return []
    table = next(found for found in _TABLE.finditer(text) if found.start() <= start < found.end())
    heads: list[tuple[int, int]] = []
    ruled = False
    for row in _ROW.finditer(text, table.start(), start):
        if not any(each.isalnum() for each in row[0]):
            ruled = True
        elif (_names_columns(row[0]) if ruled else _data_of(row[0]) == 0) and len(heads) < _MAX_HEADS:
            heads.append(row.span())
        else:
            break
    return heads


def _names_columns(row: str) -> bool:
    """Return whether a row has years or units, and no numbers: `| in millions | 2022 | 2021 |`."""
    first, *others = _cells(row)
    return _data_of(row) == 0 and (not first or any(_YEAR.search(each) for each in others))


def _data_of(row: str) -> int:
    """Return how many cells behind the first one are numbers, and no years."""
    return sum(bool(_NUMBERS.fullmatch(each)) and not _YEAR.search(each) for each in _cells(row)[1:])


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")]


def _places(passages: Sequence[Hit]) -> list[Place]:
    return [Place(number, *span) for number, hit in enumerate(passages, 1) for span in _sentences(hit.text)]


def _has_words(text: str) -> bool:
    """Return whether a sentence or row says something by itself."""
    if text.startswith("|"):
        filled = sum(any(each.isalnum() for each in cell) for cell in _cells(text))
        return filled >= _MIN_CELLS and not _names_columns(text)
    return len(text.split()) >= _MIN_WORDS or not text.isascii()


def _sentences(text: str) -> Sequence[tuple[int, int]]:
    """Return where the sentences and rows of a text begin and end, without the space around them."""
    found: list[tuple[int, int]] = []
    at = 0

    def add(part: str) -> None:
        nonlocal at
        start, end = at + len(part) - len(part.lstrip()), at + len(part.rstrip())
        if end > start:
            found.append((start, end))
        at += len(part)

    # Tables come first, because a full stop within a cell does not end its row.
    for table in (*_TABLE.finditer(text), None):
        before = list(sentences(text[at : len(text) if table is None else table.start()]))
        for number, sentence in enumerate(before, 1):
            # Beside a table stand titles and labels, a line each, which no full stop divides.
            beside = (at > 0 and number == 1) or (table is not None and number == len(before))
            labels = beside and not sentence.rstrip().endswith((*".!?。！？",))
            lines = labels or len(sentence) > _SENTENCE_CHARACTERS
            for part in sentence.splitlines(keepends=True) if lines else [sentence]:
                add(part)
        for row in table[0].splitlines(keepends=True) if table is not None else ():
            add(row)
    return found


def _scores(
    question: str,
    places: Sequence[Place],
    texts: Sequence[str],
    passages: Sequence[Hit],
    nodes: Dispatcher | None,
) -> tuple[list[float], float | None]:
    """Return how near sentences are to a question, and the best cosine of it and a sentence."""
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
    return scores, max((float(own[at]) for at, text in enumerate(texts) if _has_words(text)), default=None)


def _with_neighbours(places: Sequence[Place], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each sentence the mean direction of its vector and those of the sentences beside it."""
    sums = vectors.copy()
    same = np.array([a.passage == b.passage for a, b in pairwise(places)], bool)[:, None]
    sums[:-1] += vectors[1:] * same
    sums[1:] += vectors[:-1] * same
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.where(lengths > 0, lengths, 1.0), np.float32)
