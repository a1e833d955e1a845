"""The dispatcher: keeps nodes of different speed busy to the last text, and gives each text exactly one vector."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.dispatch._answer_format import whole_items
    from prefect_ollama.tasks.dispatch._waiting_questions import Asking
    from prefect_ollama.tasks.dispatch.chat import (
        ChatAnswer,
        ChatAnswers,
        ChatEvent,
        ChatRestarted,
        ChatText,
        Chatting,
        ChatUnfinished,
    )
    from prefect_ollama.tasks.dispatch.chat_dispatcher import ChatDispatcher
    from prefect_ollama.tasks.dispatch.dispatcher import Dispatcher, shared_dispatcher
    from prefect_ollama.tasks.dispatch.embedding import Embedded, Unfinished, estimate_units
    from prefect_ollama.tasks.dispatch.long_words import divide_long_words
    from prefect_ollama.tasks.dispatch.rerank_dispatcher import RerankDispatcher
    from prefect_ollama.tasks.dispatch.stats import NodeStats, stats_by_node
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
