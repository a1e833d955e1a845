"""Checks that need no Prefect server, so that none is started for a call that cannot work.

A temporary server takes seconds to start. With a server that runs already, Prefect records such a call as a failed flow
run, which automations notice; so these checks take place only before a temporary server starts. The flows check
everything again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import looks_like_address
from prefect_ollama.blocks.resolve import BLOCK_PREFIX, resolve_cluster, resolve_table

# A check gets the parameters of a call, valid and complete, and raises a `ConfigurationError` or a `TableError`.
Check = Callable[[Mapping[str, Any]], object]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# The attribute of a flow's function that holds its checks.
CHECKS: Final = "__prefect_ollama_checks__"


def check_first(*checks: Check) -> Callable[[_Function], _Function]:
    """Return a decorator of the function of a flow, which adds checks to it."""

    def add(function: _Function) -> _Function:
        setattr(function, CHECKS, checks)
        return function

    return add


def addresses_fit(given: Mapping[str, Any]) -> bool:
    """Check the addresses of nodes, and return whether only addresses are given: blocks need a server."""
    cluster = given["cluster"]
    entries = [cluster] if isinstance(cluster, str) else cluster
    if entries is not None and not (
        isinstance(entries, list | tuple)
        and all(isinstance(each, str) and looks_like_address(each) for each in entries)
    ):
        return False
    resolve_cluster(cluster, model=given["model"])
    return True


def table_exists(given: Mapping[str, Any]) -> Store | None:
    """Return the table; None for a saved block, which needs a server."""
    table = given["table"]
    if isinstance(table, str) and table.strip().startswith(BLOCK_PREFIX):
        return None
    return Store.open(resolve_table(table))


def filter_fits(given: Mapping[str, Any]) -> Store | None:
    """Check that documents fit the filter of a question, and return the table as `table_exists` does."""
    store = table_exists(given)
    if store is not None:
        given["only"].to_filter(given["source"]).documents_of(store.manifest())
    return store
