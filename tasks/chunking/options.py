"""The options of chunking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.errors import ConfigurationError

# The usual length of the context: title, company and period of a report, and the headings above a passage.
CONTEXT_TOKENS: Final = 48


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """Sizes of chunks, in the model's tokens.

    Attributes:
        target_tokens: Approximate mean length of chunks.
        max_tokens: Length that no chunk exceeds, with its overlap; at most the context of the model.
        overlap_tokens: A chunk begins with the last whole sentences of the one before, up to this length, if both are
            in the same section. 0 for none.
        min_tokens: A shorter chunk is joined to the next or previous one, even across a heading if necessary.
        context_tokens: Length, in addition to `max_tokens`, of the context that is embedded before a chunk and not
            shown: title of the document, running heads, headings, title of a table. 0 embeds chunks as they are shown.
    """

    target_tokens: int = 200
    max_tokens: int = 256
    overlap_tokens: int = 30
    min_tokens: int = 40
    context_tokens: int = CONTEXT_TOKENS

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_tokens < self.target_tokens <= self.max_tokens:
            raise ConfigurationError(
                f"ChunkOptions: overlap_tokens {self.overlap_tokens}, target_tokens {self.target_tokens} and "
                f"max_tokens {self.max_tokens} must grow in this order, and not be negative.",
                remedy="For example 30, 200 and 256.",
            )
        if not 0 <= self.min_tokens <= self.target_tokens // 2:
            raise ConfigurationError(
                f"ChunkOptions.min_tokens is {self.min_tokens}, and must lie between 0 and half of "
                f"target_tokens ({self.target_tokens}).",
                remedy="40 suits a target of 200.",
            )
        # The usual context is allowed beside shorter chunks too: who sets only `max_tokens` need not set both.
        most = max(self.max_tokens, CONTEXT_TOKENS)
        if not 0 <= self.context_tokens <= most:
            raise ConfigurationError(
                f"ChunkOptions.context_tokens is {self.context_tokens}, and must lie between 0 and {most}.",
                remedy="48 suits most documents; 0 embeds chunks as they are shown.",
            )
        if self.max_tokens < 16:
            raise ConfigurationError(
                f"ChunkOptions.max_tokens is {self.max_tokens}, and must be at least 16.",
                remedy="Embedding models read 256 tokens and more.",
            )
