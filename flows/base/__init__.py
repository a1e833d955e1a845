"""Common parts of all flows: a server that answers before they start, readable errors, and forms."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.flows.base._first_checks import addresses_fit, check_first, filter_fits, table_exists
    from prefect_ollama.flows.base._flow import flow, refuse_empty_tabs, unless_named
    from prefect_ollama.flows.base.forms import Advanced, Chunking, Limits, Only, Password, Reading
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
