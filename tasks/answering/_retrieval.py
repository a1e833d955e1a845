"""Decide whether the found passages can hold an answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import regex

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.nodes import full_name
from prefect_ollama.tasks.answering._facts import missing_names
from prefect_ollama.tasks.answering._words import content_words

WEAK: Final = "The documents have too little in common with the question."

# The embedding model for which the thresholds were measured; others give other cosines.
MEASURED_MODEL: Final = "all-minilm"

# What stands between the words of a file's name.
_NAME_PARTS: Final = regex.compile(r"[_./\\-]+")

# Weight of the best cosine in a strength; the rest is for the question's words.
COSINE_WEIGHT: Final = 0.6

# Least chance at which sentences of the documents are shown without a chat model. `python -m benchmarks.answers` prints
# the curve. The threshold is above one half because documents outside the fit have higher chances: for them the recall
# of refusals is 0.42 at 0.50 and 0.48 at 0.52. More would refuse too many paraphrases.
EXTRACT_THRESHOLD: Final = 0.52

# Threshold for the share of the question's words, used if the model's cosines are not known.
WORDS_THRESHOLD: Final = 0.40

# The chance that passages hold an answer is a logistic model with these weights. They were fitted with an L2 penalty
# of 5 on all labelled questions over `samples/` (`python -m benchmarks.answers --fit`), before names of files counted.
# A new fit differs by less than a fifth.
_BIAS: Final = -2.79
_SHARED_WEIGHT: Final = 1.42
_NEAREST_WEIGHT: Final = 4.50
_APART_WEIGHT: Final = -2.52

# Least strength at which a chat model is asked. This threshold is lower, because the sentences of a chat model are
# checked.
ANSWER_THRESHOLD: Final = 0.25


@dataclass(frozen=True, slots=True)
class Strength:
    """How well passages fit a question.

    Attributes:
        score: 0 to 1: share of the question's words that the passages have, and the best cosine where the model's
            cosines are known; -1 where there is no passage.
        missing: Names, codes and numbers of the question that no passage has.
        measured: Whether the best cosine is in the score.
        shared: Share of the question's words that the passages have.
        apart: Names, codes and numbers of the question that are not in the passage that has the most of them. A
            statement about one name or number may then have nothing to do with the other ones.
    """

    score: float
    missing: tuple[str, ...]
    measured: bool = False
    shared: float = 0.0
    apart: tuple[str, ...] = ()

    def chance(self, nearest: float | None) -> float:
        """Return the chance, 0 to 1, that sentences of the passages answer the question.

        Without known cosines it is the share of words, and 0 if a name, code or number of the question is missing.
        """
        if not self.measured or nearest is None:
            return 0.0 if self.missing else self.score
        weighed = _SHARED_WEIGHT * self.shared + _NEAREST_WEIGHT * nearest + _APART_WEIGHT * bool(self.apart)
        return 1 / (1 + math.exp(-(weighed + _BIAS)))

    def too_weak_to_extract(self, nearest: float | None) -> bool:
        """Return whether sentences of the passages cannot be shown as an answer; `nearest` is as for `chance`."""
        known = self.measured and nearest is not None
        return self.chance(nearest) < (EXTRACT_THRESHOLD if known else WORDS_THRESHOLD)

    @property
    def reason(self) -> str:
        """Why sentences of the passages cannot be shown as an answer, for people."""
        if self.missing:
            return f"No passage has {', '.join(self.missing[:8])}."
        if self.apart:
            lacking = ", ".join(self.apart[:8])
            return f"No passage has all names and numbers of the question; the one with the most lacks {lacking}."
        return WEAK

    @property
    def too_weak_to_ask(self) -> bool:
        """Whether the passages are too weak to ask a chat model.

        A question in another language than the documents shares no word with them, so words alone do not decide.
        """
        return self.score < (ANSWER_THRESHOLD if self.measured else 0.0)


def is_measured(model: str) -> bool:
    """Return whether thresholds of cosines hold for an embedding model."""
    return full_name(model) == full_name(MEASURED_MODEL)


def strength(question: str, hits: Sequence[Hit], model: str) -> Strength:
    """Return how well passages fit a question.

    Args:
        model: The embedding model that found them.
    """
    texts = [" ".join((hit.text, hit.heading, hit.title)) for hit in hits]
    words = content_words(question)
    found = set[str]().union(*map(content_words, texts))
    shared = len(words & found) / len(words) if words else 0.0
    cosines = [hit.vector_score for hit in hits if hit.vector_score is not None]
    measured = bool(cosines) and is_measured(model)
    score = COSINE_WEIGHT * max(cosines) + (1 - COSINE_WEIGHT) * shared if measured else shared
    # The name of a company often stands in the name of its file alone.
    files = [_NAME_PARTS.sub(" ", hit.path) for hit in hits]
    missing = tuple(missing_names(question, [*texts, *dict.fromkeys(files)]))
    alone = (missing_names(question, pair) for pair in zip(texts, files, strict=True))
    apart = min(alone, key=len, default=missing)
    return Strength(score if hits else -1.0, missing, measured, shared, tuple(apart))
