"""The run of one report: parts run in parallel over all nodes, and their findings become one text.

Guarantees: if a part fails, the other parts continue. The text holds verified findings alone. All that was dropped is
in the report with its reason.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from prefect_ollama.blocks.documents import (
    ANSWER,
    NOT_FOUND,
    CheckedAnswer,
    CheckedReport,
    CheckedSentence,
    Hit,
    ReportPart,
    ReportStep,
)
from prefect_ollama.blocks.errors import ClusterError, PrefectOllamaError
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.answering import NO_JUDGE
from prefect_ollama.tasks.prefect_state import Opaque, PersistedResults
from prefect_ollama.tasks.research import run_step
from prefect_ollama.tasks.researching import Done, Findings, Steps, groups_that_fit, merged

# Notes of parts are also compared with it, to count those that were not done.
NOT_DONE = "The limit of {bound} ended the run before this part was done."
NO_SYNTHESIS = "These are the findings themselves, because {why}."


class ReportRun:
    """The steps of a report within a flow run.

    Args:
        question: Subject of the report, as its title.
        task: Task of its text, in words for the chat model.
        steps: What its steps do.
    """

    def __init__(self, question: str, task: str, steps: Steps) -> None:
        self._question, self._task = question, task
        self.steps = steps
        self._kept = PersistedResults()
        self._submitted: list[tuple[str, Any]] = []
        # Title and last step of each.
        self._parts: list[tuple[str, Any]] = []
        self._started = time.monotonic()

    def step(self, step: Callable[..., Done[Any]], name: str, *inputs: Any) -> Any:
        """Submit a step with this name in the report, and return its future.

        Args:
            step: A method of `Steps`.
            inputs: Its arguments; futures stand for the results of their steps.
        """
        # The name holds the question. It is the name of a task run, which Prefect shows in one line.
        shown = printable(name, longest=200)
        future = self._kept.of(run_step).submit(shown, step, inputs, Opaque(self.steps))
        self._submitted.append((shown, future))
        return future

    def part(self, label: str, title: str, question: str, passages: Any, *, found: bool) -> None:
        """Submit the steps of a part: a draft, its judgement and its criticism.

        Args:
            label: What its steps are called after ("part 2").
            title: Its title in the report.
            question: What its sentences have to say.
            passages: Its passages, or the future of them.
            found: Whether a search found them.
        """
        draft = self.step(Steps.draft, f"Draft of {label}", question, passages, found)
        judged = self.step(Steps.judge, f"Judge {label}", question, draft)
        self._parts.append((title, self.step(Steps.criticise, f"Refute {label}", judged)))

    def report(self) -> CheckedReport:
        """Wait for the parts, write the text, and return the report.

        Raises:
            ClusterError: No node works any more, and nothing was found before.
        """
        outcomes = [_outcome(last, self._submitted) for _, last in self._parts]
        all_of = merged([each if isinstance(each, Findings) else Findings(()) for each in outcomes])
        errors = [each for each in outcomes if isinstance(each, PrefectOllamaError)]
        if not all_of.findings and errors and len(errors) == len(outcomes):
            # The error that no node is left explains the other errors, so it comes first.
            raise next((each for each in errors if isinstance(each, ClusterError)), errors[0])
        parts = tuple(
            ReportPart(title, found.supported, found.dropped, _note_of_part(outcome))
            for (title, _), found, outcome in zip(self._parts, all_of.parts, outcomes, strict=True)
        )
        # If the text fails, its findings are shown: they are verified, and cost most of the run.
        sentences, dropped, why = self._synthesis(all_of.findings, all_of.passages)
        shown = sentences or all_of.findings
        notes = [NO_SYNTHESIS.format(why=why)] if shown and not sentences else []
        return self._finished(
            CheckedAnswer(
                self._question,
                ANSWER if shown else NOT_FOUND,
                tuple(shown),
                tuple(dropped),
                all_of.passages,
                (*notes, *self._notes(all_of.parts)),
                # All parts have the same judge, and a part without sentences names none.
                judged_by=next((each.judged_by for each in all_of.parts if each.judged_by), ""),
            ),
            parts,
        )

    def _finished(self, answer: CheckedAnswer, parts: tuple[ReportPart, ...]) -> CheckedReport:
        steps = tuple(
            made for name, future in self._submitted if (made := _report_step(name, future)) is not None
        )
        budget = self.steps.budget
        ended_by = budget.ended_by
        if ended_by:
            open_parts = sum(part.note == NOT_DONE.format(bound=ended_by) for part in parts)
            limit = getattr(budget.bounds, ended_by)
            done = (
                f"; {open_parts} of {quantity(len(parts), 'part was', 'parts were')} not done"
                if open_parts
                else ""
            )
            answer = replace(
                answer, notes=(f"The limit of {limit:,} {ended_by} ended the run early{done}.", *answer.notes)
            )
        # By age: results of runs that were killed would stay in the storage of Prefect.
        self._kept.sweep()
        return CheckedReport(
            replace(
                answer,
                model=", ".join(sorted({name for each in steps for name in each.models})),
                nodes=tuple(sorted({node for each in steps for node in each.nodes})),
                seconds=time.monotonic() - self._started,
                # Cached steps cost this run nothing.
                prompt_tokens=sum(each.prompt_tokens for each in steps if not each.cached),
                answer_tokens=sum(each.answer_tokens for each in steps if not each.cached),
            ),
            parts,
            steps,
            ended_by,
        )

    def _synthesis(
        self, findings: Sequence[CheckedSentence], passages: tuple[Hit, ...]
    ) -> tuple[list[CheckedSentence], list[CheckedSentence], str]:
        """Return the sentences of the text, the dropped sentences, and the reason if there is no text.

        Findings that do not fit into one context are put together in groups, and the texts of the groups again.
        """
        dropped: list[CheckedSentence] = []
        if not findings:
            return [], dropped, "nothing was found"
        assert self.steps.nodes.chat is not None
        model, level = self.steps.nodes.chat.chat.model, 1
        while True:
            groups = groups_that_fit(self._task, findings, model)
            judged = []
            for number, group in enumerate(groups, 1):
                label = "synthesis" if len(groups) == 1 else f"synthesis {level}.{number}"
                cited = Opaque(passages)
                written = self.step(Steps.synthesise, f"Write {label}", self._task, Opaque(group), cited)
                judged.append(self.step(Steps.judge_synthesis, f"Judge {label}", written, cited))
            outcomes = [_outcome(each, self._submitted) for each in judged]
            failed = [each for each in outcomes if not isinstance(each, tuple)]
            if failed:  # a group that is left out would leave out what it found
                return [], dropped, _failure_text(failed[0])
            kept = [sentence for text in outcomes for sentence in text if sentence.supported]
            dropped += [sentence for text in outcomes for sentence in text if not sentence.supported]
            if len(groups) == 1 or not kept:
                return kept, dropped, "no sentence of the synthesis was supported"
            # Another round would not make it shorter either, and might never end.
            if len(kept) >= len(findings):
                return kept, dropped, ""
            findings, level = kept, level + 1

    def _notes(self, parts: Sequence[Findings]) -> list[str]:
        notes = list(self.steps.nodes.notes)
        if self.steps.nodes.judge is None:
            notes.append(NO_JUDGE)
        return [*dict.fromkeys(each.note for each in parts if each.note and each.supported), *notes]


def _outcome(future: Any, submitted: Sequence[tuple[str, Any]]) -> Any:
    """Return the value of a step; the limit that did not allow it; or the error of it or of a step before it."""
    future.wait()
    if future.state.is_completed():
        done: Done[Any] = future.result().content
        return done.bound if done.value is None else done.value
    if future.state.is_failed() or future.state.is_crashed():
        return _error(future)
    # A step before it failed, so Prefect did not run it.
    place = next(at for at, (_, each) in enumerate(submitted) if each is future)
    return next(
        (
            _error(each)
            for _, each in reversed(submitted[:place])
            if each.state.is_failed() or each.state.is_crashed()
        ),
        PrefectOllamaError("A step before it was not run."),
    )


def _error(future: Any) -> Exception:
    error = future.result(raise_on_failure=False)
    # An error of another kind is a bug, which no note in a report should hide.
    if not isinstance(error, PrefectOllamaError):
        raise error
    return error


def _note_of_part(outcome: Any) -> str:
    if isinstance(outcome, Findings):
        if outcome.supported:
            return ""
        return outcome.note or "All that was written about it was dropped."
    return NOT_DONE.format(bound=outcome) if isinstance(outcome, str) else str(outcome)


def _failure_text(outcome: Any) -> str:
    if isinstance(outcome, str):
        return f"the limit of {outcome} ended the run before the synthesis was done"
    return f"no synthesis could be written ({outcome.cause})"


def _report_step(name: str, future: Any) -> ReportStep | None:
    if future.state.is_failed() or future.state.is_crashed():
        return ReportStep(name, note=str(_error(future)))
    if not future.state.is_completed():
        return None  # the step was not run, because a step before it failed
    done: Done[Any] = future.result().content
    return replace(
        done.cost,
        name=name,
        seconds=round(done.cost.seconds, 3),
        cached=future.state.name == "Cached",
        note=f"Not done: the limit of {done.bound}." if done.bound else "",
    )
