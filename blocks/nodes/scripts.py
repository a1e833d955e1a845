"""Scripts that servers tokenize in unlike ways, though they have equal weights and agree in all other texts.

Tokenizers of the BERT family take combining marks off. That of the original models (Hugging Face) takes Hangul
syllables apart and keeps vowel signs with a width of their own; that of llama.cpp leaves the syllables whole and takes
the signs off. Measured on real servers with all-MiniLM-L6-v2 (docs/verification.md). Such a difference makes no other
model: a corpus without these scripts has equal vectors. So the texts here are measured with the canaries, but a
difference in them only makes a warning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A script with a text that shows how it is tokenized.

    Attributes:
        name: Its name, for people.
        text: A text in it. It never changes: fingerprints of tables hold its vector.
        letters: Its characters, as a class of a regular expression without the brackets; without marks that other
            scripts have too, such as the danda.
    """

    name: str
    text: str
    letters: str


SCRIPTS: Final = (
    Script(
        "Hangul",
        "오늘 바다는 잔잔하고 조수는 하루에 두 번 온다.",
        r"\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff",
    ),
    Script("Devanagari", "आज समुद्र शांत है और ज्वार दिन में दो बार आता है।", r"\u0900-\u0963\u0966-\u097f"),
    Script("Bengali", "আজ সমুদ্র শান্ত এবং জোয়ার দিনে দুবার আসে।", r"\u0980-\u09ff"),
    Script("Tamil", "கடலில் பாய் மரம், வானில் மேகம், காலை மாலை ஓதம்.", r"\u0b80-\u0bff"),
    Script("Telugu", "ఈరోజు సముద్రం ప్రశాంతంగా ఉంది.", r"\u0c00-\u0c7f"),
    Script("Thai", "วันนี้ทะเลสงบ น้ำขึ้นวันละสองครั้ง", r"\u0e00-\u0e7f"),
)


def scripts_in(text: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return which of the named scripts a text has characters of."""
    return tuple(name for name in names if _letters_of(name).search(text))


def in_words(names: Collection[str]) -> str:
    """Return names of scripts for people: `Hangul, Bengali and Tamil`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


@cache
def _letters_of(name: str) -> re.Pattern[str]:
    letters = next(script.letters for script in SCRIPTS if script.name == name)
    return re.compile(f"[{letters}]")
