"""What all flows share: a server that answers before they start, readable errors, a complete form."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.flows.base._flow import flow, unless_named
    from prefect_ollama.flows.base.form import refuse_empty_tabs

__all__ = ["flow", "refuse_empty_tabs", "unless_named"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
