"""Look after the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from prefect_ollama.blocks.errors import ClusterError, NodeError
from prefect_ollama.blocks.nodes import LoadedModel, NodeCheck, NodeVerification, find_model
from prefect_ollama.blocks.printable import escape_markdown, printable
from prefect_ollama.flows.base import flow, refuse_empty_tabs, unless_named
from prefect_ollama.flows.parameters import ModelParameter, NodesParameter, display_name
from prefect_ollama.tasks.embedding import running_nodes
from prefect_ollama.tasks.monitoring import settle_nodes
from prefect_ollama.tasks.node_status import read_node_status
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.verify_nodes import verify_nodes

UNKNOWN = "unknown"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class NodeRow:
    """How one node is. What it does not say is empty or None.

    Attributes:
        name: Its name.
        state: "ready", or "left out".
        url: Its address.
        version: Version that it gives of itself.
        digest: SHA-256 of its model.
        models: Names of the models that it has.
        texts_per_second: Rate with the short canary texts, a first hint only; 0 where unknown.
        memory: Bytes that the model takes in its memory, 0 where it is not loaded.
        vram: Of these, bytes on GPUs.
        context: Longest text in tokens, as the model was loaded.
        loaded_until: When it unloads the model if nobody asks for it before, in ISO format; "for ever" if never.
        note: Why it is left out.
    """

    name: str
    state: str
    url: str = ""
    version: str = ""
    digest: str = ""
    models: tuple[str, ...] = ()
    texts_per_second: float = 0.0
    memory: int | None = None
    vram: int | None = None
    context: int | None = None
    loaded_until: str = ""
    note: str = ""

    @classmethod
    def of(
        cls, look: NodeCheck, model: str, verification: NodeVerification | None, cause: Exception | None
    ) -> Self:
        """A row of what a node showed.

        Args:
            look: What it said of itself.
            model: The model that it should serve.
            verification: Its proof, where it may work.
            cause: Why it may not, where it may not.
        """
        found = find_model(look.loaded, model) if look.loaded is not None else None
        return cls(
            name=look.name,
            state="ready" if verification is not None else "left out",
            url=look.url,
            version=look.version or (verification.version if verification is not None else ""),
            digest=verification.digest if verification is not None else "",
            models=look.models,
            texts_per_second=verification.texts_per_second if verification is not None else 0.0,
            memory=None if look.loaded is None else 0 if found is None else found.size,
            vram=None if look.loaded is None else 0 if found is None else found.vram,
            context=found.context if found is not None else None,
            loaded_until=_until(found),
            note="" if verification is not None else str(cause),
        )

    @property
    def ok(self) -> bool:
        """Whether it may work."""
        return self.state == "ready"

    @property
    def in_memory(self) -> str:
        """Where its model is, for people: `44 MiB, all on the GPU`, `not loaded`, `unknown`."""
        if self.memory is None:
            return UNKNOWN
        if not self.memory:
            return "not loaded"
        size = f"{self.memory / MIB:,.0f} MiB"
        if self.vram is None:
            return size
        part = min(self.vram / self.memory, 1.0)
        where = "all on the GPU" if part > 0.995 else f"{part:.0%} on the GPU" if part else "none on a GPU"
        return f"{size}, {where}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "models": list(self.models), "ok": self.ok}


def _name() -> str:
    return printable(f"check {display_name(flow_run.parameters['cluster'])}", longest=200)


@flow(
    name="check-nodes",
    flow_run_name=unless_named(_name),
    description="Check that every node is reachable, has the model, and gives equal vectors; load the model.",
)
def check_nodes(cluster: NodesParameter = None, model: ModelParameter = None) -> list[NodeRow]:
    """Check that every node is reachable, has the model, and gives the same vectors as the others. Loads the model.

    Returns:
        A row a node.

    Raises:
        ConfigurationError: A parameter or block cannot work.

    Requires: nothing but the nodes themselves.
    """
    refuse_empty_tabs()
    with running_nodes(cluster, model=model) as spec:
        verifications: dict[str, NodeVerification] = {}
        causes: dict[str, NodeError] = {}
        reason: Exception | None = None
        try:
            verified = verify_nodes(Opaque(spec), len(spec.nodes))
            verifications, causes = dict(verified.verifications), dict(verified.left_out)
        except ClusterError as error:
            causes, reason = error.causes, error
        looks = read_node_status(Opaque(spec), len(spec.nodes))
    name = spec.model.name
    rows = [
        NodeRow.of(look, name, verifications.get(look.name), causes.get(look.name, reason)) for look in looks
    ]
    settle_nodes([row.name for row in rows if row.ok], {row.name: row.note for row in rows if not row.ok})
    create_markdown_artifact(
        _page(rows, name), key="nodes", description=f"Nodes that serve {escape_markdown(name)}"
    )
    return rows


def _until(found: LoadedModel | None) -> str:
    if found is None or found.until is None:
        return ""
    return "for ever" if found.stays else found.until.isoformat(timespec="seconds")


def _page(rows: Sequence[NodeRow], model: str) -> str:
    """The Markdown of the artifact. A list, because a table of so much is cut off in Prefect's UI."""
    ready = sum(row.ok for row in rows)
    head = f"{ready} of {len(rows)} nodes serve {escape_markdown(model)}."
    return "\n\n".join([head, *map(_listed, rows)]) + "\n"


def _listed(row: NodeRow) -> str:
    rate = f", {row.texts_per_second:.1f} texts/s" if row.texts_per_second else ""
    facts = {
        "in memory": row.in_memory,
        "until": row.loaded_until or UNKNOWN,
        "version": row.version or UNKNOWN,
        "digest": row.digest[:12] or UNKNOWN,
        "models": ", ".join(row.models) or UNKNOWN,
    }
    told = [row.note] if row.note else []
    told += [f"{name}: {value}" for name, value in facts.items()]
    lines = [f"**{escape_markdown(row.name)}**: {row.state}{rate}", ""]
    return "\n".join([*lines, *(f"- {escape_markdown(each)}" for each in told)])
