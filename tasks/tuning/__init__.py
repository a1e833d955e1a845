"""Tuning a node: measures, in a bounded time, the number and size of requests with which it reaches its full rate."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.tuning._setting_search import search
    from prefect_ollama.tasks.tuning.load import Load
    from prefect_ollama.tasks.tuning.measured_settings import Point, Tuning, choose
    from prefect_ollama.tasks.tuning.rate_chart import draw_curve
    from prefect_ollama.tasks.tuning.texts import texts_of
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
