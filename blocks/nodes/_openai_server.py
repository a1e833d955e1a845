"""Read the description of a server with `/v1/embeddings`. It only explains, because names there identify no model.

Each kind of server reports its limits in another place:

| server    | version               | longest text                               | texts in a request      |
|-----------|-----------------------|--------------------------------------------|-------------------------|
| llama.cpp | `/props` `build_info` | `/props` `n_ctx`, `/v1/models` `meta`      |                         |
| vLLM      | `/version`            | `/v1/models` `max_model_len`               |                         |
| TEI       | `/info` `version`     | `/info` `max_input_length`                 | `max_client_batch_size` |

Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/server, https://docs.vllm.ai,
https://huggingface.github.io/text-embeddings-inference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prefect_ollama.blocks.errors import NodeAnswerError, NodeError, NodeRefused
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._model_info import LEAST_CONTEXT, MOST_CONTEXT
from prefect_ollama.blocks.nodes._payload import LIST_BOUNDS, SHOW_BOUNDS, VERSION_BOUNDS, Bounds, whole
from prefect_ollama.blocks.nodes._transport import Transport

# Names of the servers, for reports.
LLAMA_CPP: Final = "llama.cpp"
VLLM: Final = "vLLM"
TEI: Final = "TEI"

# `owned_by` of a model in `/v1/models`, where it names the server.
_OWNERS: Final = {"llamacpp": LLAMA_CPP, "vllm": VLLM}

# Bounds of values, far above those of real servers, so that a hostile server cannot fill the memory.
_LONGEST_NAME: Final = 512
_MOST_MODELS: Final = 10_000
_MOST_TEXTS: Final = 1_000_000
# Build numbers and versions only: other words could be anything.
_VERSION: Final = re.compile(r"[bv]?\d[\w.+-]{0,40}")
# The kinds of weights as llama.cpp words them in `ftype`: `all F32`, `Q8_0`, `Q4_K - Medium`, `IQ4_XS - 4.25 bpw`.
_QUANTIZATION: Final = re.compile(
    r"(?:\(guessed\) )?(?:all )?(?P<name>B?F(?:16|32|64)|(?:I|T)?Q[0-9][0-9A-Z_]{0,12}|MXFP4|NVFP4)"
    r"(?: - (?P<size>Small|Medium|Large)| mix - [\d.]+ bpw| - [\d.]+ bpw(?: ternary)?| MoE)?"
)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says. A value is empty, 0 or None where it does not say.

    Attributes:
        server: Its name and version ("vLLM 0.9.1").
        models: Names of its models.
        context: Longest text in tokens.
        quantization: Of the model's weights.
        most_texts: Texts that it takes in a request.
        cuts: Whether it cuts texts that are too long; None where that is not known.
    """

    server: str = ""
    models: tuple[str, ...] = field(default=())
    context: int = 0
    quantization: str = ""
    most_texts: int = 0
    cuts: bool | None = None


async def ask_models(transport: Transport, *, timeout: float) -> list[Mapping[str, Any]]:
    """Return the entries of `/v1/models`; those that are no objects are left out.

    Raises:
        NodeError: It cannot be reached, refuses, or answers something else.
    """
    data = await transport.object("GET", "models", LIST_BOUNDS, timeout=timeout)
    entries = data.get("data")
    if not isinstance(entries, list) or len(entries) > _MOST_MODELS:
        raise NodeAnswerError(
            "answered /v1/models with no list of models.",
            node=transport.node.name,
            status=200,
            remedy="Check the node's URL: it ends in /v1.",
        )
    return [entry for entry in entries if isinstance(entry, dict)]


async def ask_server(transport: Transport, model: str, *, timeout: float) -> ServerInfo:
    """Ask a server what it is. What it does not answer stays unknown.

    Args:
        transport: The way to it.
        model: Name of the model.
        timeout: Seconds for each of at most three requests.

    Raises:
        NodeError: It cannot be reached, or refuses the credentials.
    """
    try:
        entries = await ask_models(transport, timeout=timeout)
    except NodeAnswerError:
        entries = []
    except NodeRefused as error:
        if error.status not in (404, 405, 501):
            raise
        entries = []  # a gateway may let embeddings alone through
    names = tuple(name for entry in entries if (name := _text(entry.get("id"))))
    entry = next(
        (each for each in entries if each.get("id") == model), entries[0] if len(entries) == 1 else {}
    )
    kind = _OWNERS.get(_text(entry.get("owned_by")).lower(), "")
    meta = _object(entry.get("meta"))
    context = _context(entry.get("max_model_len")) or _context(meta.get("n_ctx"))
    info = ServerInfo(kind, names, context, _quantization(_text(meta.get("ftype"))), cuts=None)
    if kind == VLLM:
        version = await _optional(transport, "version", VERSION_BOUNDS, timeout)
        return _with(transport.disclosure, info, VLLM, version.get("version"), cuts=False)
    if kind == LLAMA_CPP:
        props = await _optional(transport, "props", SHOW_BOUNDS, timeout)
        settings = _object(props.get("default_generation_settings"))
        return _with(
            transport.disclosure,
            info,
            LLAMA_CPP,
            props.get("build_info"),
            cuts=False,
            context=_context(settings.get("n_ctx")),
        )
    found = await _optional(transport, "info", VERSION_BOUNDS, timeout)
    if "max_client_batch_size" not in found:
        return info
    auto = found.get("auto_truncate")
    return _with(
        transport.disclosure,
        info,
        TEI,
        found.get("version"),
        context=_context(found.get("max_input_length")),
        most_texts=whole(found.get("max_client_batch_size"), most=_MOST_TEXTS) or 0,
        cuts=auto if isinstance(auto, bool) else None,
    )


def _with(
    disclosure: Disclosure,
    info: ServerInfo,
    server: str,
    version: Any,
    *,
    cuts: bool | None,
    context: int = 0,
    most_texts: int = 0,
) -> ServerInfo:
    given = _VERSION.match(disclosure.version(_text(version)))
    shown = f"{server} {given[0]}" if given else server
    return ServerInfo(shown, info.models, context or info.context, info.quantization, most_texts, cuts)


async def _optional(transport: Transport, call: str, bounds: Bounds, timeout: float) -> Mapping[str, Any]:
    """Return what a call beside `/v1` answers, nothing where it fails: it only explains."""
    root = transport.node.url.removesuffix("/v1")
    try:
        return await transport.object("GET", f"{root}/{call}", bounds, timeout=timeout)
    except NodeError:
        return {}


def _quantization(ftype: str) -> str:
    """Return the short name of a kind of weights, as names of model files have it (`Q4_K_M`); empty for others."""
    found = _QUANTIZATION.fullmatch(ftype)
    if found is None:
        return ""
    if " mix " in ftype:  # llama.cpp words IQ3_M so
        return found["name"].replace("_S", "_M")
    size = (found["size"] or "")[:1]
    return found["name"] if not size or found["name"] + size == "Q2_KM" else f"{found['name']}_{size}"


def _context(value: Any) -> int:
    tokens = whole(value, most=MOST_CONTEXT)
    return tokens if tokens is not None and tokens >= LEAST_CONTEXT else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
