"""Answers whose every sentence can be checked: written by a chat model from passages, and kept only if quotes prove it.

Needs no Prefect.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.answering._draft_checks import without_marks
    from prefect_ollama.tasks.answering._drafting import Drafts, write_drafts
    from prefect_ollama.tasks.answering._extract import VERBATIM, best_sentences
    from prefect_ollama.tasks.answering._facts import unsupported_facts
    from prefect_ollama.tasks.answering._judging import NO_JUDGEMENT, SUPPORT_THRESHOLD
    from prefect_ollama.tasks.answering._prompt import (
        TEXT_CHARACTERS,
        answer_room,
        fitting,
        prompt_room,
        reading_order,
    )
    from prefect_ollama.tasks.answering._quote_search import find_quote, normal
    from prefect_ollama.tasks.answering._retrieval import EXTRACT_THRESHOLD, WEAK, strength
    from prefect_ollama.tasks.answering.answering import (
        CUT,
        EXTRACT_PASSAGES,
        NO_JUDGE,
        answer_question,
        judge_drafts,
        judge_sentences,
    )
    from prefect_ollama.tasks.answering.nodes import AnswerNodes, answering_nodes, with_models
    from prefect_ollama.tasks.answering.options import AskEvent, AskOptions, silent
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
