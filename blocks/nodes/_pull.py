"""Read the stream with the progress of a model's download.

Source: https://docs.ollama.com/api/pull. A failure during the download is a line of the stream, under status 200.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from prefect_ollama.blocks.errors import NodeFailed
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._payload import member, parse_event, whole

# A larger size of a layer is ignored; no model has a petabyte.
_MOST_BYTES: Final = 2**50

# Patterns of Ollama's messages, and the text to show. Other messages are not shown, because they could hold secrets.
_STEPS: Final = (
    (re.compile(r"pulling manifest"), "pulling manifest"),
    (re.compile(r"pulling [0-9a-f]{6,64}"), "pulling a layer"),
    (re.compile(r"verifying sha256 digest"), "verifying sha256 digest"),
    (re.compile(r"writing manifest"), "writing manifest"),
    (re.compile(r"removing (any )?unused layers"), "removing unused layers"),
    (re.compile(r"success"), "success"),
)


class PullStep(NamedTuple):
    """A line of the stream: the step (`pulling` if unknown), bytes of the layer that are there, and in all."""

    what: str
    done: int
    total: int


def read_step(line: bytes, *, node: str, model: str, disclosure: Disclosure) -> PullStep:
    """Return the step of a line.

    Raises:
        NodeFailed: The download failed.
        ValueError: The line is not one of a pull.
    """
    event = parse_event(line)
    if "error" in event:
        words = disclosure.words(str(event["error"])[:4096])
        raise NodeFailed(
            f"could not pull {model!r}{f' ({words})' if words else ''}.",
            node=node,
            remedy="Check the model's name and the node's connection to its registry.",
        )
    said = member(event, "status", str, "")
    what = next((words for pattern, words in _STEPS if pattern.fullmatch(said)), "pulling")
    done, total = (whole(event.get(name), most=_MOST_BYTES) or 0 for name in ("completed", "total"))
    return PullStep(what, done, total)
