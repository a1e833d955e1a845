"""The tasks that tune a node and save the result."""

from prefect import task
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import ModelSpec, NodeSpec, open_endpoint
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.saved_nodes import save_limits
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, run_logger
from prefect_ollama.tasks.tuning import Load, Point, Tuning, search, texts_of

# Different texts that are sent in turn. They are more than a node has in flight, so no text is in flight twice.
TEXTS = 1024


@task(name="tune node", task_run_name="tune {name}", **UNCACHED)
def tune_node(
    node: Opaque[NodeSpec],
    model: Opaque[ModelSpec],
    *,
    name: str,
    tokens: int,
    seconds: float,
    longest: float,
) -> Tuning:
    """Measure a node, and find the smallest setting with which it reaches nearly its full rate.

    Args:
        node: The node, which is verified.
        model: The model with its final context.
        name: Name of the node, for the name of the task run.
        tokens: Length of a text.
        seconds: Time for the measurements.
        longest: Maximum seconds for 95 of 100 requests.

    Raises:
        NodeError: The node failed on a single text.
    """
    logger = run_logger()
    # With the prefix, because that is what a run sends: it makes each text longer.
    spec, prefix = node.content, model.content.document_prefix

    async def tune() -> Tuning:
        async with open_endpoint(spec, model.content) as endpoint:
            load = Load(
                endpoint, [prefix + text for text in texts_of(tokens, TEXTS)], timeout=spec.read_timeout
            )

            async def measure(in_flight: int, texts: int, seconds: float) -> Point:
                point = await load(in_flight, texts, seconds)
                # Each measurement is logged at once, because the search takes minutes and shows nothing else.
                logger.info(
                    "%s: %s of %s in flight: %.1f texts/s, p95 %.2f s",
                    name,
                    quantity(in_flight, "request"),
                    quantity(texts, "text"),
                    point.texts_per_second,
                    point.p95,
                )
                return point

            return await search(measure, seconds=seconds, longest=longest)

    tuned: Tuning = run_coro_as_sync(tune())
    return tuned


@task(name="save limits", task_run_name="save limits of {name}", **UNCACHED)
def save_tuning(node: Opaque[NodeSpec], *, name: str, in_flight: int | None, texts: int | None) -> str:
    """Save the measured limits in the node's block.

    Args:
        name: Name of the node, for the name of the task run.
        in_flight: Highest number of requests in flight; None keeps the present one.
        texts: Highest number of texts in a request; None keeps the present one.

    Returns:
        Why they could not be saved; empty if they were.
    """
    logger = run_logger()
    try:
        save_limits(node.content, max_in_flight=in_flight, max_request_texts=texts)
    except ConfigurationError as error:
        # The measurement took minutes, so the report shows it with the reason, and the run does not fail.
        logger.warning("%s", error)
        return str(error)
    limits = {"requests at once": in_flight, "texts in a request": texts}
    logger.info(
        "%s: saved %s",
        name,
        " and ".join(f"{count} {what}" for what, count in limits.items() if count is not None),
    )
    return ""
