"""Estimate the tokens of a text without a tokenizer: character by character, at a rate for each script.

Guarantees: the rates follow from a tokenizer's counts of fixed texts. So the rates are the same in every run and on
every node, with or without the marks at a text's ends. Estimates are rather too high than too low.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from prefect_ollama.tasks.chunking._gauge import GAUGES, ONE_TOKEN

# The version changes with the texts and the scripts, because rates of two versions cannot be compared.
_VERSION: Final = 1

# Other texts of a script take more tokens than the one that was measured; most by less than this.
_MARGIN_FACTOR: Final = 1.2

# Tokens a character, whatever a node says: a tokenizer that knows nothing of a script counts a whole word of it
# as one, and one that takes it byte by byte has four for a character at most.
_LEAST, _MOST = 0.125, 4.0

# The kind of a character, by the first code point of each range. All other characters are "other".
_RANGES: Final = (
    (0x00, "sign"),
    (0xC0, "accented"),
    (0x370, "greek"),
    (0x400, "cyrillic"),
    (0x530, "other"),
    (0x590, "hebrew"),
    (0x600, "arabic"),
    (0x780, "other"),
    (0x900, "indic"),
    (0xE00, "thai"),
    (0xE80, "other"),
    (0x1E00, "accented"),
    (0x1F00, "other"),
    (0x2000, "sign"),
    (0x2070, "other"),
    (0x3000, "han"),
    (0x3040, "kana"),
    (0x3100, "other"),
    (0x3400, "han"),
    (0xA000, "other"),
    (0xAC00, "hangul"),
    (0xD7B0, "other"),
    (0xFF00, "han"),
    (0xFFF0, "other"),
)
_FIRSTS: Final = [first for first, _ in _RANGES]

# Words that make up a third of English prose, and next to nothing of what is written in other languages.
_ENGLISH: Final = frozenset("the of and to that with this from by are it not be or is was".split())  # noqa: SIM905
# With so great a share of these words, a text is English for sure.
_CERTAIN_SHARE: Final = 0.2
_WORD: Final = re.compile(r"[a-z]+")


@cache
def _script(character: str) -> str:
    if character == " ":
        return ""
    if character.isascii() and character.isalnum():
        return "digit" if character.isdigit() else "latin"
    return _RANGES[bisect_right(_FIRSTS, ord(character)) - 1][1]


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Tokens that a model's tokenizer makes of a character, by script.

    Attributes:
        hundredths: Hundredths of a token a character, in the order of `GAUGES`.
        ends: Tokens that mark the ends of a text.
    """

    hundredths: tuple[int, ...]
    ends: int = 2

    def __call__(self, text: str) -> int:
        """Return the tokens of a text, with the marks at its ends; rather too many than too few."""
        rates = dict(zip(GAUGES, self.hundredths, strict=True))
        rates[""] = 0
        rates["latin"] += round((rates["english"] - rates["latin"]) * _english(text))
        total = sum(count * rates[_script(character)] for character, count in Counter(text).items())
        return self.ends + math.ceil(total / 100)

    @property
    def name(self) -> str:
        """The rates as text, from which `named` makes them again."""
        return f"rates{_VERSION}:{self.ends}:{'.'.join(map(str, self.hundredths))}"

    @classmethod
    def named(cls, name: str) -> TokenRates | None:
        """Return the rates of this name, or None if it is not a name of rates."""
        match = re.fullmatch(rf"rates{_VERSION}:(\d+):(\d+(?:\.\d+){{{len(GAUGES) - 1}}})", name)
        return cls(tuple(map(int, match[2].split("."))), int(match[1])) if match else None


def _english(text: str) -> float:
    """Return how certainly a text is English prose, 0 to 1. Capitals are not: they take more tokens."""
    words = _WORD.findall(text)
    share = sum(word in _ENGLISH for word in words) / max(1, len(words))
    return min(1.0, share / _CERTAIN_SHARE)


def gauge_texts() -> list[str]:
    """Return the texts whose tokens a node counts: one text of one token, then those of `GAUGES`."""
    return [ONE_TOKEN, *(sample for samples in GAUGES.values() for sample in samples)]


def measured_rates(counts: Sequence[int]) -> TokenRates | None:
    """Return the rates from a node's counts of `gauge_texts()`; None if the counts are impossible.

    Args:
        counts: Tokens of each text, in their order.
    """
    texts = gauge_texts()
    if any(not 0 < count <= 8 + len(text.encode()) for count, text in zip(counts, texts, strict=True)):
        return None
    ends, found = counts[0] - 1, iter(counts[1:])
    rates: dict[str, float] = {"": 0.0}
    for script, samples in GAUGES.items():
        rate = _LEAST
        for sample in samples:
            # Texts between measured kinds count as their letters: those of English prose as English.
            kinds = Counter(each if each in rates else script for each in map(_script, sample))
            rest = sum(number * rates[kind] for kind, number in kinds.items() if kind != script)
            rate = max(rate, (next(found) - ends - rest) / kinds[script])
        rates[script] = min(rate, _MOST)
    hundredths = tuple(math.ceil(100 * min(_MOST, _MARGIN_FACTOR * rates[script])) for script in GAUGES)
    return TokenRates(hundredths, max(2, ends))


# Tokens of a text for a model whose nodes do not count them: by script, the most that the tokenizers of BERT, Gemma 3,
# Llama 2 and Qwen 3 came to.
estimate_tokens: Final = TokenRates((164, 120, 31, 59, 195, 140, 119, 146, 149, 157, 125, 140, 125, 217, 338))


def at_least(count_tokens: Callable[[str], int]) -> Callable[[str], int]:
    """Return a counter that gives at least a token for eight characters.

    A tokenizer that knows nothing of a script takes a whole sentence of Thai for one unknown word, and chunks would
    be as long as chapters.
    """
    return lambda text: max(count_tokens(text), math.ceil(_LEAST * len(text)))
