"""What all flows share: a server that answers before they start, readable errors, a complete form."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.flows.base._flow import flow, unless_named
    from prefect_ollama.flows.base.form import refuse_empty_tabs
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
