"""Planning: finds the files of a source, and decides what a run does with each of them. Needs no Prefect."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.planning._notes import notes_on
    from prefect_ollama.tasks.planning.bundle import Bundle, Bundles
    from prefect_ollama.tasks.planning.chunking_plan import MINILM, ChunkingPlan
    from prefect_ollama.tasks.planning.list_file import expand_list_file, kept_list, source_display_name
    from prefect_ollama.tasks.planning.open_beneath import LinkOnTheWay, NotRegular, hash_descriptor
    from prefect_ollama.tasks.planning.plan import Plan, make_plan
    from prefect_ollama.tasks.planning.source import Source, SourceFile, find_files, refuse_absent
    from prefect_ollama.tasks.planning.stored_paths import (
        LISTED,
        composed,
        document_id,
        documents_named,
        file_of,
        location_of,
        of_source,
        source_name,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
