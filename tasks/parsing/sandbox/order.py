"""What a child process is asked to do with one file, and what that may cost. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Budget:
    """What one file may cost.

    Attributes:
        memory_mb: Memory beyond that of the process at rest, in MiB.
        cpu_seconds: CPU time, in seconds; extra work has time of its own.
        wall_seconds: Time by the clock, in seconds; extra work has time of its own.
        output_mb: Text with its positions that the file may yield, in MiB.
        allow_partial: Whether pages that were read before a limit was reached make a document.
    """

    memory_mb: int
    cpu_seconds: float
    wall_seconds: float
    output_mb: int
    allow_partial: bool = False


@dataclass(frozen=True, slots=True)
class ExtraTime:
    """Time for work that comes after all pages were read and adds to them: to stop it costs nothing of these.

    Attributes:
        seconds: How much, in seconds of the CPU and by the clock.
        kind: Word for the problem of a page that it did not suffice for.
        reason: The same in a sentence.
        remedy: What to do about it.
    """

    seconds: float
    kind: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Order:
    """One file to read.

    Attributes:
        path: The file. Where a descriptor is sent too, the path only names it.
        budget: What it may cost.
        request: What the reader of its format is told, as JSON can hold it.
        extra: Time for extra work; None where the format has none.
    """

    path: bytes
    budget: Budget
    request: Mapping[str, Any] = field(default_factory=dict)
    extra: ExtraTime | None = None
