"""The findings of a part, and those of several parts together: one list of passages, and no finding twice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prefect_ollama.blocks.documents import CheckedSentence, Hit
from prefect_ollama.blocks.quantity import quantity


@dataclass(frozen=True, slots=True)
class Findings:
    """Sentences about the passages of a part, checked.

    Attributes:
        passages: The passages that quotes name.
        supported: Sentences that passed the checks so far.
        dropped: The others, with their reason.
        author: The node that wrote them.
        judged_by: What judged them.
        note: What a reader should know of them.
    """

    passages: tuple[Hit, ...]
    supported: tuple[CheckedSentence, ...] = ()
    dropped: tuple[CheckedSentence, ...] = ()
    author: str = ""
    judged_by: str = ""
    note: str = ""

    @property
    def count(self) -> str:
        """How many there are, in words."""
        return f"{quantity(len(self.supported), 'finding')} kept, {len(self.dropped)} dropped"


@dataclass(frozen=True, slots=True)
class Merged:
    """Findings of several parts, whose quotes name passages of one list.

    Attributes:
        passages: The passages.
        parts: For each part its findings and what was dropped there.
        findings: The different findings of all parts, in order.
    """

    passages: tuple[Hit, ...]
    parts: tuple[Findings, ...]
    findings: tuple[CheckedSentence, ...]


def merged(parts: Sequence[Findings]) -> Merged:
    """Return the findings of all parts. A passage that several parts found is there once."""
    places: dict[str, int] = {}
    passages: list[Hit] = []
    renumbered: list[Findings] = []
    for part in parts:
        numbers = []
        for hit in part.passages:
            # Parts of one question find the same passages; with two numbers a quote of both would count as two.
            if hit.chunk_id not in places:
                passages.append(hit)
                places[hit.chunk_id] = len(passages)
            numbers.append(places[hit.chunk_id])
        renumbered.append(
            replace(
                part,
                supported=tuple(_renumbered(each, numbers) for each in part.supported),
                dropped=tuple(_renumbered(each, numbers) for each in part.dropped),
            )
        )
    different: dict[str, CheckedSentence] = {}
    for each in (sentence for part in renumbered for sentence in part.supported):
        different.setdefault(each.text.casefold(), each)
    return Merged(tuple(passages), tuple(renumbered), tuple(different.values()))


def _renumbered(sentence: CheckedSentence, numbers: Sequence[int]) -> CheckedSentence:
    quotes = tuple(replace(quote, passage=numbers[quote.passage - 1]) for quote in sentence.quotes)
    return replace(sentence, quotes=quotes)
