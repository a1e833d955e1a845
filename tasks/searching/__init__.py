"""Questions to a table, with no run around them. Needs no Prefect."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.searching.corpus import Corpus, open_corpus
    from prefect_ollama.tasks.searching.nodes import asking_as, refuse_other_vectors, verified
    from prefect_ollama.tasks.searching.opening import open_for_search
    from prefect_ollama.tasks.searching.rows import ROWS_COMPARED, compare_rows, other_vectors

__all__ = [
    "ROWS_COMPARED",
    "Corpus",
    "asking_as",
    "compare_rows",
    "open_corpus",
    "open_for_search",
    "other_vectors",
    "refuse_other_vectors",
    "verified",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "corpus": ("Corpus", "open_corpus"),
            "nodes": ("asking_as", "refuse_other_vectors", "verified"),
            "opening": ("open_for_search",),
            "rows": ("ROWS_COMPARED", "compare_rows", "other_vectors"),
        },
    )
