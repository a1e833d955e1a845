"""A child process with few rights and hard limits, in which a file is read."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.parsing.sandbox import confinement, protocol
    from prefect_ollama.tasks.parsing.sandbox.limits import Limits, used_cpu
    from prefect_ollama.tasks.parsing.sandbox.order import Budget, ExtraTime, Order
    from prefect_ollama.tasks.parsing.sandbox.picture import PictureSession
    from prefect_ollama.tasks.parsing.sandbox.process import CannotStart, ChildProcess
    from prefect_ollama.tasks.parsing.sandbox.session import Session
    from prefect_ollama.tasks.parsing.sandbox.talk import Talk

__all__ = [
    "Budget",
    "CannotStart",
    "ChildProcess",
    "ExtraTime",
    "Limits",
    "Order",
    "PictureSession",
    "Session",
    "Talk",
    "confinement",
    "protocol",
    "used_cpu",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
