"""How Prefect and Dask treat our tasks: what they search, what they keep, and which workers run them."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final, Generic, Literal, TypeVar

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from prefect_ollama.blocks.quantity import quantity

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# Prefect's own policy would hash all arguments for a key, and these hold open tables and connections. The result of an
# uncached task is either quick to compute again, or out of date in the next run.
UNCACHED: Final[dict[str, Any]] = {"cache_policy": NO_CACHE, "persist_result": False}

# How long a result is kept, for a run that is started again after a crash.
RESULTS_KEPT: Final = timedelta(days=7)

# Of a task that takes long, so that a later run uses its result.
PERSISTED: Final[dict[str, Any]] = {
    "cache_expiration": RESULTS_KEPT,
    "persist_result": True,
    "result_serializer": "pickle",  # a user's settings may name one that cannot hold our results
    # Without this the results would stay in memory until the run ends.
    "cache_result_in_memory": False,
    # The dispatcher has already tried every node. Zero and not the default, which a user's settings may raise.
    "retries": 0,
}

# Prefix of the keys of results.
KEY: Final = "prefect-ollama-"

Role = Literal["parse", "embed"]

#: Parse tasks are CPU-bound in code that is not thread-safe; embed tasks wait for nodes.
ROLES: Final[tuple[Role, ...]] = ("parse", "embed")

# Kept on the function, because Prefect copies tasks (`with_options`) and drops unknown attributes.
ROLE_MARK: Final = "__prefect_ollama_role__"


class Opaque(Generic[T]):
    """Holds a value that Prefect passes on without searching it.

    Prefect looks for futures in all arguments of a task, through every list and dataclass. For a thousand chunks with
    their rectangles that takes longer than parsing them.
    """

    __slots__ = ("content",)

    def __init__(self, content: T) -> None:
        self.content = content

    def __repr__(self) -> str:
        return f"Opaque({type(self.content).__name__})"


def result_key(parts: Iterable[str], prefix: str = "") -> str:
    """Return the key of a result that these texts decide."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        # The length first, so that no two lists of texts give the same bytes.
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return f"{KEY}{prefix}{digest.hexdigest()}"


def runs_on(role: Role) -> Callable[[F], F]:
    """Mark a function as work for `"parse"` or `"embed"` workers; put it under `@task`.

    The mark is on the function, so that it survives `task.with_options(…)`. The role is not a tag, because for each tag
    of each task run Prefect asks its server for a concurrency slot.

    Raises:
        ValueError: There is no such role.
    """
    if role not in ROLES:
        raise ValueError(f"no workers have the role {role!r}; roles are {', '.join(ROLES)}")

    def mark(function: F) -> F:
        setattr(function, ROLE_MARK, role)
        return function

    return mark


def counted_name(verb: str, noun: str, several: str = "", *, of: str) -> Callable[[], str]:
    """Return the function with which Prefect names a task run, such as `verify 1 node`.

    Args:
        verb: What the task does.
        noun: The kind of things it works on, in the singular.
        several: The plural, if it is not the singular with an `s`.
        of: The `Opaque` parameter that holds them: a sequence, or a cluster of nodes.
    """

    def name() -> str:
        content = task_run.parameters[of].content
        return f"{verb} {quantity(len(getattr(content, 'nodes', content)), noun, several)}"

    return name
