"""The steps of a research or a summary, as tasks that Prefect shows and caches.

A step uses the result of an earlier run if nothing that decides it has changed: the table, the models and their builds,
the options, and the results of the steps before it. All steps raise `ClusterError` if no node works any more, and those
that ask a chat model raise `ChatError` if no node gives an answer that can be used.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.transactions import get_transaction

from prefect_ollama.blocks.documents import CheckedAnswer, CheckedSentence, Hit, ReportStep
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.answering import WEAK, AnswerNodes, Drafts, strength, without_chat
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.embed import KEY, RESULTS_KEPT
from prefect_ollama.tasks.prefect_state import Opaque, run_logger
from prefect_ollama.tasks.query import SearchOptions, question_vector
from prefect_ollama.tasks.researching import Done, Findings, Steps, central_sentences

T = TypeVar("T")
U = TypeVar("U")

# Raise it when a step gives another result for the same input, so that results of earlier versions are not used.
VERSION: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Workplace:
    """The table, nodes and settings that all steps of one report use.

    Attributes:
        store: The table.
        nodes: The nodes.
        searching: How passages are found.
        salt: All that decides the result of a step besides its own input: see `docs/research.md`.
        steps: The steps that ask chat models; None without a chat model.
    """

    store: Store
    nodes: AnswerNodes
    searching: SearchOptions
    salt: str
    steps: Steps | None = None

    @property
    def chat_steps(self) -> Steps:
        """The steps that ask chat models, where the caller knows that there are some."""
        assert self.steps is not None
        return self.steps


@dataclass
class StepPolicy(CachePolicy):
    """The key of a step's result: its input and `Workplace.salt`. `version` distinguishes versions of this code."""

    version: int = VERSION

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key of a task run; None for one whose input is missing, because a limit ended a step before it."""
        digest = hashlib.blake2b(digest_size=32)
        for name, value in sorted(inputs.items()):
            if name == "name":  # the name of the step in the report decides nothing
                continue
            content = value.content if isinstance(value, Opaque) else value
            if isinstance(content, Workplace):
                content = content.salt
            elif isinstance(content, Done):
                if content.value is None:
                    return None
                content = content.value
            # The values of steps are frozen dataclasses, whose text names every field. The length divides the parts.
            data = f"{name} {content!r}".encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return f"{KEY}{task_ctx.task.name.replace(' ', '-')}-{self.version}-{digest.hexdigest()}"


def _step_after(before: Done[T], step: Callable[[T], Done[U]]) -> Done[U]:
    """Return the result of a step; the limit that ended the step before, where that one has no result."""
    return Done(None, bound=before.bound) if before.value is None else step(before.value)


def _noted(name: str, done: Done[T], note: Callable[[T], str]) -> Opaque[Done[T]]:
    """Log the cost and the result of a step, and return its result to Prefect."""
    if done.value is None:
        run_logger().info("%s: the limit of %s is reached.", name, done.bound)
    else:
        cost = done.cost
        by = f" by {', '.join(cost.nodes)}" if cost.nodes else ""
        tokens = cost.prompt_tokens + cost.answer_tokens
        run_logger().info(
            "%s%s: %s, %.1f s. %s", name, by, quantity(tokens, "token"), cost.seconds, note(done.value)
        )
    return _cached_if_whole(done)


def _cached_if_whole(done: Done[T]) -> Opaque[Done[T]]:
    """Return the result of a step to Prefect, which caches it only if it is whole."""
    transaction = get_transaction()
    # If this were cached, the gap of a node that was down for a moment would be in all later reports.
    if transaction is not None and not (done.whole and done.value is not None):
        transaction.write_on_commit = False
    return Opaque(done)


def _took(started: float) -> ReportStep:
    return ReportStep("", seconds=time.monotonic() - started)


def _count(found: Findings) -> str:
    return f"{quantity(len(found.supported), 'finding')} kept, {len(found.dropped)} dropped"


_SETTINGS: Final[dict[str, Any]] = {
    "task_run_name": "{name}",
    "cache_policy": StepPolicy(),
    "cache_expiration": RESULTS_KEPT,
    "persist_result": True,
    "cache_result_in_memory": False,
    # The dispatcher has already asked other nodes.
    "retries": 0,
}


@task(name="split question", **_SETTINGS)
def split_question(
    name: str, question: str, most: int, at: Opaque[Workplace]
) -> Opaque[Done[tuple[str, ...]]]:
    """Split a question into parts."""
    done = at.content.chat_steps.split(question, most)
    for number, part in enumerate(done.value or (), 1):
        run_logger().info("Part %d: %s", number, part)
    return _cached_if_whole(done)


@task(name="find passages", **_SETTINGS)
def find_passages(name: str, question: str, at: Opaque[Workplace]) -> Opaque[Done[tuple[Hit, ...]]]:
    """Find the passages for a question.

    Raises:
        TextError: The question cannot be embedded.
        TableError: The table cannot answer.
    """
    what, vector, started = at.content, None, time.monotonic()
    if what.searching.mode != "text":
        assert what.nodes.embed is not None
        vector = question_vector(question, what.nodes.embed)
    hits = what.store.search(vector, text=question, **asdict(what.searching))
    documents = quantity(len({hit.doc_id for hit in hits}), "document")
    run_logger().info("%s: %s of %s", name, quantity(len(hits), "passage"), documents)
    return _cached_if_whole(Done(tuple(hits), _took(started)))


@task(name="write draft", **_SETTINGS)
def write_draft(
    name: str, question: str, passages: Opaque[Done[tuple[Hit, ...]]], at: Opaque[Workplace], found: bool
) -> Opaque[Done[Drafts]]:
    """Let a chat model write sentences about passages, each with quotes."""
    steps = at.content.chat_steps
    done = _step_after(passages.content, lambda hits: steps.draft(question, hits, found=found))
    return _noted(name, done, lambda drafts: "" if drafts.values else WEAK)


@task(name="judge draft", **_SETTINGS)
def judge_draft(
    name: str, question: str, draft: Opaque[Done[Drafts]], at: Opaque[Workplace]
) -> Opaque[Done[Findings]]:
    """Check the sentences of a draft, and judge whether their quotes prove them."""
    steps = at.content.chat_steps
    return _noted(name, _step_after(draft.content, lambda written: steps.judge(question, written)), _count)


@task(name="refute findings", **_SETTINGS)
def refute_findings(
    name: str, findings: Opaque[Done[Findings]], at: Opaque[Workplace]
) -> Opaque[Done[Findings]]:
    """Let a critic on another node try to refute findings against their passages."""
    return _noted(name, _step_after(findings.content, at.content.chat_steps.criticise), _count)


@task(name="write synthesis", **_SETTINGS)
def write_synthesis(
    name: str,
    what: str,
    findings: Opaque[Sequence[CheckedSentence]],
    passages: Opaque[tuple[Hit, ...]],
    at: Opaque[Workplace],
) -> Opaque[Done[tuple[CheckedSentence, ...]]]:
    """Let a chat model write a text from verified findings alone."""
    done = at.content.chat_steps.synthesise(what, findings.content, passages.content)
    return _noted(name, done, lambda written: quantity(len(written), "sentence"))


@task(name="judge synthesis", **_SETTINGS)
def judge_synthesis(
    name: str,
    sentences: Opaque[Done[tuple[CheckedSentence, ...]]],
    passages: Opaque[tuple[Hit, ...]],
    at: Opaque[Workplace],
) -> Opaque[Done[tuple[CheckedSentence, ...]]]:
    """Judge whether the quotes of a synthesis prove its sentences."""
    steps = at.content.chat_steps
    done = _step_after(sentences.content, lambda written: steps.judge_synthesis(written, passages.content))
    return _noted(
        name,
        done,
        lambda judged: (
            f"{sum(each.supported for each in judged)} of {quantity(len(judged), 'sentence')} supported"
        ),
    )


@task(name="choose sentences", **_SETTINGS)
def choose_sentences(
    name: str, question: str, passages: Opaque[Done[tuple[Hit, ...]]], at: Opaque[Workplace]
) -> Opaque[Done[CheckedAnswer]]:
    """Choose the sentences of passages that are nearest to a question, if there is no chat model."""
    hits, started = passages.content.value or (), time.monotonic()
    found = without_chat(
        question, hits, at.content.nodes, strength(question, hits, at.content.store.identity.model)
    )
    assert found is not None
    return _cached_if_whole(Done(found, _took(started)))


@task(name="choose central sentences", **_SETTINGS)
def choose_central_sentences(
    name: str, documents: Opaque[Sequence[tuple[Hit, ...]]], most: int, at: Opaque[Workplace]
) -> Opaque[Done[tuple[CheckedSentence, ...]]]:
    """Choose the sentences of documents that are nearest to the mean of their document, if there is no chat model."""
    nodes, started = at.content.nodes.embed, time.monotonic()
    assert isinstance(nodes, Dispatcher)
    passages = tuple(hit for document in documents.content for hit in document)
    return _cached_if_whole(Done(central_sentences(documents.content, passages, nodes, most), _took(started)))
