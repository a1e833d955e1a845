"""The options of chunking."""

from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.option import check_bounds, option

# The usual length of the context: title, company and period of a report, and the headings above a passage.
CONTEXT_TOKENS: Final = 48


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """Sizes of chunks, in the model's tokens."""

    target_tokens: int = option(200, "Target tokens", "Mean number of tokens in a chunk.", ge=16)
    max_tokens: int = option(256, "Max tokens", "Highest number of tokens in a chunk.", ge=16)
    overlap_tokens: int = option(
        30,
        "Overlap tokens",
        "Highest number of tokens of the last sentences that the next chunk repeats.",
        ge=0,
    )
    min_tokens: int = option(40, "Min tokens", "A shorter chunk is joined to the next or previous one.", ge=0)
    context_tokens: int = option(
        CONTEXT_TOKENS,
        "Context tokens",
        "Tokens, in addition to the maximum, of the context that is embedded before a chunk and not shown: title of "
        "the document, running heads, headings, title of a table. 0 for none. A table keeps its value until it is "
        "embedded again.",
        ge=0,
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.overlap_tokens < self.target_tokens <= self.max_tokens:
            raise ConfigurationError(
                f"Overlap tokens ({self.overlap_tokens}), target tokens ({self.target_tokens}) and max tokens "
                f"({self.max_tokens}) must be in ascending order.",
                remedy="For example 30, 200 and 256.",
            )
        # A chunk that ends at no heading has half of the target at least, see `_end` in `chunker.py`.
        if self.min_tokens > self.target_tokens // 2:
            raise ConfigurationError(
                f"Min tokens ({self.min_tokens}) must be between 0 and half of the target tokens "
                f"({self.target_tokens}).",
                remedy="For example 40 for a target of 200.",
            )
        # The usual context is allowed beside shorter chunks too: who sets only `max_tokens` need not set both.
        most = max(self.max_tokens, CONTEXT_TOKENS)
        if self.context_tokens > most:
            raise ConfigurationError(
                f"Context tokens ({self.context_tokens}) must be between 0 and {most}.",
                remedy="48 is enough for most documents; 0 embeds chunks as they are shown.",
            )
