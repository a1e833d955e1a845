"""Read what a node says of its models: names, capabilities, context and dimension, and the progress of a download.

Sources: https://docs.ollama.com/api/tags, https://docs.ollama.com/api/ps, https://docs.ollama.com/api/pull and
https://docs.ollama.com/api-reference/show-model-details.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from prefect_ollama.blocks.errors import NodeError, NodeFailed, NodeRefused
from prefect_ollama.blocks.nodes._body import member, parse_event, whole
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes.endpoint import LoadedModel, NodeModel
from prefect_ollama.blocks.quantity import quantity

# Bounds of a context in tokens. The shortest of a known model is 77 (CLIP), the longest some ten million.
MIN_CONTEXT: Final = 64
MAX_CONTEXT: Final = 2**24

# Shortest context that a single node may set for all: a shorter one would limit the texts of the other nodes.
MIN_LONE_CONTEXT: Final = 256

# Bounds of a list of models, far above those of real servers, so that a hostile node cannot fill the memory.
MAX_MODELS: Final = 10_000
MAX_NAME_CHARACTERS: Final = 512
_DIGEST: Final = re.compile(r"(sha256:)?[0-9A-Za-z]{1,128}")
# Capabilities that Ollama knows (types/model/capability.go); others are not repeated.
_CAPABILITIES: Final = frozenset(
    {"completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio"}
)
# Parts of names of embedding models, which an error about a missing model lists first.
_EMBEDS: Final = re.compile(r"embed|minilm|bge|e5|gte|nomic|arctic|mxbai|paraphrase", re.IGNORECASE)
# Names of quantizations in GGUF files. Any other value is ignored.
_QUANTIZATION: Final = re.compile(r"B?F(16|32|64)|I?Q[0-9][0-9A-Z_]{0,12}|MXFP4|NVFP4")
# A larger size of a model or of a layer of it is ignored. No model has a petabyte.
_MAX_BYTES: Final = 2**50
# Maximum number of models that an error lists.
_NAMED: Final = 5


def read_models(data: dict[str, Any]) -> dict[str, str]:
    """Return the digests of the models in an answer of `/api/tags`, by name; `ValueError` if it has no such list."""
    entries = member(data, "models", list, [])
    if len(entries) > MAX_MODELS:
        raise ValueError(f"more than {MAX_MODELS:,} models")
    models: dict[str, str] = {}
    for entry in entries:
        if type(entry) is not dict:
            raise ValueError("a list of models that holds something else")
        name = member(entry, "name", str, "") or member(entry, "model", str, "")
        digest = member(entry, "digest", str, "")
        if len(name) > MAX_NAME_CHARACTERS:
            raise ValueError(f"a model name of more than {MAX_NAME_CHARACTERS} characters")
        if digest and not _DIGEST.fullmatch(digest):
            raise ValueError("a digest that is none")
        if name:
            models[name] = digest
    return models


def read_model_info(data: dict[str, Any]) -> NodeModel:
    """Return the model in an answer of `/api/show`, without version and digest.

    Impossible values count as not reported. `ValueError` if it does not have the form of such an answer.
    """
    capabilities = member(data, "capabilities", list, [])
    if not all(type(each) is str for each in capabilities):
        raise ValueError("capabilities that are no texts")
    info = member(data, "model_info", dict, {})
    quantization = member(data, "details", dict, {}).get("quantization_level")
    return NodeModel(
        quantization=quantization
        if type(quantization) is str and _QUANTIZATION.fullmatch(quantization)
        else "",
        context=context_in(_of_architecture(info, "context_length")),
        capabilities=tuple(each for each in capabilities[:64] if each in _CAPABILITIES),
    )


def loaded_models(entries: Sequence[Any]) -> tuple[LoadedModel, ...]:
    """Return the models that `/api/ps` lists, without invalid entries. A value that is not reported is None."""
    return tuple(
        LoadedModel(
            name=_name(entry.get("name")) or _name(entry.get("model")),
            size=whole(entry.get("size"), most=_MAX_BYTES),
            vram=whole(entry.get("size_vram"), most=_MAX_BYTES),
            context=whole(entry.get("context_length"), most=MAX_CONTEXT) or None,
            until=_time(entry.get("expires_at")),
        )
        for entry in entries
        if isinstance(entry, Mapping)
    )


def settle_context(contexts: Mapping[str, int], *, cap: int) -> tuple[int | None, dict[str, NodeError]]:
    """Return the context for all nodes, and the errors of the nodes with a shorter one.

    The run's context is the most frequent one, so that no single node decides for several. Of equally frequent ones it
    is the largest: Ollama limits a context to that of the model, and a small one would shorten the texts of all nodes.

    Args:
        contexts: Context of each node in tokens, by name; 0 if it reports no possible one.
        cap: Largest context to use.

    Returns:
        The context in tokens, None if no node reports one; and the errors by name.
    """
    given = {name: min(context, cap) for name, context in contexts.items() if context}
    # One node of several could be wrong, or hostile.
    alone = len(given) == 1 and len(contexts) > 1
    if not given or (alone and min(given.values()) < MIN_LONE_CONTEXT):
        return None, {}
    votes = Counter(given.values())
    settled = max(votes, key=lambda context: (votes[context], context))
    left_out: dict[str, NodeError] = {
        name: NodeRefused(
            f"says that its model reads {context} tokens; "
            f"{quantity(votes[settled], 'node says', 'nodes say')} {settled}.",
            node=name,
            remedy="Pull the model there again, start its server with a longer context, or set *Context* in the "
            "cluster.",
        )
        for name, context in given.items()
        if context < settled and votes[context] < votes[settled]
    }
    return settled, left_out


def other_models(names: list[str]) -> str:
    """Return a sentence that lists the models of a node, embedding models first; empty without models."""
    if not names:
        return ""
    plain = sorted({name.removesuffix(":latest") for name in names}, key=lambda n: (not _EMBEDS.search(n), n))
    more = f" and {len(plain) - _NAMED} more" if len(plain) > _NAMED else ""
    return f"It has {', '.join(map(repr, plain[:_NAMED]))}{more}."


def context_in(value: Any) -> int:
    """Return a context in tokens; 0 for a value that cannot be a context."""
    tokens = whole(value, most=MAX_CONTEXT)
    return tokens if tokens is not None and tokens >= MIN_CONTEXT else 0


def _of_architecture(info: dict[str, Any], name: str) -> Any:
    """Return a value of the model's architecture, or of the first one with such a value if none is named."""
    own = f"{info.get('general.architecture')}.{name}"
    keys = [key for key in info if key.endswith(f".{name}")]
    return info[own if own in keys else keys[0]] if keys else None


def _name(value: Any) -> str:
    return value[:MAX_NAME_CHARACTERS] if isinstance(value, str) else ""


def _time(value: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(value)
        # Dates at the ends of the calendar have no UTC time.
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


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
    """Return the step of a line. A failure during the download is such a line too, under status 200.

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
    done, total = (whole(event.get(name), most=_MAX_BYTES) or 0 for name in ("completed", "total"))
    return PullStep(what, done, total)
