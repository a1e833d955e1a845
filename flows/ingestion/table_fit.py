"""Whether a run fits the table that it continues: the model, its options and the sizes of chunks."""

from dataclasses import replace

from prefect_ollama.blocks.cluster import Nodes
from prefect_ollama.blocks.documents import Identity, context_options, same_cut, same_options
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.nodes import VerifiedCluster, full_name
from prefect_ollama.blocks.resolve import resolve_cluster
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parsing import ParseOptions
from prefect_ollama.tasks.planning import ChunkingPlan
from prefect_ollama.tasks.prefect_state import run_logger
from prefect_ollama.tasks.verify_nodes import identity_for


def with_table_context(chunk: ChunkOptions, found: Store | None) -> ChunkOptions:
    """Return the sizes of chunks, with the context length of the table if the caller names no length."""
    if found is None or chunk.context_tokens != ChunkOptions().context_tokens:
        return chunk
    own = ChunkingPlan.context_in(found.identity.chunker)
    if not own:
        run_logger().info(
            "The chunks of this table were embedded without title and headings before them, and so are new ones. "
            "`prefect-ollama re-embed` embeds all of them with context."
        )
    return replace(chunk, context_tokens=own)


def fits_table(found: Identity, cluster: Nodes | None, model: str | None, chunk: ChunkOptions) -> bool:
    """Return whether a run uses the model and the chunk sizes of the table, without asking a node."""
    asked = resolve_cluster(cluster, model=model).spec.model
    counter = ChunkingPlan.counter_in(found.chunker)
    return (
        full_name(asked.name) == full_name(found.model)
        and (asked.document_prefix, asked.query_prefix) == (found.document_prefix, found.query_prefix)
        # A cluster that names no dimension has the model's own, and models were compared above.
        and (asked.dimensions or found.dimension) == found.dimension
        and (asked.num_ctx is None or same_options(context_options(asked.num_ctx, None), found.options))
        and (asked.num_ctx is not None or found.chosen_context is None)
        # A way of counting tokens that is not known here cannot be that of this run.
        and counter is not None
        and same_cut(ChunkingPlan(ParseOptions(), chunk, counter).identity, found.chunker)
    )


def open_checked(
    place: StoreSpec,
    verified: VerifiedCluster,
    chunking_plan: ChunkingPlan,
    found: Store | None,
    context: int | None,
) -> Store:
    """Return the table, made if it does not exist; check that it fits the nodes' model, these chunk sizes and the
    chosen context."""
    spec = verified.spec.model
    identity = Identity(
        model=spec.name,
        digest=verified.reference.digest,
        dimension=verified.reference.dimension,
        document_prefix=spec.document_prefix,
        query_prefix=spec.query_prefix,
        options=context_options(context, spec.num_ctx),
        chunker=chunking_plan.identity,
        fingerprint=verified.reference,
    )
    if found is not None:
        identity = identity_for(found, identity, verified)
    return Store.open(place, identity=identity, create=True)
