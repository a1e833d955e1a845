"""Let the nodes prove themselves before a run, and hold them against the table that is there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Identity, Store
from prefect_ollama.blocks.wire.fingerprint import cosine, digits, least_cosine
from prefect_ollama.blocks.wire.proof import ProvenCluster, prove_cluster
from prefect_ollama.blocks.wire.spec import ClusterSpec, full_name
from prefect_ollama.tasks.dispatch import Dispatcher, divide_long_words
from prefect_ollama.tasks.log import run_logger
from prefect_ollama.tasks.parcel import Parcel

ROWS_COMPARED = 24
"""Rows of a table without a fingerprint that an ingest embeds again: among 96 real chunks 44 had other vectors by
another version of Ollama, and half of these rows are chosen among those that a version can change."""

ROWS_COMPARED_BY_SEARCH = 8
"""The same for a question, which waits for it."""


@task(name="prove nodes", task_run_name="prove {count} nodes", cache_policy=NO_CACHE, persist_result=False)
def prove_nodes(
    cluster: Parcel[ClusterSpec], count: int, table: Identity | None = None, *, quick: bool = False
) -> ProvenCluster:
    """Let every node of a cluster prove itself; those that can't are named in the log and left out.

    Args:
        cluster: The nodes.
        count: How many they are, for the run's name.
        table: What the vectors of the table are; nodes that give these are preferred.
        quick: Whether a part of the canaries is enough for nodes that name the table's digest and version.

    Raises:
        ClusterError: No node can do the work.
    """
    logger = run_logger()

    def pulling(node: str, what: str, done: int, total: int) -> None:
        share = f" {100 * done // total} %" if total else ""
        logger.info("Node %r: %s%s", node, what, share)

    known = None if table is None else table.fingerprint
    proven: ProvenCluster = run_coro_as_sync(
        prove_cluster(cluster.content, reference=known, quick=quick, progress=pulling)
    )
    for error in proven.left_out.values():
        logger.warning("Left out for now: %s", error)
    logger.info(
        "%d of %d nodes serve %r (digest %s, %d dimensions)",
        len(proven.proofs),
        count,
        cluster.content.model.name,
        proven.reference.digest[:12] or "unknown",
        proven.reference.dimension,
    )
    return proven


@dataclass(frozen=True, slots=True)
class RowsCompared:
    """How rows of a table compare with what the nodes give for their texts.

    Attributes:
        count: Rows that were embedded again.
        wrong: Of these, how many the nodes give another vector.
        cosine: The least.
        least: What it has to be at least.
        only_marked: Whether all wrong ones hold letters or marks that are not ASCII.
    """

    count: int
    wrong: int = 0
    cosine: float = 1.0
    least: float = 0.0
    only_marked: bool = False


def compare_rows(store: Store, dispatcher: Dispatcher, count: int) -> RowsCompared:
    """Embed some of a table's rows again, and compare.

    So a table that has no fingerprint yet shows whether the nodes give its vectors.

    Raises:
        ClusterError: No node works any more.
    """
    reference = dispatcher.cluster.reference
    # Earlier versions did not divide long words, so their vectors of such texts say nothing of the model.
    rows = [(text, vector) for text, vector in store.sample(count) if divide_long_words(text) == text]
    least = least_cosine(reference, replace(reference, digest=store.identity.digest, version=""))
    if rows and len(rows[0][1]) != reference.dimension:
        return RowsCompared(len(rows), len(rows), 0.0, least)
    embedded = dispatcher.embed([text for text, _ in rows])
    cosines = {
        text: cosine(stored, embedded.vectors[at])
        for at, (text, stored) in enumerate(rows)
        if at not in embedded.failures
    }
    wrong = [text for text, value in cosines.items() if not value >= least]
    return RowsCompared(
        count=len(cosines),
        wrong=len(wrong),
        cosine=min(cosines.values(), default=1.0),
        least=least,
        only_marked=bool(wrong) and not any(text.isascii() for text in wrong),
    )


def identity_for(store: Store, wanted: Identity, proven: ProvenCluster) -> Identity:
    """Return the identity with which a run goes on with a table, if the nodes give the table's vectors.

    Digest and name of the model are then the table's: other ones may give the same vectors. Where the nodes give other
    vectors the identity is returned as it is, and opening the table with it says so.

    Args:
        store: The table.
        wanted: What the run makes: the nodes' model, prompts and chunker.
        proven: The nodes.

    Raises:
        TableError: The table has no fingerprint, and the nodes give other vectors for its rows.
        ClusterError: No node works any more.
    """
    found = store.identity
    known_as = replace(wanted, digest=found.digest, model=found.model)
    if found.fingerprint is not None and found.fingerprint.comparable(proven.reference):
        return known_as if found.fingerprint == wanted.fingerprint else wanted
    if found.differences(known_as):
        return wanted
    with Dispatcher(proven) as dispatcher:
        rows = compare_rows(store, dispatcher, ROWS_COMPARED)
    if rows.wrong:
        raise other_vectors(store, proven, rows)
    run_logger().info(
        "The nodes give the vectors of %d rows of the table, which has no fingerprint of its model yet: it gets one.",
        rows.count,
    )
    return known_as


def other_vectors(
    store: Store, cluster: ProvenCluster, rows: RowsCompared, *, state: str = "The table was not changed."
) -> TableError:
    """Return the error where the nodes give other vectors for rows of a table than are stored."""
    found, reference = store.identity, cluster.reference
    if found.dimension != reference.dimension:
        cause = f"another model ({reference.dimension} dimensions, not {found.dimension})"
    elif rows.only_marked:
        now = f" (it is {reference.version} now)" if reference.version else ""
        cause = (
            f"another version of Ollama{now}: only texts with quotes, dashes, accents or other scripts differ"
        )
    elif rows.cosine >= 0.9:
        cause = "another quantization"
    elif full_name(found.model) == full_name(reference.model):
        cause = f"another model under the name {reference.model!r}"
    else:
        cause = f"another model ({reference.model!r}, not {found.model!r})"
    return TableError(
        f"The nodes give other vectors than table {store.spec.table!r} holds, for {rows.wrong} of {rows.count} of its "
        f"rows (cosine {digits(rows.cosine)}, at least {rows.least:g} expected): {cause}.",
        state=state,
        remedy="Go back to the model and the version of Ollama that the table was made with, or embed all its "
        "documents again with `re_embed` (`prefect-ollama re-embed`).",
    )
