"""Read how a server with `/v1/embeddings` describes itself.

The description is for people only, because model names of these servers do not identify a model.

Each kind of server reports its limits in another place:

| server    | version               | longest text                               | texts in a request      |
|-----------|-----------------------|--------------------------------------------|-------------------------|
| llama.cpp | `/props` `build_info` | `/props` `n_ctx`, `/v1/models` `meta`      |                         |
| vLLM      | `/version`            | `/v1/models` `max_model_len`               |                         |
| TEI       | `/info` `version`     | `/info` `max_input_length`                 | `max_client_batch_size` |

Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/server, https://docs.vllm.ai,
https://huggingface.github.io/text-embeddings-inference.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from prefect_ollama.blocks.errors import NodeAnswerError, NodeError, NodeRefused
from prefect_ollama.blocks.nodes._body import (
    LIST_BOUNDS,
    SHOW_BOUNDS,
    VERSION_BOUNDS,
    Bounds,
    unusable,
    whole,
)
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._model_info import MAX_MODELS, MAX_NAME_CHARACTERS, context_in
from prefect_ollama.blocks.nodes._transport import Transport

# Names of the servers, for reports.
LLAMA_CPP: Final = "llama.cpp"
VLLM: Final = "vLLM"
TEI: Final = "TEI"

# Values of `owned_by` in `/v1/models` that name a server.
_OWNERS: Final = {"llamacpp": LLAMA_CPP, "vllm": VLLM}

# A larger limit of texts is ignored; TEI's default is 32.
_MAX_TEXTS: Final = 1_000_000
# Build numbers and versions. Text of another form is not shown, because a hostile server may send anything.
_VERSION: Final = re.compile(r"[bv]?\d[\w.+-]{0,40}")
# Names of quantizations in `ftype` of llama.cpp: `all F32`, `Q8_0`, `Q4_K - Medium`, `IQ4_XS - 4.25 bpw`.
_QUANTIZATION: Final = re.compile(
    r"(?:\(guessed\) )?(?:all )?(?P<name>B?F(?:16|32|64)|(?:I|T)?Q[0-9][0-9A-Z_]{0,12}|MXFP4|NVFP4)"
    r"(?: - (?P<size>Small|Medium|Large)| mix - [\d.]+ bpw| - [\d.]+ bpw(?: ternary)?| MoE)?"
)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The description of a server. A value is empty, 0 or None if the server does not report it.

    Attributes:
        server: Its name and version ("vLLM 0.9.1").
        models: Names of its models.
        context: Longest text in tokens.
        quantization: Of the model's weights.
        most_texts: Highest number of texts in a request.
        cuts: Whether it cuts texts that are too long; None if unknown.
    """

    server: str = ""
    models: tuple[str, ...] = field(default=())
    context: int = 0
    quantization: str = ""
    most_texts: int = 0
    cuts: bool | None = None


async def ask_models(transport: Transport, *, timeout: float) -> list[Mapping[str, Any]]:
    """Return the entries of `/v1/models` that are objects."""
    data = await transport.object("models", LIST_BOUNDS, timeout=timeout)
    entries = data.get("data")
    if not isinstance(entries, list) or len(entries) > MAX_MODELS:
        raise unusable(
            transport.node.name,
            "answered /v1/models with no list of models.",
            "Check the node's URL: it ends in /v1.",
        )
    return [entry for entry in entries if isinstance(entry, dict)]


async def ask_server(transport: Transport, model: str, *, timeout: float) -> ServerInfo:
    """Ask a server for its name, version, models and limits, in at most two requests of `timeout` seconds each.

    Values that the server does not report stay unknown. `NodeError` if it cannot be reached, or refuses the
    credentials.
    """
    try:
        entries = await ask_models(transport, timeout=timeout)
    except NodeAnswerError:
        entries = []
    except NodeRefused as error:
        if error.status not in (404, 405, 501):
            raise
        entries = []  # a gateway may forward embeddings only
    names = tuple(name for entry in entries if (name := _text(entry.get("id"))))
    entry = next(
        (each for each in entries if each.get("id") == model), entries[0] if len(entries) == 1 else {}
    )
    kind = _OWNERS.get(_text(entry.get("owned_by")).lower(), "")
    meta = _object(entry.get("meta"))
    context = context_in(entry.get("max_model_len")) or context_in(meta.get("n_ctx"))
    info = ServerInfo(kind, names, context, _quantization(_text(meta.get("ftype"))), cuts=None)
    shown = transport.disclosure
    if kind == VLLM:
        found = await _optional(transport, "version", VERSION_BOUNDS, timeout)
        return replace(info, server=_server(shown, VLLM, found.get("version")), cuts=False)
    if kind == LLAMA_CPP:
        found = await _optional(transport, "props", SHOW_BOUNDS, timeout)
        context = context_in(_object(found.get("default_generation_settings")).get("n_ctx")) or info.context
        name = _server(shown, LLAMA_CPP, found.get("build_info"))
        return replace(info, server=name, context=context, cuts=False)
    found = await _optional(transport, "info", VERSION_BOUNDS, timeout)
    if "max_client_batch_size" not in found:
        return info
    auto = found.get("auto_truncate")
    return replace(
        info,
        server=_server(shown, TEI, found.get("version")),
        context=context_in(found.get("max_input_length")) or info.context,
        most_texts=whole(found.get("max_client_batch_size"), most=_MAX_TEXTS) or 0,
        cuts=auto if isinstance(auto, bool) else None,
    )


def _server(disclosure: Disclosure, name: str, version: Any) -> str:
    """Return the name of a server, with its version if it may be shown."""
    given = _VERSION.match(disclosure.version(_text(version)))
    return f"{name} {given[0]}" if given else name


async def _optional(transport: Transport, call: str, bounds: Bounds, timeout: float) -> Mapping[str, Any]:
    """Return the answer of a call outside `/v1`; an empty one if the call fails, because no check needs it."""
    root = transport.node.url.removesuffix("/v1")
    try:
        return await transport.object(f"{root}/{call}", bounds, timeout=timeout)
    except NodeError:
        return {}


def _quantization(ftype: str) -> str:
    """Return the short name of a quantization, as in names of model files (`Q4_K_M`); empty for unknown ones."""
    found = _QUANTIZATION.fullmatch(ftype)
    if found is None:
        return ""
    if " mix " in ftype:  # llama.cpp describes IQ3_M in this way
        return found["name"].replace("_S", "_M")
    size = (found["size"] or "")[:1]
    return found["name"] if not size or found["name"] + size == "Q2_KM" else f"{found['name']}_{size}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_NAME_CHARACTERS else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
