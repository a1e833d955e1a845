"""The store in LanceDB: a chunk table with its vectors, the manifest of documents beside it, and the runs."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.blocks.lance._runs import alive
    from prefect_ollama.blocks.lance._search import Mode, check_search
    from prefect_ollama.blocks.lance._words import folded
    from prefect_ollama.blocks.lance.arrow import chunk_ids, text_hash
    from prefect_ollama.blocks.lance.commits import drop
    from prefect_ollama.blocks.lance.filters import glob, one_of
    from prefect_ollama.blocks.lance.maintenance import Maintenance, MaintenanceProcess, maintain
    from prefect_ollama.blocks.lance.opening import open_tables, refuse_unwritable
    from prefect_ollama.blocks.lance.rollback import Undo
    from prefect_ollama.blocks.lance.spec import StoreSpec
    from prefect_ollama.blocks.lance.store import Store
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
