"""How the tokens of chunks are counted: chosen when a table is made, and the same as long as it is there.

A table's chunks keep their text from run to run only if a sentence always has the same length. So what was chosen
stands in the table's identity, with the rates that were measured, and is never measured again for it.
"""

from __future__ import annotations

from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.errors import ModelFilesError
from prefect_ollama.blocks.nodes import VerifiedCluster, counted_tokens, full_name
from prefect_ollama.tasks.chunking import estimate_tokens, gauge_texts, measured_rates
from prefect_ollama.tasks.parse import MINILM, ChunkingPlan
from prefect_ollama.tasks.prefect_state import run_logger


def choose_counter(found: Identity | None, cluster: VerifiedCluster) -> str:
    """Name of how a run counts tokens, for its `ChunkingPlan`.

    A table keeps its own. For a new one it is the model's tokenizer where that is at hand, else rates by script that
    one of the nodes is asked for.

    Args:
        found: Identity of the table, None where there is none yet.
        cluster: The nodes that proved themselves.

    Raises:
        ClusterError: No node answers any more.
        ModelFilesError: The table's chunks were counted with a tokenizer that is not at hand here.
    """
    stored = None if found is None else ChunkingPlan.counter_in(found.chunker)
    if stored == MINILM:
        _look_for_tokenizer()
    if stored is not None:
        return stored
    if full_name(cluster.spec.model.name) == full_name(MINILM):
        try:
            _look_for_tokenizer()
        except ModelFilesError as error:
            run_logger().info("Tokens are estimated: %s", error)
        else:
            return MINILM
    return _measure(cluster)


def _measure(cluster: VerifiedCluster) -> str:
    counted = run_coro_as_sync(counted_tokens(cluster, gauge_texts()))
    if counted is not None and (rates := measured_rates(counted[1])) is not None:
        run_logger().info(
            "Tokens are estimated from what node %r counts in %d short texts: %d for 1000 characters of English.",
            counted[0],
            len(counted[1]),
            rates("the " * 250),
        )
        return rates.name
    run_logger().info(
        "No node says how many tokens a text has: they are estimated on the long side of any model, and chunks come "
        "out shorter than asked for."
    )
    return estimate_tokens.name


def _look_for_tokenizer() -> None:
    from prefect_ollama.blocks.embedded import count_tokens

    count_tokens("")
