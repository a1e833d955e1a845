"""Tuning a node: how many requests of what size it needs to do all it can, measured in a bounded time."""

from prefect_ollama.tasks.tuning.curve import draw_curve
from prefect_ollama.tasks.tuning.load import Load
from prefect_ollama.tasks.tuning.point import Point, Tuning, choose
from prefect_ollama.tasks.tuning.search import search
from prefect_ollama.tasks.tuning.texts import texts_of

__all__ = ["Load", "Point", "Tuning", "choose", "draw_curve", "search", "texts_of"]
