"""The flows of this project: Prefect's, with what a call needs before and after Prefect's engine has it.

Guarantees: the server is there, or an error says within seconds why not; a list of files of any length fits into a
flow run; a result can be awaited where a loop runs. Runs of deployments are started by Prefect's engine and take no
part in this.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import orjson
import prefect
from prefect.context import FlowRunContext
from prefect.exceptions import ParameterBindError, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.utilities.callables import get_call_parameters

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.sync_async import awaited
from prefect_ollama.flows.base._first_checks import CHECKS
from prefect_ollama.flows.base._temporary_server import ensure_server, temporary_server_login, uses_temporary
from prefect_ollama.tasks.planning import kept_list

P = ParamSpec("P")
R = TypeVar("R")

# Length of a list of paths above which it is passed in a file. Prefect's API takes 512 KiB for all parameters
# together.
MAX_LIST_BYTES: Final = 64 * 1024

# Characters of a run's name. Prefect's UI cuts longer ones off.
MAX_NAME_CHARACTERS: Final = 200

# The parameter that takes a list of paths.
_SOURCE: Final = "source"

# What Prefect's `Flow.__call__` takes for itself.
_CALL: Final = ("return_state", "wait_for")


class Flow(prefect.Flow[P, R]):
    """A flow that makes sure of a server and of valid parameters before each call of Prefect's engine."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow, as Prefect's own does.

        Returns:
            What the flow returns; it can be awaited too, where an event loop runs in this thread.

        Raises:
            ServerUnavailable: There is no Prefect server to run with.
            ConfigurationError: The parameters cannot work, or are larger than the server takes.
        """
        try:
            parameters = get_call_parameters(
                self.fn, args, {k: v for k, v in kwargs.items() if k not in _CALL}
            )
        except (ParameterBindError, TypeError):
            parameters = None  # Prefect says what is wrong with the call
        if parameters is not None and not kwargs.get("return_state") and uses_temporary():
            # Prefect would do it, too, but not before its server runs.
            valid = self.validate_parameters(parameters)
            for check in getattr(self.fn, CHECKS, ()):
                check(valid)
        ensure_server()
        with temporary_server_login(), ExitStack() as lists:
            if parameters is not None and _is_long(parameters.get(_SOURCE)):
                folder = get_current_settings().home / "ollama-lists"
                parameters[_SOURCE] = lists.enter_context(kept_list(folder, parameters[_SOURCE]))
                args, kwargs = (), {**parameters, **{k: v for k, v in kwargs.items() if k in _CALL}}
            try:
                result = super().__call__(*args, **kwargs)
            except PrefectHTTPStatusError as error:
                if (
                    parameters is None
                    or error.response.status_code != 422
                    or "parameters must be" not in str(error)
                ):
                    raise
                raise _too_large(parameters) from None
        return awaited(result)

    def with_options(self, **options: Any) -> Flow[P, R]:
        """Return the flow with other options; Prefect's own method would return a plain flow."""
        other = super().with_options(**options)
        other.__class__ = type(self)
        assert isinstance(other, Flow)
        return other


if TYPE_CHECKING:
    from prefect import flow as flow
else:

    def flow(**settings: Any) -> Callable[[Callable[P, R]], Flow[P, R]]:
        """Make a flow of a function, as Prefect's decorator of this name does."""
        return lambda function: Flow(function, **settings)


def unless_named(name: Callable[[Mapping[str, Any]], str]) -> Callable[[], str]:
    """Return the function with which Prefect names a run.

    Args:
        name: Returns the name of a run that the user has not named, from the run's parameters.
    """

    def chosen() -> str:
        own = str(flow_run.name or "")
        if own and not _is_generated(own):
            return own
        # Prefect shows it in one line, and parameters are text from outside.
        return printable(name(flow_run.parameters), longest=MAX_NAME_CHARACTERS)

    return chosen


def refuse_empty_tabs() -> None:
    """Refuse a run from a form in which a tab was chosen and left empty.

    Both of Prefect's UIs send each field of a form that the user did not change, with its default (`null`). They leave
    out a field whose tab was chosen and then left empty. Prefect would take the default for it. A run that was created
    by a program or by `prefect deployment run` leaves out what it does not set.

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


def _is_generated(name: str) -> bool:
    """Return whether Prefect made the name: two of the words that it draws names from."""
    parts = name.split("-")
    return len(parts) == 2 and _generated_words().issuperset(parts)


@cache
def _generated_words() -> frozenset[str]:
    from coolname.data import config

    parts: Any = config.values()
    return frozenset(word for part in parts for word in part.get("words", ()))


def _is_long(source: Any) -> bool:
    # Stops at the limit: a list may have a million paths.
    lengths = accumulate(len(str(each)) + 3 for each in source) if isinstance(source, list | tuple) else ()
    return any(length > MAX_LIST_BYTES for length in lengths)


def _too_large(parameters: Mapping[str, Any]) -> ConfigurationError:
    sizes = {name: len(orjson.dumps(value, default=str)) for name, value in parameters.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    return ConfigurationError(
        f"The parameters are larger than Prefect's server takes; {largest!r} has {sizes[largest]:,} bytes.",
        state="Nothing was started.",
        remedy="Name a folder, a pattern or a saved block in its place; or raise the server's setting "
        "PREFECT_SERVER_API_MAX_PARAMETER_SIZE.",
    )
