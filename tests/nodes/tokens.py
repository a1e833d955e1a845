"""How a simulated node counts tokens, cuts texts, and what its tokenizer costs."""

from __future__ import annotations

from tests.nodes.settings import Settings
from tests.nodes.vectors import CHARACTERS_A_TOKEN, tokens

MARKS = 2
"""Tokens at the ends of a text, [CLS] and [SEP]."""

SECONDS_A_CUBE = 4.2 / 4000**3
"""Ollama before 0.30 needs 4.2 s for a word of 4,000 letters, and eight times that for twice as many."""

LONG_WORD = 1000


def tokens_of(text: str, settings: Settings) -> int:
    """Tokens of a text."""
    if settings.tokenizer == "words":
        return len(text.split()) + MARKS
    return tokens(text, settings.characters_a_token or CHARACTERS_A_TOKEN)


def cut_to(text: str, most: int, settings: Settings) -> str:
    """The beginning of a text that has at most so many tokens."""
    if tokens_of(text, settings) <= most:
        return text
    if settings.tokenizer == "words":
        return " ".join(text.split()[: most - MARKS])
    return text[: int(most * (settings.characters_a_token or CHARACTERS_A_TOKEN))]


def tokenizer_seconds(texts: list[str], settings: Settings) -> float:
    """What the tokenizer of an old version costs beyond the rates of the settings."""
    if settings.new:
        return 0.0
    words = (word for text in texts if len(text) > LONG_WORD for word in text.split())
    return sum(SECONDS_A_CUBE * len(word) ** 3 for word in words if len(word) > LONG_WORD)
