"""Check the nodes of a cluster."""

from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.nodes import NodeStatus
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import addresses_fit, check_first, flow, refuse_empty_tabs, unless_named
from prefect_ollama.flows.parameters import display_name
from prefect_ollama.tasks.answering import with_models
from prefect_ollama.tasks.embedding import running_nodes
from prefect_ollama.tasks.monitoring import settle_nodes
from prefect_ollama.tasks.node_status import check_cluster_nodes
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.reporting import section_markdown, status_section


@flow(
    name="check-nodes",
    flow_run_name=unless_named(lambda given: f"check {display_name(given['cluster'])}"),
    description="Check that every node is reachable, has the models, and gives equal vectors; load the model.",
)
@check_first(addresses_fit)
def check_nodes(
    cluster: parameters.Cluster = None,
    model: parameters.Model = None,
    chat_model: parameters.ChatModel = None,
    other_chat_models: parameters.OtherChatModels = parameters.NO_MODELS,
    judge_model: parameters.JudgeModel = None,
) -> list[NodeStatus]:
    """Check that every node is reachable, has the model, and gives the same vectors as the others. Loads the model.

    If the cluster or a parameter names a chat model or a judge model, each row says whether the node has it.

    Returns:
        One row for each node.

    Raises:
        ConfigurationError: A parameter or block cannot work.

    Requires: nothing but the nodes themselves.

    Examples:
        >>> from prefect_ollama.flows import check_nodes
        >>> for row in check_nodes(["http://gpu-box:11434", "http://down-box:11434"]):
        ...     print(row.state, row.version)
        ready 0.33.0
        left out
    """
    refuse_empty_tabs()
    with running_nodes(cluster, model=model) as embedding:
        spec = with_models(embedding, chat_model, judge_model, other_chat_models)
        rows = list(check_cluster_nodes(Opaque(spec)).nodes)
    name = spec.model.name
    # Events say what changed since the last check, so that an automation starts once for each failure.
    settle_nodes([row.name for row in rows if row.ok], {row.name: row.error for row in rows if not row.ok})
    shown, serve = escape_markdown(name), quantity(len(rows), "node serves", "nodes serve")
    create_markdown_artifact(
        f"{sum(row.ok for row in rows)} of {serve} {shown}.\n\n{section_markdown(status_section(rows))}\n",
        key="nodes",
        description=f"Nodes that serve {shown}",
    )
    return rows
