"""The canary texts. Nodes embed them, and the vectors show which model a node has.

Each text is there for a difference that was measured between real servers, or is likely. Tokenizers differ in
typographic marks, accents and symbols: the vectors of `“quoted”` from Ollama 0.24 and 0.33 have a cosine of 0.04.
Runtimes differ in long words and in texts near the context, and quantizations in all texts.

Scripts with vowel signs as marks (Devanagari, Thai) and Hangul are no canaries: llama.cpp and the tokenizers of the
original models split them differently. Their texts are measured with the canaries and compared by script.
Such a difference makes no other model, because a corpus without these scripts has equal vectors: it only makes a
warning. Tokenizers of the BERT family take combining marks off. That of the original models (Hugging Face) takes Hangul
syllables apart and keeps vowel signs with a width of their own; that of llama.cpp leaves the syllables whole and takes
the signs off. Measured on real servers with all-MiniLM-L6-v2 (docs/verification.md).
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
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


# The material of the long canaries. The long texts are generated, and never change, because fingerprints of tables hold
# their vectors.
_SYLLABLES: Final = ("tide", "mar", "lon", "gu", "beth", "ras", "ko", "vin", "dal", "esh")
_LINE: Final = (
    "the ship left port at dawn and the crew saw rain over the hills while a boy sold bread by the bridge"
)
_WORDS: Final = _LINE.split()


def _long_word(letters: int) -> str:
    return "".join(_SYLLABLES[(7 * i + i // 5) % len(_SYLLABLES)] for i in range(letters))[:letters]


def _long_text(words: int) -> str:
    # The order changes from line to line, so a node that cuts the text loses words in an order that is not repeated.
    return " ".join(_WORDS[(i * (1 + i // len(_WORDS) % 7) + i // 50) % len(_WORDS)] for i in range(words))


# Texts with very different vectors in any model, so that exchanged vectors are noticed. These texts check the order of
# answers and a node that comes back, and measure a first rate. The first one is sent with requests while nodes work.
SHORT: Final = (
    "“Café” – the harbour’s log of one tide…",
    "def area(r): return {3.14159 * r**2}  # x >= 0",
    "Zwei Löffel Mehl, ein Ei — für große Kuchen",
    "Interest of 1,250.75 is paid; the principal falls due 2031",
)

# The canaries for a node that reports the build and the version with which the table was made.
QUICK: Final = (
    *SHORT,
    "Каждый прилив записан в журнале. Η θάλασσα είναι ήρεμη σήμερα.",
    "港の記録は毎朝つけられる。潮汐每天记录两次，风平浪静。",
    "البحر هادئ اليوم. הים שקט היום.",
)

# A word of more than 100 letters, at which tokenizers of the BERT family may give up. Ollama 0.24 needs cubic time
# for a word: 4.2 s for 4,000 letters, and 2 ms for this one.
LONG_WORD: Final = _long_word(300)

# Texts near the limit of a context, by the context in tokens that they need. Their words are single tokens of
# common vocabularies. 512 is the shortest context of the models in Ollama's library.
LONG_TEXTS: Final = ((512, _long_text(400)), (256, _long_text(190)))

# Texts that show how scripts are tokenized.
SCRIPT_TEXTS: Final = tuple(script.text for script in SCRIPTS)

# All canary texts. A model with equal vectors for them is the same model, even if it differs in some scripts.
CANARIES: Final = (*QUICK, LONG_WORD, *(text for _, text in LONG_TEXTS))


def full_set(context: int | None) -> tuple[str, ...]:
    """Return the texts to measure for a model with this context, in tokens; None is unknown and taken for 512."""
    known = 512 if context is None else context
    if known < 2 * 128:  # the long word takes some 130 tokens
        return (*QUICK, *SCRIPT_TEXTS)
    return (*QUICK, *SCRIPT_TEXTS, LONG_WORD, next(text for needed, text in LONG_TEXTS if known >= needed))


def long_pair(words: int) -> tuple[str, str]:
    """Return two texts of this many words, which differ in their last quarter only.

    A node that cuts both before that quarter gives them the same vector.
    """
    head = _long_text(words - words // 4)
    tails = (" ".join(["def area return value"] * (words // 16 + 1)), "Mehl Ei Kuchen " * (words // 12 + 1))
    return f"{head} {tails[0]}", f"{head} {tails[1].rstrip()}"


def canary_name(text: str) -> str:
    """Return the name under which a canary's vector is kept: it changes with the text."""
    return blake2b(text.encode(), digest_size=4).hexdigest()
