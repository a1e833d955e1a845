"""Answers whose every sentence can be checked: written by a chat model from passages, and kept only if quotes prove it.

Needs no Prefect.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.answering._drafting import Drafts, write_drafts
    from prefect_ollama.tasks.answering._judging import SUPPORT_THRESHOLD, support_of_claim
    from prefect_ollama.tasks.answering._normal import find_quote, normal
    from prefect_ollama.tasks.answering._retrieval import EXTRACT_THRESHOLD, Strength, strength
    from prefect_ollama.tasks.answering.answering import (
        Judged,
        answer_question,
        choose,
        judge_drafts,
        without_chat,
    )
    from prefect_ollama.tasks.answering.nodes import AnswerNodes, answering_nodes, with_models
    from prefect_ollama.tasks.answering.options import AskEvent, AskOptions, Listen, silent

__all__ = [
    "EXTRACT_THRESHOLD",
    "SUPPORT_THRESHOLD",
    "AnswerNodes",
    "AskEvent",
    "AskOptions",
    "Drafts",
    "Judged",
    "Listen",
    "Strength",
    "answer_question",
    "answering_nodes",
    "choose",
    "find_quote",
    "judge_drafts",
    "normal",
    "silent",
    "strength",
    "support_of_claim",
    "with_models",
    "without_chat",
    "write_drafts",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
