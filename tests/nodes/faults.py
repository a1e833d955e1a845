"""Every way in which a simulated node can misbehave, by name, and when.

Three kinds:

- `STATES` change the node as a whole from the moment the fault arms: `down` (nothing listens, all connections
  broken), `flap` (down and up by turns of `period` seconds), `slow` (speed times `factor`).
- `STATUSES` answer with an error: at once, or, if a `marker` found a bad text, after the service of the whole
  request, as Ollama does (`when` overrides that).
- the rest spoil an answer of `/api/embed` after its service: its vectors (`VECTORS`) or its way over the
  wire (`DELIVERIES`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import Any, Literal

EOF = 'do embedding request: Post "http://127.0.0.1:1/v1/embeddings": EOF'

# name -> status and Ollama's words; None is an empty body
STATUSES: dict[str, tuple[int, str | None]] = {
    "http400": (400, "invalid input"),
    "http429": (429, "too many requests"),
    "http500": (500, "internal server error"),
    "http502": (502, "bad gateway"),
    "http503": (503, "server busy, please try again.  maximum pending requests exceeded"),
    "eof400": (400, EOF),
    "eof500": (500, EOF),
    "nan400": (400, "embedding contains NaN or Inf values"),
    "too_long": (400, "the input length exceeds the context length"),
    "missing_model": (404, 'model "nomic-embed-text" not found, try pulling it first'),
    "unauthorized": (401, "unauthorized"),
    "forbidden": (403, None),
    "no_embedding": (501, "This server does not support embeddings. Start it with `--embeddings`"),
}
STATES = frozenset({"down", "flap", "slow"})
VECTORS = frozenset(
    {
        "other_weights",  # another model's vectors: `weights`
        "wrong_count",  # `by` vectors more (default -1)
        "wrong_dimension",  # `by` floats more (default -1) in all vectors
        "ragged",  # the same in one vector only
        "nan",  # the word NaN in one vector, which is no JSON, though some read it
        "inf",  # 1e999 in one vector
        "null",  # null for one float
        "null_vector",  # null for one vector
        "zero",  # one vector of zeros
        "unnormalised",  # all vectors of norm 2
        "wrong_order",  # every vector one place on; needs two texts to show
    }
)
DELIVERIES = frozenset(
    {
        "drip",  # a byte every `period` seconds (default 1)
        "reset",  # half the answer, then a TCP reset
        "short_body",  # half the answer, then an orderly end (FIN)
        "half_json",  # a whole answer that holds half a JSON
        "huge",  # `size` bytes (default 256 MiB) of spaces before the JSON
    }
)
STREAMS = frozenset(
    {
        "error_line",  # after some tokens of a chat a line {"error": …}: `message`
        "malformed_line",  # after some tokens a line that is no JSON
        "stall",  # after some tokens nothing more
        "length",  # the answer is cut after some tokens, with `done_reason` length
        "bad_json",  # the answer is no JSON, whatever format was asked for
    }
)
"""These strike `/api/chat` alone; of the deliveries `reset` and `short_body` strike it too, if `paths` says so."""

IMMEDIATE = frozenset(
    {
        "hang",  # never an answer; holds no slot
        "close",  # the connection is closed with no answer (FIN)
        "redirect",  # 307 to `location` (default /login)
        "html",  # 200 with a proxy's page
    }
)
NAMES = STATES | VECTORS | DELIVERIES | STREAMS | IMMEDIATE | STATUSES.keys()


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong and when.

    Attributes:
        name: one of `NAMES`.
        after_requests: embed requests that still go well, counted from when the fault was set.
        after_seconds: that still go well, likewise. Both must have passed.
        duration: seconds from arming until all is well again; None is for good.
        times: requests that it strikes at most; None is no limit.
        probability: that it strikes a request.
        marker: only requests with a text that contains this string: a poison text.
        paths: API paths that it strikes, "*" for all; by default `/api/embed`, and all of them for
            `unauthorized` and `forbidden`. `missing_model` also takes the models off `/api/tags`, `/api/ps`
            and `/api/show`.
        when: of a status or an immediate fault: "before" or "after" the service of the request.
        retry_after: value of the header Retry-After.
        message: in place of Ollama's words.
        period, factor, by, size, location, weights: see the names above.
        after_tokens: tokens of a chat that come before it strikes.
    """

    name: str
    after_requests: int = 0
    after_seconds: float = 0.0
    duration: float | None = None
    times: int | None = None
    probability: float = 1.0
    marker: str | None = None
    paths: tuple[str, ...] = ()
    when: Literal["before", "after"] | None = None
    retry_after: str | None = None
    message: str | None = None
    period: float = 1.0
    factor: float = 0.1
    by: int = -1
    size: int = 256 * 2**20
    location: str = "/login"
    weights: str = "b"
    after_tokens: int = 2

    def __post_init__(self) -> None:
        """Refuse what is no fault.

        Raises:
            ValueError: for an unknown name.
        """
        if self.name not in NAMES:
            raise ValueError(f"no fault {self.name!r}; there are {', '.join(sorted(NAMES))}")

    @classmethod
    def of(cls, value: str | dict[str, Any]) -> Fault:
        """A fault from its name alone or from JSON.

        Raises:
            ValueError: for an unknown name or condition.
        """
        if isinstance(value, str):
            return cls(value)
        if unknown := value.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"no condition {', '.join(sorted(unknown))} of fault {value.get('name')!r}")
        return cls(**{**value, "paths": tuple(value.get("paths", ()))})

    @property
    def served_first(self) -> bool:
        """Whether the request is served before it fails."""
        if self.name in VECTORS | DELIVERIES:
            return True
        return (self.when or ("after" if self.marker is not None else "before")) == "after"

    def strikes_path(self, path: str) -> bool:
        """Whether it concerns calls of this path."""
        if self.name in STREAMS:
            return path == "/api/chat"
        if self.name in VECTORS | DELIVERIES:
            return path in (self.paths or ("/api/embed",))
        paths = self.paths
        if not paths:
            every = self.name in {"unauthorized", "forbidden"}
            models = {"/api/embed", "/api/show"} if self.name == "missing_model" else {"/api/embed"}
            return every or path in models
        return "*" in paths or path in paths


class Armed:
    """A fault that was set on a node, with its memory."""

    def __init__(self, fault: Fault, now: float, dice: random.Random) -> None:
        """Set at loop time `now`."""
        self.fault = fault
        self.set_at = now
        self.armed_at: float | None = None
        self.seen = 0
        self.hits = 0
        self._dice = dice

    def arm(self, now: float) -> bool:
        """Whether its conditions of time and number are met; from the first time on its duration runs."""
        fault = self.fault
        if self.armed_at is None:
            if self.seen < fault.after_requests or now < self.set_at + fault.after_seconds:
                return False
            self.armed_at = now
        return fault.duration is None or now < self.armed_at + fault.duration

    def strikes(self, path: str, texts: list[str], now: float) -> bool:
        """Whether it strikes this request; counts it if so."""
        fault = self.fault
        if fault.name in STATES or not fault.strikes_path(path) or not self.arm(now):
            return False
        if fault.marker is not None and not any(fault.marker in text for text in texts):
            return False
        if fault.times is not None and self.hits >= fault.times:
            return False
        if fault.probability < 1 and self._dice.random() >= fault.probability:
            return False
        self.hits += 1
        return True


def poison(marker: str, mode: Literal["400", "500", "eof", "nan", "too_long"] = "400") -> dict[str, Any]:
    """A fault that fails every request that holds a text with `marker` in it, after serving all of it."""
    names = {"400": "http400", "500": "http500", "eof": "eof400", "nan": "nan400", "too_long": "too_long"}
    return {"name": names[mode], "marker": marker}
