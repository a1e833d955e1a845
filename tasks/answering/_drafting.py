"""Let the chat model write drafts of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.errors import ChatError
from prefect_ollama.blocks.nodes import ChatRequest
from prefect_ollama.tasks.answering._draft_checks import complete_sentences
from prefect_ollama.tasks.answering._prompt import draft_request, fitting
from prefect_ollama.tasks.answering.options import AskEvent, AskOptions, Listen, silent
from prefect_ollama.tasks.dispatch import ChatAnswer, ChatRestarted, ChatText, Chatting


@dataclass(frozen=True, slots=True)
class Drafts:
    """The drafts that the model wrote.

    Attributes:
        passages: The passages that it was given, in reading order.
        values: The drafts, as `_prompt.SCHEMA` describes them.
        answers: The answers that they came in.
    """

    passages: tuple[Hit, ...]
    values: tuple[dict[str, Any], ...]
    answers: tuple[ChatAnswer, ...]


def write_drafts(
    question: str, hits: Sequence[Hit], chat: Chatting, options: AskOptions, listen: Listen = silent
) -> Drafts:
    """Return drafts of an answer; several are written at the same time, over all nodes.

    Args:
        hits: The passages, the best first; as many as fit into the model's context are given to it.
        listen: Called with each sentence of a single draft as it comes.

    Raises:
        ChatError: No node gave a draft that can be used.
        ClusterError: No node works any more.
    """
    model, given = chat.chat.model, list(hits)
    while True:
        passages = fitting(question, given, model, options.answer_tokens)
        requests = [
            draft_request(question, passages, model, options.answer_tokens, number)
            for number in range(options.drafts)
        ]
        try:
            answers = (
                [_streamed(requests[0], chat, listen)]
                if len(requests) == 1
                else _usable_answers(requests, chat)
            )
        except ChatError as error:
            # Lengths are estimates: a tokenizer may make more tokens of these texts.
            if not error.too_long:
                raise
            if len(passages) == 1:
                remedy = "Ask a shorter question, or raise the context of the cluster's chat model."
                raise ChatError(
                    error.why, request=error.request, too_long=True, state=error.state, remedy=remedy
                ) from error
            given = given[: len(passages) // 2]
            continue
        return Drafts(passages, tuple(answer.value for answer in answers), tuple(answers))


def _streamed(request: ChatRequest, chat: Chatting, listen: Listen) -> ChatAnswer:
    text, told = "", 0
    for event in chat.stream(request):
        match event:
            case ChatRestarted():
                # Another node writes the answer from its beginning, in other words.
                text, told = "", 0
            case ChatText():
                text += event.text
                # Only a brace can end a sentence. Reading all of the text after each token would take quadratic time.
                whole = complete_sentences(text) if "}" in event.text else []
                for number, sentence in enumerate(whole[told:], told + 1):
                    listen(AskEvent("draft", sentence, number))
                told = max(told, len(whole))
            case ChatAnswer():
                return event
    raise AssertionError("A stream ends in its answer, or in an error.")


def _usable_answers(requests: Sequence[ChatRequest], chat: Chatting) -> list[ChatAnswer]:
    found = chat.ask(requests, urgent=True)
    # One usable draft is enough; the best of the usable drafts is chosen.
    answers = [answer for answer in found.answers if answer is not None]
    if not answers:
        raise found.first_failure
    return answers
