"""The models in a node's memory. A value that the node does not report is None, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect_ollama.blocks.nodes.spec import full_name

# Ollama reports a time further away than this for `keep_alive: -1`.
FOR_EVER = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in a node's memory.

    Attributes:
        name: Its name there, tag included.
        size: Bytes that it takes in all.
        vram: Of these, bytes on GPUs; the rest is in main memory.
        context: Longest text in tokens, as it was loaded.
        until: When it is unloaded if nobody asks for it before.
    """

    name: str
    size: int | None = None
    vram: int | None = None
    context: int | None = None
    until: datetime | None = None

    @property
    def on_gpu(self) -> float | None:
        """Part of it that is on GPUs, 0 to 1."""
        return min(self.vram / self.size, 1.0) if self.size and self.vram is not None else None

    @property
    def stays(self) -> bool:
        """Whether the model stays loaded for ever."""
        return self.until is not None and self.until - datetime.now(UTC) > FOR_EVER


def find_model(models: Sequence[LoadedModel], name: str) -> LoadedModel | None:
    """Return the model of this name, with or without a tag; None if it is not among them."""
    return next((model for model in models if full_name(model.name) == full_name(name)), None)
