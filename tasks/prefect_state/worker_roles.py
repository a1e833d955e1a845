"""The Dask workers that run a task: those that parse, or those that embed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

Role = Literal["parse", "embed"]

#: Parse tasks are CPU-bound in code that is not thread-safe; embed tasks wait for nodes.
ROLES: Final[tuple[Role, ...]] = ("parse", "embed")

# Kept on the function, because Prefect copies tasks (`with_options`) and drops unknown attributes.
ROLE_MARK: Final = "__prefect_ollama_role__"


def runs_on(role: Role) -> Callable[[F], F]:
    """Mark a function as work for `"parse"` or `"embed"` workers; put it under `@task`.

    The mark is on the function, so that it survives `task.with_options(…)`. It is no tag, because for each
    tag of each task run Prefect asks its server for a concurrency slot.

    Raises:
        ValueError: There is no such role.
    """
    if role not in ROLES:
        raise ValueError(f"no workers have the role {role!r}; roles are {', '.join(ROLES)}")

    def mark(function: F) -> F:
        setattr(function, ROLE_MARK, role)
        return function

    return mark
