"""Without a chat model: the sentences of the documents that are nearest to the question, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from prefect_ollama.blocks.documents import CheckedSentence, Hit, Quote
from prefect_ollama.tasks.answering._facts import missing_names
from prefect_ollama.tasks.answering._words import overlap
from prefect_ollama.tasks.chunking import sentences
from prefect_ollama.tasks.dispatch import Dispatcher

VERBATIM: Final = "verbatim"

_SHOWN: Final = 4

# How far below the best sentence's score another one may be to be shown beside it.
_NEAR_BEST: Final = 0.2

# A longer one is a list; it is divided at its lines, as tables are.
_SENTENCE_CHARACTERS: Final = 600

_LEAST_WORDS: Final = 3
_WORDS_WEIGHT: Final = 0.3


def best_sentences(
    question: str, passages: tuple[Hit, ...], nodes: Dispatcher | None
) -> list[CheckedSentence]:
    """Return the sentences of passages that are nearest to a question, the best first, each as its own quote.

    Args:
        question: The question.
        passages: The passages, in reading order.
        nodes: The nodes that embed; None for shared words alone.

    Raises:
        ClusterError: No node works any more.
        TextError: The question cannot be embedded.
    """
    places = sentence_places(passages)
    texts = [passages[number - 1].text[start:end] for number, start, end in places]
    scores = _scores(question, texts, nodes)
    found: list[CheckedSentence] = []
    for at in sorted(range(len(places)), key=lambda each: -scores[each]):
        if len(found) == _SHOWN or (found and scores[at] < (found[0].score or 0.0) - _NEAR_BEST):
            break
        # Chunks overlap, and a document may say a thing twice.
        if any(each.text == " ".join(texts[at].split()) for each in found):
            continue
        quote = Quote.of(passages, *places[at], texts[at])
        found.append(
            CheckedSentence(
                " ".join(texts[at].split()), (quote,), supported=True, judged_by=VERBATIM, score=scores[at]
            )
        )
    return found


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


def _scores(question: str, texts: Sequence[str], nodes: Dispatcher | None) -> list[float]:
    """Return how near texts are to a question: by words, by the names and numbers that it asks for, and by meaning."""
    asked_for = len(missing_names(question, ()))
    shared = [
        overlap(question, text) + (1 - len(missing_names(question, [text])) / asked_for if asked_for else 0.0)
        for text in texts
    ]
    if nodes is None or not texts:
        return shared
    asked = nodes.embed([question], kind="query")
    for error in asked.failures.values():
        raise error
    embedded = nodes.embed(texts)
    cosines = np.asarray(embedded.vectors) @ np.asarray(asked.vectors[0])
    return [
        _WORDS_WEIGHT * each + (0.0 if at in embedded.failures else (1 - _WORDS_WEIGHT) * float(cosines[at]))
        for at, each in enumerate(shared)
    ]
