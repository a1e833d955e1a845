"""Turn a node's error response into an error with its cause, which also shows whether to try again.

Ollama answers 400 both for a crashed runner and for a text that is too long, so the status alone is not enough. The
words are those of Ollama's source (server/routes.go, llm/server.go).
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import httpx
import orjson

from prefect_ollama.blocks.errors import (
    InputRejected,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
)
from prefect_ollama.blocks.nodes._connection_errors import from_proxy
from prefect_ollama.blocks.nodes._dialects import CHECK_ADDRESS, OLLAMA, Dialect
from prefect_ollama.blocks.nodes._disclosure import OPEN, Disclosure
from prefect_ollama.blocks.nodes.proxy import Proxy

_NO_ROOM: Final = "has no room for so many requests at once"

# Refusals of too many texts: of TEI, OpenAI, FastAPI and Gemini, Cohere, Azure, DashScope, Voyage and Triton. Gateways
# repeat them.
_MAX_TEXTS: Final = re.compile(
    r"(?:maximum allowed batch size\D{0,3}|array with maximum length |at most (?=\d+ (?:items|requests|texts))|"
    r"number of texts must be at most |max number of inputs is |batch size is invalid, it should not be larger than |"
    r"batch size limit is |batch-size must be <= )(\d{1,6})\b",
    re.IGNORECASE,
)

# Refusals of too many tokens in all: of Mistral, OpenAI, and Voyage. LocalAI's servers refuse a long message.
_TOO_MANY_TOKENS: Final = re.compile(
    r"split into more batches|too many tokens in batch|tokens per (?:request|submitted batch)|"
    r"received message larger than max",
    re.IGNORECASE,
)

# Refusals of a model's name with 400: of LM Studio; Xinference, llama-server and Llama Stack; Infinity; OpenRouter;
# llama-swap. Only the name may stand between, because a tensor or a device of the model may be "not found" too.
_MISSING_MODEL: Final = re.compile(
    r"\b(?:no|multiple) models (?:are )?loaded|"
    r"\bmodel:? ?(?:uid |name )?(?:(['\"`])[^'\"`]{1,100}\1|[\w./:@-]{0,100}) ?(?:is |was |does |could )?"
    r"not (?:be )?(?:found|exist)(?! to)|could not find model|^invalid model: |not a valid model|real modelid",
    re.IGNORECASE,
)

# Characters in which a message names a model or refuses it. A text that is quoted after them decides nothing.
_MAX_REFUSAL_CHARS: Final = 200

# Answers of nginx, Apache, and servers in Go to a request without TLS.
_TLS: Final = re.compile(r"to (?:an )?https (?:port|server)|ssl-enabled server port", re.IGNORECASE)

# The title of the page of a proxy or gateway.
_TITLE: Final = re.compile(r"<title>\s*([^<\s][^<]*)", re.IGNORECASE)

# Bytes of the longest body that may be an error.
_MAX_ERROR_BYTES: Final = 16_384

# The limit, as the refusals above name it.
_MAX_TOKENS: Final = re.compile(
    r"(?:batch size: |max context size \(|available context size \(|"
    r"(?:context|model|maximum input) (?:length|window) (?:is|of) (?:only )?|must have less than |"
    r"(?:text cannot exceed|exceeding max|allowed token size|input length should be \[1,) )(\d{1,8})\b(?! char)",
    re.IGNORECASE,
)


def from_response(
    node: str,
    status: int,
    headers: httpx.Headers,
    body: bytes,
    *,
    model: str,
    dialect: Dialect = OLLAMA,
    disclosure: Disclosure = OPEN,
    proxy: Proxy | None = None,
) -> NodeError:
    """Return the error for an answer with another status than 200, which may be that of a proxy.

    Args:
        body: The beginning of its body.
    """
    if proxy is not None and (status == 407 or not _is_ollamas(body)):
        return from_proxy(node, status, proxy)
    said = message_of(body)
    words = said.lower()
    page = _TITLE.search(said)
    quoted = disclosure.words(page[1].strip() if page else said)
    shown = f"{status} {quoted!r}" if quoted else f"{status}"
    refused = partial(NodeRefused, node=node, status=status)
    rejected = partial(InputRejected, node=node, status=status)
    if 300 <= status < 400:
        target = disclosure.words(headers.get("location", ""))
        return refused(
            f"redirects to {target!r}." if target else f"redirects to another address ({status}).",
            remedy="Write the address that it redirects to into the node's URL.",
        )
    if status == 400 and _TLS.search(said):
        return refused("speaks TLS at this port.", remedy="Write https:// in place of http:// in its URL.")
    if status == 402:
        return refused(f"wants to be paid first ({shown}).", remedy="Add credit to the account of its key.")
    if status in (401, 407) or (status == 403 and said):
        return refused(f"refuses the credentials ({shown}).", remedy=dialect.credentials_remedy)
    if status == 403:
        return refused("answers 403 without a message.", remedy=dialect.forbidden_remedy)
    if (status == 404 and "model" in words) or (
        status == 400 and _MISSING_MODEL.search(said[:_MAX_REFUSAL_CHARS])
    ):
        remedy = dialect.no_model_remedy.format(model=model)
        return refused(f"does not have the model {model!r} ({shown}).", remedy=remedy)
    plain = re.sub("[`'\"]", "", words[:_MAX_REFUSAL_CHARS])
    wrong_model = any(part in plain for part in dialect.wrong_model_words)
    if wrong_model or status in (404, 405, 501) or "invalid model name" in words:
        remedy = dialect.wrong_model_remedy if wrong_model else CHECK_ADDRESS
        if status == 404 and dialect is OLLAMA:
            remedy += " The URL of a server of the OpenAI API ends in /v1. Ollama must be 0.3 or newer."
        return refused(
            f"cannot {dialect.use} with {repr(model) if model else 'its model'} ({shown}).",
            remedy=remedy.format(kind=dialect.model_kind),
        )
    # OpenAI answers 429 to a request with more tokens than its limit for a minute.
    too_large = status == 413 or (status == 429 and "request too large" in words)
    if status in (429, 503) and not too_large:
        wait = retry_after(headers.get("retry-after"))
        return NodeBusy(f"is busy ({shown}).", node=node, status=status, retry_after=wait)
    if status >= 400 and any(part in words for part in dialect.no_room_words):
        return NodeFailed(
            f"{_NO_ROOM} ({shown}).",
            node=node,
            status=status,
            remedy="Start its server with a context (llama-server: --ctx-size) of the longest text times the texts "
            "that it takes at once (--parallel, 4 by default).",
        )
    blames_input = status in dialect.input_statuses
    if blames_input and any(part in words for part in dialect.too_long_words):
        limit = _MAX_TOKENS.search(said)
        most = int(limit[1]) if limit else None
        return rejected(
            "says that a text is longer than the model's context.", too_long=True, most_tokens=most
        )
    too_many = _MAX_TEXTS.search(said)
    if too_large or (blames_input and (too_many or _TOO_MANY_TOKENS.search(said))):
        most = int(too_many[1]) or None if too_many else None
        return rejected(f"finds the request too large ({shown}).", most_texts=most)
    if blames_input and any(part in words for part in dialect.input_words):
        return rejected(f"rejects a text ({shown}).")
    return NodeFailed(f"failed ({shown}).", node=node, status=status, remedy="Read its log.")


def no_room(error: NodeError) -> bool:
    """Return whether a node refused a request only because of the other requests that it has at the same time."""
    return _NO_ROOM in error.cause


def _is_ollamas(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict | list)
    except orjson.JSONDecodeError:
        return False


def message_of(body: bytes) -> str:
    """Return the message of an error body. The message may hold secrets, so it must not be shown.

    Ollama and TEI give `error`, OpenAI and llama-server `error.message`, older vLLM and TEI's `/v1` `message`, servers
    on FastAPI `detail`, and Gemini a list of one.
    """
    try:
        said = orjson.loads(body)
        said = said[0] if isinstance(said, list) and len(said) == 1 else said
        for name in ("error", "message", "detail"):
            said = said.get(name, said) if isinstance(said, dict) else said
    except orjson.JSONDecodeError:
        said = body.decode("utf-8", "replace")
    return str(said)[:4096].strip()


def status_of_error(body: bytes) -> int:
    """Return the status of an error that came with status 200; 0 if it is none.

    OpenRouter writes it into the error. LM Studio gives none, also for a path that it does not have.
    """
    # Each answer comes here. One with vectors has no such word, and is read later.
    if len(body) > _MAX_ERROR_BYTES or b'"error"' not in body:
        return 0
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0
    if (
        not isinstance(said, dict)
        or not said.get("error")
        or any(v and isinstance(v, list) for v in said.values())
    ):
        return 0
    error = said["error"]
    code = str(error.get("code")) if isinstance(error, dict) else ""
    return int(code) if re.fullmatch("[45][0-9]{2}", code) else 404 if b"Unexpected endpoint" in body else 500


def start_of(body: bytes, disclosure: Disclosure) -> str:
    """Return the beginning of an unexpected body for an error, after a colon; empty if it must not be shown."""
    if disclosure.secrets or not body.strip():
        return ""
    return f": {disclosure.words(body[:4096].decode('utf-8', 'replace'))[:60]!r}"


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header in either of its forms (RFC 9110, 10.2.3); None without one."""
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
