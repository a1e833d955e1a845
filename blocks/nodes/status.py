"""The status of one node, as one value for blocks, flows, the command line and live pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from prefect_ollama.blocks.nodes.apis import Api, api_title
from prefect_ollama.blocks.nodes.canaries import SHORT
from prefect_ollama.blocks.nodes.comparison import unlike_scripts
from prefect_ollama.blocks.nodes.endpoint import LoadedModel, find_model
from prefect_ollama.blocks.nodes.fingerprint import EMBEDDED
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.nodes.verification import NodeVerification

# Shown for what a node does not report.
UNKNOWN: Final = "unknown"

# Attributes that JSON has under their own names, in this order.
_SHOWN: Final = (
    "name", "state", "ok", "url", "kind", "saved", "version", "digest", "models", "latency", "texts_per_second",
    "memory", "vram", "context", "loaded_until", "note"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The status of a node. A value is empty or None if the node does not report it.

    Attributes:
        name: Its name.
        url: Its base URL.
        ok: Whether it answers; for a node of a cluster, whether it may work there.
        error: Cause and remedy if it is not ok; otherwise empty.
        api: Its API.
        block: Name of its block; empty if it is not saved.
        version: Version of its server.
        models: Names of its models.
        loaded: Models in its memory.
        latency: Seconds of a small request over an open connection.
        model: Name of the model that it should serve; empty if no model was requested.
        digest: SHA-256 of that model's manifest.
        seconds: Seconds of one request with the short canary texts, after the model was loaded.
        chat_model: Name of the chat model with which it answers; that of the cluster if it has none of the cluster's
            chat models; empty if the cluster names none, or the node was not asked.
        chat_error: Why the node cannot chat, and what to do; else empty. Such a node only embeds, so `ok` does
            not count it.
        judge_model: Name of the cluster's judge model, as for the chat model.
        judge_error: Why the node cannot judge with it; else empty.
        other_scripts: Scripts in which its vectors are not the table's or the other nodes', with the cosine of a text.
    """

    name: str
    url: str = ""
    ok: bool = False
    error: str = ""
    api: Api = "ollama"
    block: str = ""
    version: str = ""
    models: tuple[str, ...] = ()
    loaded: tuple[LoadedModel, ...] | None = None
    latency: float | None = None
    model: str = ""
    digest: str = ""
    seconds: float | None = None
    chat_model: str = ""
    chat_error: str = ""
    judge_model: str = ""
    judge_error: str = ""
    other_scripts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, node: NodeSpec, **known: Any) -> Self:
        """Return the status of a node, with the values that are known."""
        return cls(node.name, node.url, api=node.api, block=node.block, **known)

    def verified(self, model: str, verification: NodeVerification) -> Self:
        """Return the status of a node that may serve a model."""
        return replace(
            self,
            ok=True,
            error="",
            model=model,
            version=self.version or verification.version,
            digest=verification.digest,
            seconds=verification.seconds,
            other_scripts=dict(verification.other_scripts),
        )

    @property
    def note(self) -> str:
        """What to know of it: why it is left out, or in which scripts its vectors differ."""
        if self.error or not self.other_scripts:
            return self.error
        return (
            f"Its vectors of {unlike_scripts(self.other_scripts)} differ from the other nodes', because its tokenizer "
            "differs. Use nodes of one kind for documents in these scripts."
        )

    @property
    def kind(self) -> str:
        """Its API or, because that is Ollama's too, `embedded node`; for people."""
        return "embedded node" if self.version.startswith(EMBEDDED) else api_title(self.api)

    @property
    def own_version(self) -> str:
        """The version of its server, without the mark of an embedded node."""
        return self.version.removeprefix(EMBEDDED)

    @property
    def state(self) -> str:
        """`ready` or `left out`."""
        return "ready" if self.ok else "left out"

    @property
    def saved(self) -> bool:
        """Whether the node is saved as a block."""
        return bool(self.block)

    @property
    def texts_per_second(self) -> float:
        """Rate with the short canary texts, as a first estimate; 0 if unknown."""
        return len(SHORT) / self.seconds if self.seconds else 0.0

    @property
    def running(self) -> LoadedModel | None:
        """The model that it should serve, if that is in its memory."""
        return find_model(self.loaded or (), self.model)

    @property
    def memory(self) -> int | None:
        """Bytes of the model in its memory; 0 if it is not loaded."""
        return None if self.loaded is None else self.running.size if self.running else 0

    @property
    def vram(self) -> int | None:
        """Of these, bytes on GPUs."""
        return None if self.loaded is None else self.running.vram if self.running else 0

    @property
    def gpu_memory(self) -> int | None:
        """Bytes of all its models on GPUs."""
        sizes = [each.vram for each in self.loaded or () if each.vram is not None]
        return sum(sizes) if self.loaded is not None and len(sizes) == len(self.loaded) else None

    @property
    def context(self) -> int | None:
        """Longest text in tokens, as the model was loaded."""
        return self.running.context if self.running else None

    @property
    def loaded_until(self) -> str:
        """When it unloads an unused model, in ISO format; `for ever` if never."""
        if self.running is None or self.running.until is None:
            return ""
        return "for ever" if self.running.stays else self.running.until.isoformat(timespec="seconds")

    @property
    def in_memory(self) -> str:
        """Size and place of its model, for people: `44 MiB, all on the GPU`, `not loaded`, `unknown`."""
        if self.memory is None:
            return UNKNOWN
        if self.running is None or not self.memory:
            return "not loaded"
        size, part = f"{self.memory / 2**20:,.0f} MiB", self.running.on_gpu
        if part is None:
            return size
        where = "all on the GPU" if part > 0.995 else f"{part:.0%} on the GPU" if part else "none on a GPU"
        return f"{size}, {where}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {name: getattr(self, name) for name in _SHOWN} | {
            "models": list(self.models),
            "chat_model": self.chat_model,
            "chat_note": self.chat_error,
            "judge_model": self.judge_model,
            "judge_note": self.judge_error,
        }
