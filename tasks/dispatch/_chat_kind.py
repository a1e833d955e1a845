"""Chat as a kind of request: each request goes out alone, and its answer streams and is checked against its schema."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from prefect_ollama.blocks.errors import AnswerRejected, ChatError, InputRejected, NodeError, NodeRefused
from prefect_ollama.blocks.nodes import (
    ChatEndpoint,
    ChatLimits,
    ChatMessage,
    ChatReply,
    ChatRequest,
    NodeSpec,
    VerifiedChat,
    open_chat_endpoint,
    verify_chat_again,
)
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch._answer_format import whole_part
from prefect_ollama.tasks.dispatch._chat_job import (
    FIRST_ANSWER_TOKENS,
    Chatted,
    SentChat,
    last_words,
    prompt_units,
)
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._request_kind import RequestKind
from prefect_ollama.tasks.dispatch.chat import ChatAnswer

# Seconds from one piece of an answer to the next: a node that swaps models or reads from disk makes such pauses,
# and one that hangs makes longer ones.
TOKEN_TIMEOUT_S: Final = 60.0

# Assumed rate of a node before its first answer. It is the same for all nodes, so that each gets work and is
# measured.
FIRST_TOKENS_A_SECOND: Final = 30.0

# Weight of the newest answer in the mean length of answers.
NEWEST_ANSWER_WEIGHT: Final = 0.1

# Sampling of a request that its node has answered unusably: at temperature 0 it would write the same again. Seeds of
# the drafts of one question are small numbers.
AGAIN_TEMPERATURE: Final = 0.7
AGAIN_SEED: Final = 1000

# The probe of a node that failed. Any answer shows that its runner works, which its list of models does not.
SANITY: Final = ChatRequest((ChatMessage("user", "Answer with one word."),), max_tokens=1)


class ChatKind(RequestKind):
    """Chat requests; each node answers with the chat model that it has. `send` checks each answer.

    Args:
        verified: The verified nodes.

    Attributes:
        answer_tokens: Mean number of tokens of an answer.
    """

    # Chat has slots of its own, because Ollama runs another process for it.
    name = "chat"
    first_units = FIRST_ANSWER_TOKENS
    work = "answered a chat request"

    def __init__(self, verified: VerifiedChat) -> None:
        self._verified = verified
        self.answer_tokens = FIRST_ANSWER_TOKENS

    def connect(self, node: NodeSpec) -> ChatEndpoint:
        return open_chat_endpoint(node, self._verified.model_of(node.name))

    def proven_seconds(self, node: str) -> float | None:
        """Return assumed seconds for a node that may work at once; None for a node that is not verified."""
        return FIRST_ANSWER_TOKENS / FIRST_TOKENS_A_SECOND if node in self._verified.models else None

    def left_out(self, node: str) -> NodeError | None:
        return self._verified.left_out.get(node)

    async def send(
        self,
        client: ChatEndpoint,
        payloads: Sequence[SentChat],
        *,
        timeout: float,
        progress: Callable[[float], None],
    ) -> Chatted:
        [sent] = payloads
        units = prompt_units(sent.request)
        loop = asyncio.get_running_loop()
        start = loop.time()

        def heard(piece: str) -> None:
            nonlocal units
            units += 1.0
            progress(units)
            sent.stream.heard(sent.attempt, piece)

        limits = ChatLimits(timeout, min(client.node.read_timeout, TOKEN_TIMEOUT_S))
        try:
            request = _varied(sent.request, sent.rejections.of(client.node.name))
            reply = await client.chat(request, limits=limits, heard=heard)
            if request.format is not None and not (reply.cut or reply.text.strip()):
                # Ollama puts the whole answer of some models into their thoughts.
                reply = replace(reply, text=reply.thinking)
            cut = False
            try:
                value = _usable(sent, reply, client.node.name)
            except AnswerRejected:
                part = whole_part(reply.text, sent.request.format, sent.check) if reply.cut else None
                seconds = loop.time() - start
                # Another node may have a longer context, or a model that does not repeat itself.
                cut = part is not None and (
                    len(self._verified.models) == 1 or sent.rejections.part is not None
                )
                if not cut:
                    sent.rejections.replies.append((client.node.name, reply))
                    if part is not None:
                        found = _answer(client, reply, part, seconds, cut=True)
                        sent.rejections.part = (Chatted(sent, found), reply)
                    raise
                value = part
        except BaseException:  # also a cancelled request: another node's answer may be streamed now
            sent.stream.failed(sent.attempt)
            raise
        return Chatted(sent, _answer(client, reply, value, loop.time() - start, cut=cut))

    def actual_units(self, reply: Chatted, estimated: float) -> float:
        """Return the units of an answer by its real length."""
        tokens = reply.answer.answer_tokens
        if not tokens:
            return estimated
        self.answer_tokens += NEWEST_ANSWER_WEIGHT * (tokens - self.answer_tokens)
        return prompt_units(reply.sent.request) + tokens

    async def probe(self, client: ChatEndpoint, *, timeout: float, refused: NodeRefused | None) -> float:
        """Check the node's model again, and let it answer with one token."""
        await verify_chat_again(client, self._verified, timeout=timeout)
        await client.chat(SANITY, limits=ChatLimits(timeout, timeout))
        return FIRST_ANSWER_TOKENS / FIRST_TOKENS_A_SECOND

    def final_error(self, item: Item, errors: Sequence[NodeError]) -> ChatError:
        request: ChatRequest = item.payload
        words = last_words(request)
        if any(isinstance(error, InputRejected) and error.too_long for error in errors):
            return ChatError(
                f"its {request.size:,} bytes are longer than the context of {self._verified.model.name!r}.",
                request=words,
                too_long=True,
                state="It was not cut.",
                remedy="Give it fewer passages, or raise the context of the cluster's chat model.",
            )
        remedy = "Ask in another way, or use a larger chat model."
        if not isinstance(errors[-1], AnswerRejected):
            remedy = errors[-1].remedy or remedy  # of the cause that is named
        elif request.format is not None and all(isinstance(error, AnswerRejected) for error in errors):
            remedy = "Ask in another way, or use a chat model that keeps to the JSON schema that it is given."
        cuts = [error.cut for error in errors if isinstance(error, AnswerRejected) and error.cut]
        if cuts:
            # More context cannot help an answer that has reached its limit of tokens.
            fields = ["raise *Chat context*"] if cuts[-1] == "context" else []
            fields += ["switch *Thinking* off"] if self._verified.model.think is not False else []
            block = f", or {' or '.join(fields)} in the block of the cluster" if fields else ""
            remedy = f"Ask a narrower question, or name another chat model{block}."
        return ChatError(
            f"{', '.join(sorted(item.failures))} gave no answer that can be used ({errors[-1].cause})",
            request=words,
            state="This request has no answer.",
            remedy=remedy,
        )


def _answer(client: ChatEndpoint, reply: ChatReply, value: Any, seconds: float, *, cut: bool) -> ChatAnswer:
    return ChatAnswer(
        reply.text,
        value,
        reply.thinking,
        client.node.name,
        client.chat_model.name,
        seconds,
        reply.prompt_tokens,
        reply.answer_tokens,
        cut,
    )


def _varied(request: ChatRequest, times: int) -> ChatRequest:
    """Return a changed request for a node whose answers were unusable, so that it does not give the same answer again.

    Options that the user set for the model stay.
    """
    options = dict(request.options)
    if times and "temperature" in options:
        options["temperature"] = max(options["temperature"], AGAIN_TEMPERATURE)
    if times and "seed" in options:
        options["seed"] += times * AGAIN_SEED
    return replace(request, options=options) if times else request


def _usable(sent: SentChat, reply: ChatReply, node: str) -> Any:
    """Return the value of an answer.

    Raises:
        AnswerRejected: It is cut, or does not fit its schema.
    """
    if reply.repeated:
        raise AnswerRejected("repeated itself until Ollama ended its answer.", node=node)
    if reply.cut:
        limit, written = sent.request.max_tokens, reply.answer_tokens
        # Ollama calls both causes "length". Its versions differ by one in what they count, and others count nothing.
        if 0 < written < limit - 1:
            raise AnswerRejected(
                f"did not end its answer before its context was full, after {quantity(written, 'token')}.",
                node=node,
                cut="context",
            )
        raise AnswerRejected(
            f"did not end its answer within {quantity(limit, 'token')}.", node=node, cut="tokens"
        )
    try:
        return sent.check(reply.text)
    except ValueError as error:
        raise AnswerRejected(f"gave an unusable answer: {error}.", node=node) from None
