"""Checks that Prefect's form of a flow's parameters does not make."""

from __future__ import annotations

import inspect

from prefect.context import FlowRunContext

from prefect_ollama.blocks.errors import ConfigurationError


def refuse_empty_tabs() -> None:
    """Refuse a run from a form in which a tab was chosen and left empty.

    Both of Prefect's UIs send every field of a form, those that nobody touched with their default (`null`), but leave
    a field out whose tab was chosen and that holds nothing. Prefect would take the default for it. A run that was
    created by a program or by `prefect deployment run` leaves out what it does not set.

    Raises:
        ConfigurationError: A tab was left empty.
    """
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow_run is None:
        return
    if context.flow_run.deployment_id is None:
        return
    sent = context.flow_run.parameters
    schema = context.flow.parameters.properties
    optional = {
        name: each.default
        for name, each in inspect.signature(context.flow.fn).parameters.items()
        if each.default is not each.empty
    }
    # Fields with tabs are those whose default is `None`.
    others = {name for name, default in optional.items() if default is not None}
    tabs = optional.keys() - others
    by_form = others <= sent.keys() if others else any(sent.get(name, ...) is None for name in tabs)
    if not by_form:
        return
    empty = [schema[name]["title"] for name in optional if name in tabs and name not in sent]
    if empty:
        raise ConfigurationError(
            f"Nothing is chosen or written in {' and '.join(map(repr, empty))}, in the tab that is open there.",
            state="Nothing was started.",
            remedy="Choose or write something, or open the last tab, which stands for the default.",
        )
