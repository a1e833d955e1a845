"""Read a draft, and check in code what needs no model: passages, quotes, numbers, dates and names."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import regex

from prefect_ollama.blocks.documents import CheckedSentence, Hit, Quote
from prefect_ollama.tasks.answering._facts import unsupported_facts
from prefect_ollama.tasks.answering._prompt import QUOTE_CHARACTERS, TEXT_CHARACTERS
from prefect_ollama.tasks.answering._quote_search import find_quote, normal
from prefect_ollama.tasks.chunking import sentences
from prefect_ollama.tasks.dispatch import whole_items

# References such as [2], [1][2], [^3], 【4】 or (passage 2, page 3), which models add though they were not asked to.
# Beside our own marks they would name other quotes.
_NUMBERS: Final = r"\d+(?:\s*(?:[-–,;&]|,?\s*and)\s*\d+)*"
_NAMED: Final = rf"(?:passages?|sources?|quotes?|findings?)\s*(?:no\.?\s*|#\s*)?{_NUMBERS}"
_PAGES: Final = rf"(?:\s*[,;]\s*(?:p\.|pp\.|pages?)\s*{_NUMBERS})?"
_NUMBERED: Final = r"[\[［【]\^?\d+(?:\s*[-–,;]\s*\d+)*(?:†[^\]］】]*)?[\]］】]"
_MARK: Final = rf"(?:{_NUMBERED}|[\[(［【](?i:(?:see\s+)?{_NAMED}{_PAGES})[\])］】])"
_MARKS: Final = regex.compile(rf"\s*{_MARK}(?:\s*[,;]?\s*{_MARK})*(?=[\s.,;:!?]|$)")
# Words of the same kind at the beginning of a sentence.
_BEGINNING: Final = regex.compile(rf"^(?:According to|As stated in|In|Per)\s+(?:the\s+)?(?i:{_NAMED}),\s*")

# Where a model left out words of a quote. From parts with fewer words a model could put together any statement.
_OMISSION: Final = regex.compile(r"\s*[\[(]?(?:…|\.\s?\.\s?\.)[\])]?\s*")
_MIN_PART_WORDS: Final = 3


class DraftChecker:
    """Reads drafts about the same passages."""

    def __init__(self, question: str, passages: tuple[Hit, ...]) -> None:
        self._passages = passages
        self._ordinary = [question, *(hit.text for hit in passages)]

    def check(self, draft: dict[str, Any]) -> list[CheckedSentence]:
        """Return the sentences of a draft with the quotes that were found; those that fail a check have a reason."""
        found: dict[str, CheckedSentence] = {}
        for item in draft["sentences"]:
            text = without_marks(item["text"])
            quotes, wrong = self._quotes(item["quotes"])
            # A model may put several sentences into one; each has to stand by itself.
            parts = [*sentences(text)] or [""]
            for number, each in enumerate(parts, 1):
                checked = self._checked(each.strip(), quotes, wrong)
                if number == len(parts) and len(item["text"]) >= TEXT_CHARACTERS:
                    # Its end may be missing, and with it what limits it.
                    checked = replace(
                        checked, reason=f"It was cut: its text had {TEXT_CHARACTERS} characters."
                    )
                # Small models repeat themselves. Of equal sentences the first one that passes stays.
                key = normal(checked.text).text.strip(" .")
                if key not in found or (found[key].reason and not checked.reason):
                    found[key] = checked
        return list(found.values())

    def _checked(self, text: str, quotes: tuple[Quote, ...], wrong: str) -> CheckedSentence:
        if not any(each.isalnum() for each in text):
            return CheckedSentence(text, reason="It has no words.")
        if not quotes:
            return CheckedSentence(text, reason=wrong or "It has no quote.")
        missing = unsupported_facts(text, [quote.text for quote in quotes], self._ordinary)
        if missing:
            return CheckedSentence(text, quotes, reason=f"Not in its quotes: {', '.join(missing[:8])}.")
        return CheckedSentence(text, quotes)

    def _quotes(self, given: Sequence[dict[str, Any]]) -> tuple[tuple[Quote, ...], str]:
        """Return the quotes that stand in their passages, and why others do not count."""
        found: list[Quote] = []
        wrong = ""
        for each in given:
            number = each["passage"]
            if not 1 <= number <= len(self._passages):
                wrong = f"There is no passage {number}."
                continue
            places = self._places(each["quote"], number)
            if not places:
                wrong = f"Its quote is not in passage {number}."
                continue
            text = self._passages[number - 1].text
            found += [Quote.of(self._passages, number, *place, context_of(text, *place)) for place in places]
        return tuple(dict.fromkeys(found)), wrong

    def _places(self, quote: str, number: int) -> list[tuple[int, int]]:
        """Return where a quote stands in a passage, or all of its parts around omissions, in their order."""
        passage = normal(self._passages[number - 1].text)
        if len(quote) >= QUOTE_CHARACTERS:
            quote = quote.rpartition(" ")[0]  # the last word may be cut
        if (whole := find_quote(quote, passage)) is not None:
            return [whole]
        parts = [part for part in _OMISSION.split(quote) if part]
        places = [find_quote(part, passage) for part in parts]
        found = [place for place in places if place is not None]
        if (
            len(parts) < 2
            or len(found) < len(parts)
            or any(len(part.split()) < _MIN_PART_WORDS for part in parts)
            or any(before[1] > after[0] for before, after in pairwise(found))
        ):
            return []
        return found


def without_marks(text: str) -> str:
    """Return what a model wrote in one line, without references to passages or findings."""
    plain = " ".join(_MARKS.sub("", text).split())
    rest = _BEGINNING.sub("", plain)
    return rest[:1].upper() + rest[1:] if rest != plain else plain


def context_of(text: str, start: int, end: int) -> str:
    """Return the whole sentences of a text that contain its characters from start to end.

    A quote may leave out the "not" before it; a judge has to see it.
    """
    at, kept = 0, []
    for sentence in sentences(text):
        if at < end and at + len(sentence) > start:
            kept.append(sentence)
        at += len(sentence)
    return "".join(kept).strip()


def complete_sentences(text: str) -> list[str]:
    """Return the sentences that are whole in the beginning of a draft, as it streams in."""
    found = whole_items(text, "sentences")
    return [str(sentence.get("text", "")) for sentence in found if isinstance(sentence, dict)]
