"""The dispatcher: keeps unlike nodes busy to the last text, and gives every text exactly one right vector."""

from prefect_ollama.tasks.dispatch.dispatcher import Dispatcher, shared_dispatcher
from prefect_ollama.tasks.dispatch.embedding import Embedded, Unfinished
from prefect_ollama.tasks.dispatch.figures import Figures, NodeFigures
from prefect_ollama.tasks.dispatch.long_words import divide_long_words

__all__ = [
    "Dispatcher",
    "Embedded",
    "Figures",
    "NodeFigures",
    "Unfinished",
    "divide_long_words",
    "shared_dispatcher",
]
