"""Counts and encodes text as the embedded model does. Needs the tokenizer's file, not the weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from prefect_ollama.blocks.embedded._weights import TOKENIZER, find_model_file

#: Length of the model's position table, in tokens with [CLS] and [SEP].
CONTEXT = 512

#: Letters of a word that is still cut into pieces; the file says 100, and longer words are unknown to it. Ollama has no
#: such limit. This library's search takes cubic time: 0.1 s for a word of 1,000 letters, 3 s for 4,000.
LONGEST_WORD = 1_000


class WordPiece:
    """The model's WordPiece tokenizer. Thread-safe.

    Args:
        file: Its `tokenizer.json`.
    """

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        # The file asks to cut at 128 tokens and to pad up to 128; neither is wanted.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.model.max_input_chars_per_word = LONGEST_WORD

    def encode(self, text: str) -> list[int]:
        """Token ids of the whole text, with [CLS] in front and [SEP] at the end."""
        return list(self._tokenizer.encode(text).ids)

    def count(self, text: str) -> int:
        """Number of tokens of the whole text, [CLS] and [SEP] included, as `prompt_eval_count` counts.

        A lone surrogate, which no request can carry, counts as a question mark would.
        """
        return len(self._tokenizer.encode(text.encode("utf-8", "replace").decode()))


@cache
def _shared() -> WordPiece:
    return WordPiece(find_model_file(TOKENIZER))


def count_tokens(text: str) -> int:
    """Number of the embedded model's tokens in a text, [CLS] and [SEP] included.

    A text of up to `CONTEXT` tokens is embedded whole. The first call loads the tokenizer.

    Raises:
        ModelFilesError: The tokenizer's file is missing, or is not the one expected.
    """
    return _shared().count(text)
