"""The way in which tokens of chunks are counted.

It is chosen when a table is made, and never changes for this table. Chunks only keep their text from run to run if a
sentence always has the same length. So the choice is part of the table's identity, with the measured rates, and the
rates are never measured again for the table.
"""

from __future__ import annotations

from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.errors import ModelFilesError
from prefect_ollama.blocks.nodes import VerifiedCluster, counted_tokens, full_name
from prefect_ollama.tasks.chunking import estimate_tokens, gauge_texts, measured_rates
from prefect_ollama.tasks.planning import MINILM, ChunkingPlan
from prefect_ollama.tasks.prefect_state import run_logger


def choose_counter(found: Identity | None, cluster: VerifiedCluster) -> str:
    """Return the name of the way in which a run counts tokens, for its `ChunkingPlan`.

    An existing table keeps its way of counting. A new table uses the model's tokenizer if it is installed, and
    otherwise rates by script, which are measured with one of the nodes.

    Args:
        found: Identity of the table; None if there is no table yet.
        cluster: The verified nodes.

    Raises:
        ClusterError: No node answers any more.
        ModelFilesError: The table's chunks were counted with a tokenizer that is not installed here.
    """
    stored = None if found is None else ChunkingPlan.counter_in(found.chunker)
    # Before any work, because a parse task would fail on each file without it.
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
        "No node reports how many tokens a text has. So tokens are estimated, rather too many than too few, and chunks "
        "are shorter than requested."
    )
    return estimate_tokens.name


def _look_for_tokenizer() -> None:
    from prefect_ollama.blocks.embedded import count_tokens

    count_tokens("")
