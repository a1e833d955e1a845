"""The steps of a report as functions, each with its input, its result and its cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prefect_ollama.blocks.documents import CheckedSentence, Hit
from prefect_ollama.blocks.lance import Mode, Store
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.answering import (
    CUT,
    NO_JUDGEMENT,
    WEAK,
    AnswerNodes,
    AskOptions,
    Drafts,
    judge_drafts,
    judge_sentences,
    strength,
    write_drafts,
)
from prefect_ollama.tasks.dispatch import ChatDispatcher, Dispatcher
from prefect_ollama.tasks.researching._criticism import criticise
from prefect_ollama.tasks.researching._splitting import split_question
from prefect_ollama.tasks.researching._step import Done, run_within_bounds
from prefect_ollama.tasks.researching._synthesis import write_synthesis
from prefect_ollama.tasks.researching.bounded_chat import BoundedChat
from prefect_ollama.tasks.researching.bounds import Budget
from prefect_ollama.tasks.researching.findings import Findings
from prefect_ollama.tasks.searching import question_vector


@dataclass(frozen=True, slots=True, eq=False)
class Searching:
    """How passages are found.

    Attributes:
        store: The table.
        limit: Maximum number of passages.
        mode: By meaning, by words or by both.
        where: SQL filter, or empty.
    """

    store: Store
    limit: int
    mode: Mode
    where: str = ""

    def passages(self, question: str, nodes: Dispatcher | None) -> tuple[Hit, ...]:
        """Return the passages for a question, the best first."""
        vector = None
        if self.mode != "text":
            assert nodes is not None
            vector = question_vector(question, nodes)
        return tuple(
            self.store.search(vector, text=question, limit=self.limit, mode=self.mode, where=self.where)
        )


SAME_NODE = "The critic was on the node that wrote the findings, because no other node answered."


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The steps of one report over the same table, nodes and limits. Several threads may use it.

    A step that a limit ends has no value. Each step raises `ClusterError` if no node works any more, and all
    but `split` raise `ChatError` if no node gave an answer that can be used.

    Attributes:
        nodes: The nodes; they chat.
        model: The embedding model that finds passages.
        budget: What is left of the limits.
        options: How drafts are written.
        searching: How passages are found; None if nothing is searched.
        salt: All that decides the result of a step besides its own input: see `docs/research.md`.
    """

    nodes: AnswerNodes
    model: str
    budget: Budget
    options: AskOptions
    searching: Searching | None = None
    salt: str = ""

    def split(self, question: str, most: int) -> Done[tuple[str, ...]]:
        """Split a question into parts."""
        chat = self._chat()
        return run_within_bounds(
            [chat],
            lambda: split_question(question, chat, most),
            whole=lambda _: bool(chat.answers),
            say=" ".join,
        )

    def find(self, question: str) -> Done[tuple[Hit, ...]]:
        """Find the passages for a question.

        Raises:
            TextError: The question cannot be embedded.
            TableError: The table cannot answer.
        """
        searching = self.searching
        assert searching is not None
        return run_within_bounds(
            [],
            lambda: searching.passages(question, self.nodes.embed),
            say=lambda hits: (
                f"{quantity(len(hits), 'passage')} of {quantity(len({hit.doc_id for hit in hits}), 'document')}"
            ),
        )

    def draft(self, question: str, passages: Sequence[Hit], found: bool) -> Done[Drafts]:
        """Write sentences about passages; no draft if the passages are too weak.

        Args:
            passages: The passages, the best first.
            found: Whether a search found them, so that they may have nothing to do with the question.
        """
        # As `ask` does: no model should be tempted to write about passages that hold no answer.
        if not passages or (found and strength(question, passages, self.model).too_weak_to_ask):
            return Done(Drafts(tuple(passages), (), ()), said=WEAK)
        chat = self._chat()
        return run_within_bounds([chat], lambda: write_drafts(question, passages, chat, self.options))

    def judge(self, question: str, drafts: Drafts) -> Done[Findings]:
        """Check the sentences of a draft, and judge whether their quotes prove them."""
        passages = drafts.passages
        if not drafts.values:
            return Done(Findings(passages, note=WEAK), said=WEAK)
        chats, nodes = self._judging()

        def judge() -> Findings:
            judged = judge_drafts(question, drafts, nodes, self.model)
            (each,) = judged.drafts
            supported = tuple(sentence for sentence in each if sentence.supported)
            dropped = tuple(sentence for sentence in each if not sentence.supported)
            note = "" if each else "The chat model says that the passages do not hold it."
            author = drafts.answers[0].node
            if supported and drafts.answers[0].cut:
                note = CUT
            return Findings(passages, supported, dropped, author, judged.judged_by, note)

        return run_within_bounds(
            chats, judge, whole=lambda found: _all_judged(found.dropped), say=lambda found: found.count
        )

    def criticise(self, found: Findings) -> Done[Findings]:
        """Let a critic try to refute findings, on another node than the one that wrote them, if there is one."""
        if not found.supported:
            return Done(found, said=found.count)
        # Another node often has another model, which does not share the mistakes of the one that wrote them.
        chat = self._chat(avoid=frozenset((found.author,)))

        def refute() -> Findings:
            confirmed, dropped = criticise(found.supported, found.passages, chat)
            same = any(answer.node == found.author for answer in chat.answers)
            note = " ".join(filter(None, (found.note, SAME_NODE if same else "")))
            return replace(found, supported=tuple(confirmed), dropped=(*found.dropped, *dropped), note=note)

        return run_within_bounds(
            [chat],
            refute,
            whole=lambda _: len(chat.answers) == len(found.supported),
            say=lambda done: done.count,
        )

    def synthesise(
        self, task: str, findings: Sequence[CheckedSentence], passages: Sequence[Hit]
    ) -> Done[tuple[CheckedSentence, ...]]:
        """Write a text from verified findings; its sentences are checked in code, and not judged yet.

        Args:
            passages: The passages that their quotes name.
        """
        chat = self._chat(last=True)
        return run_within_bounds(
            [chat],
            lambda: write_synthesis(task, findings, passages, chat),
            say=lambda written: quantity(len(written), "sentence"),
        )

    def judge_synthesis(
        self, sentences: Sequence[CheckedSentence], passages: Sequence[Hit]
    ) -> Done[tuple[CheckedSentence, ...]]:
        """Judge whether the quotes of a synthesis prove its sentences.

        Args:
            sentences: The sentences; those with a reason are not judged.
            passages: The passages that their quotes name.
        """
        # Taken from the share of the synthesis, because a text without a judgement cannot be shown as proved.
        chats, nodes = self._judging(last=True)
        return run_within_bounds(
            chats,
            lambda: tuple(judge_sentences(sentences, passages, nodes, self.model)[0]),
            whole=_all_judged,
            say=lambda judged: (
                f"{sum(each.supported for each in judged)} of {quantity(len(judged), 'sentence')} supported"
            ),
        )

    def _chat(self, *, last: bool = False, avoid: frozenset[str] = frozenset()) -> BoundedChat:
        assert isinstance(self.nodes.chat, ChatDispatcher)
        return BoundedChat(self.nodes.chat, self.budget, last=last, avoid=avoid)

    def _judging(self, *, last: bool = False) -> tuple[list[BoundedChat], AnswerNodes]:
        if self.nodes.judge is None:
            return [], self.nodes
        assert isinstance(self.nodes.judge, ChatDispatcher)
        judge = BoundedChat(self.nodes.judge, self.budget, last=last)
        return [judge], replace(self.nodes, judge=judge)


def _all_judged(sentences: Sequence[CheckedSentence]) -> bool:
    return not any(each.reason == NO_JUDGEMENT for each in sentences)
