"""A child process with few rights and hard limits, in which a file is read."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.parsing.sandbox import protocol
    from prefect_ollama.tasks.parsing.sandbox.file_reader import Talk
    from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess
    from prefect_ollama.tasks.parsing.sandbox.protocol import Budget, ExtraTime, Order
    from prefect_ollama.tasks.parsing.sandbox.session import Exchange, PictureSession, Session
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
