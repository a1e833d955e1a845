"""The order to read one file, with its limits. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one file.

    Attributes:
        memory_mb: Memory beyond that of the process at rest, in MiB.
        cpu_seconds: CPU time, in seconds, without extra work.
        wall_seconds: Time by the clock, in seconds, without extra work.
        output_mb: Text with its positions that the file may yield, in MiB.
        allow_partial: Whether the pages that were read before a limit was reached are kept as a document.
    """

    memory_mb: int
    cpu_seconds: float
    wall_seconds: float
    output_mb: int
    allow_partial: bool = False


@dataclass(frozen=True, slots=True)
class ExtraTime:
    """Time for extra work, such as OCR, after all pages were read. If it is stopped, the pages are kept.

    Attributes:
        seconds: Limit of CPU time and of time by the clock, in seconds.
        kind: Kind of the problem of a page for which the time did not suffice.
        reason: The same in a sentence.
        remedy: How to solve the problem.
    """

    seconds: float
    kind: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Order:
    """One file to read.

    Attributes:
        path: The file. The child opens it only if the system cannot send an open file.
        budget: Its limits.
        request: Options for the reader of its format, as values for JSON.
        extra: Time for extra work; None if the format has none.
    """

    path: bytes
    budget: Budget
    request: Mapping[str, Any] = field(default_factory=dict)
    extra: ExtraTime | None = None
