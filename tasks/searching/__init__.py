"""Questions to a table, outside of runs. Needs no Prefect."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.searching._connections import Connections, open_for_search
    from prefect_ollama.tasks.searching.corpus import Corpus, open_corpus
    from prefect_ollama.tasks.searching.filter import (
        LAST_PAGE,
        Filter,
        described,
        file_named,
        named,
        one_document,
    )
    from prefect_ollama.tasks.searching.nodes import question_vector, verified
    from prefect_ollama.tasks.searching.pictures import MarkedPage, PageDrawer
    from prefect_ollama.tasks.searching.question import normalised
    from prefect_ollama.tasks.searching.reranker import JUDGE, RERANK_TIMEOUT_S, reranker_of
    from prefect_ollama.tasks.searching.row_comparison import ROWS_COMPARED, compare_rows, other_vectors
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
