"""The stages of an ingest run: bundles go through parse, embed and store at the same time."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.flows.ingestion.final_report import final_state, publish_report
    from prefect_ollama.flows.ingestion.pipeline import BUNDLES_AHEAD, run_bundles
    from prefect_ollama.flows.ingestion.run import IngestRun
    from prefect_ollama.flows.ingestion.table_fit import fits_table, open_checked, with_table_context
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
