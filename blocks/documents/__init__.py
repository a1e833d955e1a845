"""Documents, chunks, runs, answers, and the identity of vectors, as plain values."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents.answer import (
        ANSWER,
        EXTRACT,
        NOT_FOUND,
        CheckedAnswer,
        CheckedSentence,
        Quote,
        RefusedBy,
    )
    from prefect_ollama.blocks.documents.chunk import Chunk, Region
    from prefect_ollama.blocks.documents.document import (
        FAILED,
        IN_TABLE,
        PARTIAL,
        STALE,
        STORED,
        Document,
        EmbeddedDocument,
    )
    from prefect_ollama.blocks.documents.found import Found
    from prefect_ollama.blocks.documents.hit import Hit, Place
    from prefect_ollama.blocks.documents.identity import Identity, context_options, same_cut, same_options
    from prefect_ollama.blocks.documents.report import Bound, CheckedReport, ReportPart, ReportStep
    from prefect_ollama.blocks.documents.run import (
        RUN_DONE,
        RUN_FAILED,
        RUN_INTERRUPTED,
        RUN_ROLLED_BACK,
        RUN_RUNNING,
        Run,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
