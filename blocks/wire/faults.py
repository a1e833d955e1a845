"""What a node's refusal means: whose fault it is, and whether another try is worth it.

Ollama answers 400 for a crashed runner as well as for a text that is too long, so the status alone does
not tell. The words are those of Ollama's source (server/routes.go, llm/server.go).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson

from prefect_ollama.blocks.errors import (
    InputRejected,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.sealed import hidden

INPUT_WORDS = ("input content cannot be empty", "invalid input")
TOO_LONG_WORDS = ("exceeds the context length", "input length exceeds", "too large to process")


def from_response(node: str, status: int, headers: httpx.Headers, body: bytes, *, model: str) -> NodeError:
    """The error that stands for an answer whose status is not 200."""
    said = message_of(body)
    words = said.lower()
    shown = f"{status} {said!r}" if said else f"{status}"
    if 300 <= status < 400:
        target = hidden(headers.get("location", "elsewhere"))
        return NodeRefused(
            f"redirects to {target!r}.",
            node=node,
            status=status,
            remedy="Put that address into the node's URL.",
        )
    if status in (401, 407) or (status == 403 and said):
        return NodeRefused(
            f"refuses the credentials ({shown}).",
            node=node,
            status=status,
            remedy="Check its token or password.",
        )
    if status == 403:
        return NodeRefused(
            "answers 403 with no word.",
            node=node,
            status=status,
            remedy="Check its token; or Ollama is bound to loopback and refuses a foreign Host header: "
            "set OLLAMA_HOST=0.0.0.0 there.",
        )
    if status == 404 and "model" in words:
        return NodeRefused(
            f"does not have the model {model!r} ({shown}).",
            node=node,
            status=status,
            remedy=f"Run 'ollama pull {model}' there, or allow pulling.",
        )
    if status in (404, 405, 501) or "invalid model name" in words:
        return NodeRefused(
            f"cannot embed with {model!r} ({shown}).",
            node=node,
            status=status,
            remedy="Check the node's URL and path prefix, and that the model is an embedding model.",
        )
    if status in (429, 503):
        return NodeBusy(
            f"is busy ({shown}).",
            node=node,
            status=status,
            retry_after=retry_after(headers.get("retry-after")),
        )
    if status == 413:
        return InputRejected(f"finds the request too large ({shown}).", node=node, status=status)
    if status == 400 and any(part in words for part in TOO_LONG_WORDS):
        return InputRejected(
            "says a text is longer than the model's context.", node=node, status=status, too_long=True
        )
    if status == 400 and any(part in words for part in INPUT_WORDS):
        return InputRejected(f"rejects a text ({shown}).", node=node, status=status)
    return NodeFailed(f"failed ({shown}).", node=node, status=status, remedy="Look into its log.")


def from_exception(node: str, error: Exception) -> NodeError:
    """The error that stands for a request that got no whole answer."""
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        what = (
            "cannot be connected in time"
            if isinstance(error, httpx.ConnectTimeout)
            else "did not answer in time"
        )
    elif isinstance(error, httpx.ConnectError):
        what = f"cannot be connected ({hidden(str(error))})"
    elif isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return NodeRefused(
            f"has a URL that cannot be used ({error}).", node=node, remedy="Correct the node's URL."
        )
    else:
        what = f"broke off the answer ({hidden(str(error)) or type(error).__name__})"
    return NodeUnreachable(f"{what}.", node=node, remedy="Check that it runs and can be reached from here.")


def message_of(body: bytes) -> str:
    """Ollama's own words in an error body, of either API shape; at most 200 characters, and no secret in them."""
    try:
        said = orjson.loads(body)["error"]
        if isinstance(said, dict):
            said = said["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = body.decode("utf-8", "replace")
    return hidden(str(said)).strip()[:200]


def start_of(body: bytes) -> str:
    """How a body begins that is not what was asked for, without secrets."""
    return hidden(body[:4096].decode("utf-8", "replace"))[:60]


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header in either of its forms (RFC 9110, 10.2.3); None where there is none."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
