"""`prefect-ollama nodes` and `tune`: look at the nodes, and find out what they need."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.options import ClusterOption, JsonOption, ModelOption, NodesOption, named_nodes


def nodes(
    *,
    node: NodesOption = (),
    cluster: ClusterOption = None,
    model: ModelOption = None,
    json: JsonOption = False,
) -> int:
    """Check the nodes: reachable, model there and loaded, vectors equal."""

    def run() -> int:
        from prefect_ollama import render
        from prefect_ollama.flows import check_nodes

        rows = check_nodes(named_nodes(node, cluster), model)
        show([row.to_dict() for row in rows] if json else render.nodes(rows), json=json)
        return OK if rows and all(row.ok for row in rows) else INCOMPLETE

    return guarded(run, json=json)


def tune(
    *,
    node: NodesOption = (),
    cluster: ClusterOption = None,
    model: ModelOption = None,
    seconds: Annotated[
        float, Parameter(help="Seconds to measure each node.", validator=Number(gte=1, lte=3600))
    ] = 45.0,
    tokens: Annotated[
        int,
        Parameter(help="Tokens of a text: as many as your chunks have.", validator=Number(gte=4, lte=8192)),
    ] = 200,
    longest: Annotated[
        float,
        Parameter(help="Seconds that 95 of 100 requests may take at most.", validator=Number(gt=0, lte=600)),
    ] = 5.0,
    save: Annotated[bool, Parameter(help="Write what is found into the blocks of saved nodes.")] = True,
    json: JsonOption = False,
) -> int:
    """Measure how many requests of what size each node needs, and save it in its block."""

    def run() -> int:
        from prefect_ollama import curves
        from prefect_ollama.flows import tune_nodes

        rows = tune_nodes(
            named_nodes(node, cluster), model, seconds=seconds, tokens=tokens, longest=longest, save=save
        )
        show([row.to_dict() for row in rows] if json else curves.tuning(rows), json=json)
        return OK if rows and all(row.ok for row in rows) else INCOMPLETE

    return guarded(run, json=json)
