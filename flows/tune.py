"""Tune the nodes of a cluster: measure the requests at once with which each has its highest rate."""

from dataclasses import replace
from typing import Annotated

from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.errors import ClusterError, NodeError
from prefect_ollama.blocks.nodes import NodeSpec, VerifiedCluster
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import addresses_fit, check_first, flow, refuse_empty_tabs, unless_named
from prefect_ollama.flows.parameters import display_name, shown
from prefect_ollama.tasks.embedding import running_nodes
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.reporting import NodeTuning, tuning_markdown
from prefect_ollama.tasks.tune import save_tuning, tune_node
from prefect_ollama.tasks.tuning import Tuning
from prefect_ollama.tasks.verify_nodes import verify_nodes


@flow(
    name="tune-nodes",
    flow_run_name=unless_named(lambda given: f"tune {display_name(given['cluster'])}"),
    description="Measure the number and size of requests with which each node has its highest rate, and save them.",
)
@check_first(addresses_fit)
def tune_nodes(
    cluster: parameters.Cluster = None,
    model: parameters.Model = None,
    seconds: Annotated[float, shown("Time", "Seconds to measure each node.", ge=1, le=3600)] = 45.0,
    # By default the mean size of chunks that `ChunkOptions` has.
    tokens: Annotated[
        int, shown("Length of texts", "Tokens of a text: as many as your chunks have.", ge=4, le=8192)
    ] = 200,
    longest: Annotated[
        float,
        shown(
            "Longest request",
            "Seconds that 95 of 100 requests may take at most. A question waits for the requests that its node "
            "already has.",
            gt=0,
            le=600,
        ),
    ] = 5.0,
    save: Annotated[bool, shown("Save", "Save the explored limits in the blocks of saved nodes.")] = True,
) -> list[NodeTuning]:
    """Measure the number and size of requests with which each node has its highest rate, one node after the other.

    The result is the smallest numbers with which a node reaches 97 % of its best rate. These numbers become the limits
    in the block of the node, whose other fields stay unchanged. A node that is given by its URL is only measured.

    Returns:
        A row a node.

    Raises:
        ConfigurationError: A parameter or block cannot work.

    Requires: the nodes, without other work during the measurement.

    Examples:
        >>> from prefect_ollama.flows import tune_nodes
        >>> (row,) = tune_nodes("http://gpu-box:11434", seconds=1, save=False)
        >>> row.saved
        False
    """
    refuse_empty_tabs()
    with running_nodes(cluster, model=model) as spec:
        try:
            # Each node is measured by itself, so another digest with equal vectors does not matter.
            verified = verify_nodes(Opaque(replace(spec, accept_other_digest=True)))
        except ClusterError as error:
            # Each node has a row even if no node is tuned, because each has its own cause.
            rows = [NodeTuning.failed(node, error.causes.get(node.name, error)) for node in spec.nodes]
        else:
            # The nodes are measured one after the other, because they may share a machine.
            rows = [_tune_one(node, verified, tokens, seconds, longest, save) for node in spec.nodes]
    create_markdown_artifact(
        tuning_markdown(rows, spec.model.name),
        key="tuning",
        description=f"Nodes tuned for {escape_markdown(spec.model.name)}",
    )
    return rows


def _tune_one(
    node: NodeSpec, verified: VerifiedCluster, tokens: int, seconds: float, longest: float, save: bool
) -> NodeTuning:
    """Tune one node. An error is reported in the node's row, and the other nodes are tuned."""
    if node.name in verified.left_out:
        return NodeTuning.failed(node, verified.left_out[node.name])
    model = Opaque(verified.spec.model)
    try:
        tuning = tune_node(
            Opaque(node), model, name=node.name, tokens=tokens, seconds=seconds, longest=longest
        )
    except NodeError as error:
        return NodeTuning.failed(node, error)
    # A limit that was not explored is not saved: the best measured value may be far below the node's, and would limit
    # it.
    in_flight = tuning.chosen.in_flight if tuning.in_flight_explored else None
    texts = tuning.chosen.texts if tuning.texts_explored else None
    note, some = "", in_flight is not None or texts is not None
    if save and some:
        note = save_tuning(Opaque(node), name=node.name, in_flight=in_flight, texts=texts)
    saved = save and some and not note
    # If nothing could be saved at all, the other note has the reason.
    late = _unexplored_note(node, tuning, save=save and bool(node.block) and not note, seconds=seconds)
    return NodeTuning.of(node, tuning, saved=saved, note=" ".join(part for part in (late, note) if part))


def _unexplored_note(node: NodeSpec, tuning: Tuning, *, save: bool, seconds: float) -> str:
    """Return which limits there was no time to explore, and which stay; empty if the time sufficed."""
    if tuning.explored:
        return ""
    limits = {
        "requests at once": (tuning.in_flight_explored, node.max_in_flight),
        "texts in a request": (tuning.texts_explored, node.max_request_texts),
    }
    left = [what for what, (explored, _) in limits.items() if not explored]
    kept = " and ".join(f"{limits[what][1]} {what}" for what in left)
    stays = f" They were not saved: {kept} stay." if save else ""
    return (
        f"The time of {seconds:g} s was too short to explore the {' and the '.join(left)}. The values shown are the "
        f"best that were measured.{stays} Give it more time."
    )
