"""Look after the nodes of a cluster."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.flows.parameters import ModelParameter, NodesParameter
from prefect_ollama.tasks.parcel import Parcel
from prefect_ollama.tasks.prove import prove_nodes
from prefect_ollama.tasks.serving import serving_cluster


@dataclass(frozen=True, slots=True)
class NodeRow:
    """How one node is.

    Attributes:
        name: Its name.
        state: "ready", or "left out".
        version: Version that it gives of itself.
        digest: SHA-256 of its model.
        texts_per_second: Rate with the short canary texts, a first hint only; 0 where unknown.
        note: Why it is left out.
    """

    name: str
    state: str
    version: str = ""
    digest: str = ""
    texts_per_second: float = 0.0
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether it may work."""
        return self.state == "ready"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "ok": self.ok}


@flow(
    name="check-nodes",
    description="Check that every node is reachable, has the model, and gives equal vectors.",
)
def check_nodes(cluster: NodesParameter = None, model: ModelParameter = None) -> list[NodeRow]:
    """Check that every node is reachable, has the model, and gives the same vectors as the others. Warms the model.

    Returns:
        A row a node.

    Raises:
        ConfigurationError: A parameter or block cannot work.

    Requires: nothing but the nodes themselves.
    """
    with serving_cluster(cluster, model=model) as spec:
        try:
            proven = prove_nodes(Parcel(spec), len(spec.nodes))
        except ClusterError as error:
            causes = error.causes
            rows = [
                NodeRow(node.name, "left out", note=str(causes.get(node.name, error))) for node in spec.nodes
            ]
        else:
            rows = []
            for node in spec.nodes:
                if (proof := proven.proofs.get(node.name)) is not None:
                    rate = len(proof.canaries) / proof.seconds
                    rows.append(NodeRow(node.name, "ready", proof.version, proof.digest, rate))
                else:
                    rows.append(NodeRow(node.name, "left out", note=str(proven.left_out[node.name])))
    table = [{key: value for key, value in row.to_dict().items() if key != "ok"} for row in rows]
    create_table_artifact(table, key="nodes", description=f"Nodes that serve {spec.model.name}")
    return rows
