"""Answer a question from passages: write sentences, check and judge them, and keep the supported ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from prefect_ollama.blocks.documents import (
    ANSWER,
    EXTRACT,
    NOT_FOUND,
    CheckedAnswer,
    CheckedSentence,
    Hit,
    RefusedBy,
)
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.answering._draft_checks import DraftChecker
from prefect_ollama.tasks.answering._drafting import Drafts, write_drafts
from prefect_ollama.tasks.answering._extract import VERBATIM, best_sentences
from prefect_ollama.tasks.answering._judging import (
    NO_JUDGEMENT,
    WORDS,
    WORDS_AND_EMBEDDINGS,
    judge_by_model,
    judge_by_words,
    pairs_of,
)
from prefect_ollama.tasks.answering._prompt import reading_order
from prefect_ollama.tasks.answering._retrieval import WEAK, Strength, is_measured, strength
from prefect_ollama.tasks.answering._words import content_words
from prefect_ollama.tasks.answering.nodes import AnswerNodes
from prefect_ollama.tasks.answering.options import AskEvent, AskOptions, Listen, silent
from prefect_ollama.tasks.dispatch import ChatAnswer

NO_CHAT_MODEL = (
    "No chat model is configured: these are sentences of the documents, word for word, that are nearest to the "
    "question. Nobody has checked whether they answer it."
)
NO_CHAT_REFUSAL = (
    "No chat model is configured: what the passages share with the question decided this. It may be wrong."
)
NO_JUDGE = (
    "No judge model judged this: shared words and embeddings decided whether quotes support a sentence. They are wrong "
    "more than one time in three if a sentence differs little from its quotes."
)
CUT = "The chat model's answer was cut. Only the sentences before that are used, so the answer may lack something."
# Passages whose sentences are looked at without a chat model.
EXTRACT_PASSAGES = 8


@dataclass(frozen=True, slots=True)
class Judged:
    """Drafts whose sentences were judged.

    Attributes:
        drafts: The sentences of each draft.
        judged_by: What judged.
        answers: Answers of the judge model.
    """

    drafts: tuple[tuple[CheckedSentence, ...], ...]
    judged_by: str
    answers: tuple[ChatAnswer, ...] = ()


def answer_question(
    question: str,
    hits: Sequence[Hit],
    nodes: AnswerNodes,
    *,
    model: str,
    options: AskOptions,
    listen: Listen = silent,
) -> CheckedAnswer:
    """Answer a question from the passages that were found for it.

    Args:
        hits: The passages, the best first.
        model: The embedding model that found the passages.
        listen: Called with each step as it comes.

    Raises:
        ChatError: No node gave a draft or a judgement that can be used.
        ClusterError: No node works any more.
        TextError: The question cannot be embedded.
    """
    started = time.monotonic()
    documents = quantity(len({hit.doc_id for hit in hits}), "document")
    listen(AskEvent("passages", f"{quantity(len(hits), 'passage')} of {documents}", len(hits)))
    found = strength(question, hits, model)
    if (early := _without_chat(question, hits, nodes, found)) is not None:
        return replace(early, seconds=time.monotonic() - started)
    assert nodes.chat is not None
    drafts = write_drafts(question, hits, nodes.chat, options, listen)
    judged = judge_drafts(question, drafts, nodes, model, listen)
    answer = _choose(question, drafts, judged, nodes, options)
    return replace(answer, seconds=time.monotonic() - started)


def _without_chat(
    question: str, hits: Sequence[Hit], nodes: AnswerNodes, found: Strength
) -> CheckedAnswer | None:
    """Return the answer that needs no chat model; None if a chat model has to be asked."""
    if nodes.chat is not None:
        if not found.too_weak_to_ask:
            return None
        return CheckedAnswer(
            question,
            NOT_FOUND,
            passages=reading_order(hits),
            notes=(WEAK, "The chat model was not asked."),
            model=nodes.chat.chat.model.name,
            refused_by="passages",
        )
    # Every sentence of them is embedded, which takes the embedded node a second for some fifty.
    passages = reading_order(hits[:EXTRACT_PASSAGES])
    best = best_sentences(question, passages, nodes.embed)
    weak = not best.sentences or found.too_weak_to_extract(best.nearest)
    return CheckedAnswer(
        question,
        NOT_FOUND if weak else EXTRACT,
        () if weak else best.sentences,
        passages=passages,
        notes=(found.reason, NO_CHAT_REFUSAL) if weak else (NO_CHAT_MODEL,),
        judged_by=VERBATIM,
        chance=round(found.chance(best.nearest), 4),
        refused_by="passages" if weak else "",
    )


def judge_drafts(
    question: str, drafts: Drafts, nodes: AnswerNodes, model: str, listen: Listen = silent
) -> Judged:
    """Check the sentences of all drafts in code, and judge what passes; all at the same time.

    Arguments and errors are those of `judge_sentences`.
    """
    checker = DraftChecker(question, drafts.passages)
    read = [checker.check(value) for value in drafts.values]
    # All drafts in one call, so that no node waits for the end of another draft's judging.
    flat = [sentence for draft in read for sentence in draft]
    judged, judged_by, answers = judge_sentences(flat, drafts.passages, nodes, model, listen)
    rest = iter(judged)
    return Judged(tuple(tuple(islice(rest, len(draft))) for draft in read), judged_by, tuple(answers))


def judge_sentences(
    sentences: Sequence[CheckedSentence],
    passages: Sequence[Hit],
    nodes: AnswerNodes,
    model: str,
    listen: Listen = silent,
) -> tuple[list[CheckedSentence], str, list[ChatAnswer]]:
    """Judge whether the quotes of sentences prove them; all at the same time.

    Args:
        sentences: The sentences; those with a reason are not judged.
        passages: The passages that their quotes name.
        model: The embedding model of the nodes.
        listen: Called when the sentences are about to be judged.

    Returns:
        The sentences in their order, what judged, and the answers of the judge model.

    Raises:
        ChatError: The judge model gave no answer that can be used.
        ClusterError: No node works any more.
    """
    if nodes.judge is None:
        # The threshold holds for the cosines of one model only; with other models shared words decide alone.
        measured = is_measured(model)
        judged_by = WORDS_AND_EMBEDDINGS if measured and nodes.embed is not None else WORDS
        return judge_by_words(sentences, passages, nodes.embed if measured else None), judged_by, []
    if count := len(pairs_of(sentences, passages)):
        listen(AskEvent("judging", f"{count} pairs of a sentence and a quote", count))
    judged, answers = judge_by_model(sentences, passages, nodes.judge)
    return judged, nodes.judge.chat.model.name, answers


def _choose(
    question: str, drafts: Drafts, judged: Judged, nodes: AnswerNodes, options: AskOptions
) -> CheckedAnswer:
    """Return the draft with the most verified content as the answer."""
    assert nodes.chat is not None
    # The first draft wins a tie: it is written at temperature 0.
    number = max(range(len(judged.drafts)), key=lambda each: _verified_content(judged.drafts[each]))
    best = judged.drafts[number]
    supported = tuple(each for each in best if each.supported)
    notes = list(nodes.notes)
    if nodes.judge is None:
        notes.append(NO_JUDGE)
    refused_by: RefusedBy = ""
    if not supported:
        notes = [_nothing_supported(best), *nodes.notes]
        refused_by = "checks" if best else "chat model"
    if drafts.answers[number].cut:
        notes.append(CUT)
    marked = options.mark_unsupported and bool(supported)
    everything = (*drafts.answers, *judged.answers)
    return CheckedAnswer(
        question,
        ANSWER if supported else NOT_FOUND,
        best if marked else supported,
        () if marked else tuple(each for each in best if not each.supported),
        drafts.passages,
        tuple(notes),
        model=drafts.answers[number].model,
        judged_by=judged.judged_by,
        nodes=tuple(sorted({answer.node for answer in everything})),
        drafts=len(drafts.values),
        prompt_tokens=sum(answer.prompt_tokens for answer in everything),
        answer_tokens=sum(answer.answer_tokens for answer in everything),
        refused_by=refused_by,
    )


def _verified_content(draft: Sequence[CheckedSentence]) -> tuple[int, int]:
    """Return how many different words of content a draft has in supported sentences, and how few sentences are not."""
    words = set[str]().union(*(content_words(each.text) for each in draft if each.supported))
    return len(words), -sum(not each.supported for each in draft)


def _nothing_supported(draft: Sequence[CheckedSentence]) -> str:
    if not draft:
        return "The chat model says that the passages do not hold it."
    count, unjudged = len(draft), sum(each.reason == NO_JUDGEMENT for each in draft)
    wrote = f"The chat model wrote {quantity(count, 'sentence')}"
    if unjudged:
        return f"{wrote}. None is supported, and about {unjudged} of them the judge gave no answer."
    return f"{wrote}, and the documents support none."
