"""How documents become chunks, and how a table writes that down."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from prefect_ollama.tasks.chunking import ChunkOptions, TokenRates, at_least, estimate_tokens
from prefect_ollama.tasks.parsing import ParseOptions

# Name of the tokenizer of the embedded model, in the identity of a chunker.
MINILM = "all-minilm"
# Prefixes of the options in the identity of a chunker. Tables hold these names, so the names never change.
_TOKENS = "tokens="
_CONTEXT = "context="


@dataclass(frozen=True, slots=True)
class ChunkingPlan:
    """How documents become chunks.

    Attributes:
        parse: Limits for each file, and how it is read.
        chunk: Sizes of chunks.
        tokens: How tokens are counted: "all-minilm" for its own tokenizer, else the name of `TokenRates`.
    """

    parse: ParseOptions
    chunk: ChunkOptions
    tokens: str = estimate_tokens.name

    @property
    def identity(self) -> str:
        """The options that decide where chunks begin and end; a table holds chunks of one identity.

        The chunker's version is not part of the identity: the manifest has it for each document, and `reread` chunks
        older documents again.
        """
        sizes = self.chunk
        # Chunks without context are embedded as those of tables that were made before there was one.
        context = f"{_CONTEXT}{sizes.context_tokens} " if sizes.context_tokens else ""
        return (
            f"target={sizes.target_tokens} max={sizes.max_tokens} "
            f"overlap={sizes.overlap_tokens} min={sizes.min_tokens} {context}{_TOKENS}{self.tokens}"
        )

    @property
    def counter(self) -> Callable[[str], int]:
        """Length of a text in tokens."""
        if (rates := TokenRates.named(self.tokens)) is not None:
            return rates
        from prefect_ollama.blocks.embedded import count_tokens

        return at_least(count_tokens)

    @staticmethod
    def context_in(identity: str) -> int:
        """Return the tokens of context that chunks of this identity are embedded with; 0 for none."""
        found = re.search(rf"\b{_CONTEXT}(\d+)", identity)
        return int(found[1]) if found else 0

    @staticmethod
    def counter_in(identity: str) -> str | None:
        """Return how tokens were counted for the chunks of this identity, None if this version does not know it."""
        name = identity.rpartition(_TOKENS)[2]
        return name if name == MINILM or TokenRates.named(name) is not None else None
