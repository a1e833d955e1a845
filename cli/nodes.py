"""`prefect-ollama nodes`: look at the nodes."""

from __future__ import annotations

from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.options import ClusterOption, JsonOption, ModelOption, NodesOption, named_nodes


def nodes(
    *,
    node: NodesOption = (),
    cluster: ClusterOption = None,
    model: ModelOption = None,
    json: JsonOption = False,
) -> int:
    """Check the nodes: reachable, model there, vectors equal."""

    def run() -> int:
        from prefect_ollama import render
        from prefect_ollama.flows import check_nodes

        rows = check_nodes(named_nodes(node, cluster), model)
        show([row.to_dict() for row in rows] if json else render.nodes(rows), json=json)
        return OK if rows and all(row.ok for row in rows) else INCOMPLETE

    return guarded(run, json=json)
