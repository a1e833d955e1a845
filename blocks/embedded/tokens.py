"""Count and encode text as the embedded model does. Counting needs the tokenizer's file, and not the weights."""

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from prefect_ollama.blocks.embedded._weights import TOKENIZER, find_model_file

# Longest text in tokens, with [CLS] and [SEP]: the length of the model's table of positions.
CONTEXT = 512

# Letters of a word that is still cut into pieces; the file says 100, and longer words are unknown to it. Ollama has no
# such limit. This library's search takes cubic time: 0.1 s for a word of 1,000 letters, 3 s for 4,000.
MAX_WORD_LETTERS = 1_000


class WordPiece:
    """The model's WordPiece tokenizer. Thread-safe.

    Args:
        file: Its `tokenizer.json`.
    """

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        # The file sets a cut at 128 tokens, and padding to 128. Texts must be whole, and padding only costs time.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.model.max_input_chars_per_word = MAX_WORD_LETTERS

    def encode(self, text: str) -> list[int]:
        """Return the token ids of the whole text, with [CLS] before and [SEP] after it."""
        return list(self._tokenizer.encode(text).ids)

    def count(self, text: str) -> int:
        """Return the number of tokens of the whole text, with [CLS] and [SEP], as `prompt_eval_count` counts them.

        A lone surrogate, which no request can contain, counts as a question mark.
        """
        return len(self._tokenizer.encode(text.encode("utf-8", "replace").decode()))


@cache
def _shared() -> WordPiece:
    return WordPiece(find_model_file(TOKENIZER))


def count_tokens(text: str) -> int:
    """Return the number of the embedded model's tokens in a text, with [CLS] and [SEP].

    A text of up to `CONTEXT` tokens is embedded whole. The first call loads the tokenizer.

    Raises:
        ModelFilesError: The tokenizer's file is missing, or has another content than expected.
    """
    return _shared().count(text)
