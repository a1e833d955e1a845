"""What the vectors of a run come from: the nodes, and the places where vectors may be already."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from prefect_ollama.blocks.cache import CacheSpec, VectorSalt, shared_cache
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.nodes import VerifiedCluster
from prefect_ollama.tasks.dispatch import Dispatcher, shared_dispatcher


@dataclass(frozen=True, slots=True, eq=False)
class VectorSources:
    """The nodes that embed a bundle, and the places where its vectors may be already.

    Attributes:
        store: The table, for vectors of documents that changed; None if there is no table yet.
        cache: The vector cache; None for none.
        topic: Topic on which the worker publishes statistics of the nodes; None for none.
        shared_folder: Folder in which runs that use the same nodes share their limits; None if there are no others.
    """

    run_id: str
    cluster: VerifiedCluster
    store: StoreSpec | None
    cache: CacheSpec | None
    topic: str | None = None
    shared_folder: Path | None = None

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of this process for this run."""
        return shared_dispatcher(self.cluster, self.run_id, self.shared_folder)

    @property
    def salt(self) -> VectorSalt:
        """Everything that determines a vector, except its text."""
        return salt_of(self.cluster, self.cache)


def salt_of(cluster: VerifiedCluster, cache: CacheSpec | None) -> VectorSalt:
    """Return everything that determines a vector except its text, with the cache's id of the model."""
    model, known_as = cluster.spec.model, cluster.reference.id
    if cache is not None:
        # If the folder cannot be used, the first look-up in the cache reports why.
        with contextlib.suppress(CacheError):
            known_as = shared_cache(cache).model_id(cluster.reference)
    return VectorSalt(
        known_as, model.document_prefix, cluster.reference.dimension, tuple(model.options.items())
    )
