"""The steps of a research or a summary, as task runs that Prefect shows and caches.

A step uses the result of an earlier run if nothing that decides it has changed: the table, the models and their builds,
the options, and the results of the steps before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.transactions import get_transaction

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.prefect_state import PERSISTED, Opaque, result_key, run_logger
from prefect_ollama.tasks.researching import Done, Steps

# Raise it when a step gives another result for the same input, so that results of earlier versions are not used.
VERSION: Final = 3


@dataclass
class StepPolicy(CachePolicy):
    """The key of a step's result: its input and `Steps.salt`. `version` distinguishes versions of this code."""

    version: int = VERSION

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key of a task run; None for one whose input is missing, because a limit ended a step before it."""
        name, values = inputs["step"].__name__, _values(inputs["inputs"])
        if any(each is None for each in values):
            return None
        # The values of steps are frozen dataclasses, whose text names every field.
        parts = map(repr, (name, inputs["steps"].content.salt, *values))
        return result_key(parts, f"{name}-{self.version}-")


@task(name="report step", task_run_name="{name}", cache_policy=StepPolicy(), **PERSISTED)
def run_step(
    name: str, step: Callable[..., Done[Any]], inputs: tuple[Any, ...], steps: Opaque[Steps]
) -> Opaque[Done[Any]]:
    """Run a step; if a limit ended the step before it, return that limit.

    Args:
        name: Its name in the report.
        step: A method of `Steps`.
        inputs: Its arguments: plain values, opaque ones, and results of other steps.

    Raises:
        ChatError: No node gave an answer that can be used.
        ClusterError: No node works any more.
        TextError: The question cannot be embedded.
        TableError: The table cannot answer.
    """
    bound = next((each for each in map(_bound, inputs) if each), None)
    done = Done(None, bound=bound) if bound else step(steps.content, *_values(inputs))
    if done.value is None:
        run_logger().info("%s: the limit of %s is reached.", name, done.bound)
    else:
        cost = done.cost
        by = f" by {', '.join(cost.nodes)}" if cost.nodes else ""
        tokens = quantity(cost.prompt_tokens + cost.answer_tokens, "token")
        run_logger().info("%s%s: %s, %.1f s. %s", name, by, tokens, cost.seconds, done.said)
    transaction = get_transaction()
    # If this were cached, the gap of a node that was down for a moment would be in all later reports.
    if transaction is not None and not (done.whole and done.value is not None):
        transaction.write_on_commit = False
    return Opaque(done)


def _bound(value: Any) -> Any:
    return value.content.bound if isinstance(value, Opaque) and isinstance(value.content, Done) else ""


def _values(inputs: tuple[Any, ...]) -> list[Any]:
    contents = (each.content if isinstance(each, Opaque) else each for each in inputs)
    return [each.value if isinstance(each, Done) else each for each in contents]
