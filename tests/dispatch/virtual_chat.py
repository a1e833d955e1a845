"""Chat in virtual time, as `virtual` has it for embedding."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from prefect_ollama.blocks.nodes import (
    ChatLimits,
    ChatMessage,
    ChatModelSpec,
    ChatReply,
    ChatRequest,
    ClusterSpec,
    ModelSpec,
    NodeSpec,
    VerifiedChat,
)
from prefect_ollama.blocks.nodes.chat import Heard
from prefect_ollama.blocks.nodes.endpoint import NodeModel
from prefect_ollama.tasks.dispatch import ChatAnswers, NodeStats, _chat_kind
from prefect_ollama.tasks.dispatch._chat_job import ChatJob
from prefect_ollama.tasks.dispatch._chat_kind import ChatKind
from prefect_ollama.tasks.dispatch._engine import Engine
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from tests.dispatch.virtual import VirtualLoop

BYTES_A_TOKEN = 4


@dataclass
class VirtualChatNode:
    """A node that chats at a set rate, FIFO over a number of slots.

    Attributes:
        prompt_rate: Tokens of prompts a second, of all slots together.
        answer_rate: Tokens of answers a second, of all slots together.
        slots: Requests served at the same time.
        load_seconds: Seconds of the first request on top.
        latency: Seconds on the way, there and back.
        requests: Requests that came.
    """

    prompt_rate: float
    answer_rate: float
    slots: int = 1
    load_seconds: float = 0.0
    latency: float = 0.004
    requests: int = 0
    queue: asyncio.Semaphore = field(init=False)

    def seconds(self, prompt: float, answer: float) -> float:
        """Seconds of a slot for a request of so many tokens."""
        return self.slots * (prompt / self.prompt_rate + answer / self.answer_rate)


class VirtualChatClient:
    """In place of an endpoint that chats."""

    nodes: dict[str, VirtualChatNode]
    lengths: dict[str, int]

    def __init__(self, node: NodeSpec, model: ChatModelSpec) -> None:
        self.node, self.chat_model = node, model
        self.virtual = self.nodes[node.name]
        self.virtual.queue = asyncio.Semaphore(self.virtual.slots)

    async def chat(
        self, request: ChatRequest, *, limits: ChatLimits, heard: Heard | None = None
    ) -> ChatReply:
        """Serve a request, token by token."""
        made = self.virtual
        made.requests += 1
        loads = made.load_seconds if made.requests <= made.slots else 0.0
        await asyncio.sleep(made.latency / 2 + 1e-7 * made.requests)
        prompt, answer = request.size // BYTES_A_TOKEN, self.lengths[request.messages[-1].content]
        async with made.queue:
            await asyncio.sleep(loads + made.seconds(prompt, 0))
            for _ in range(answer):
                await asyncio.sleep(made.seconds(0, 1))
                if heard is not None:
                    heard("x")
        await asyncio.sleep(made.latency / 2)
        return ChatReply("x" * answer, prompt_tokens=prompt, answer_tokens=answer)

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class ChatOutcome:
    """What came, in how many virtual seconds, what the nodes did, and how long that takes at least."""

    answers: ChatAnswers
    seconds: float
    possible: float
    stats: tuple[NodeStats, ...]


def chat(
    patch: pytest.MonkeyPatch,
    made: Sequence[VirtualChatNode],
    count: int,
    *,
    prompt: tuple[int, int] = (300, 300),
    answer: tuple[int, int] = (3, 40),
    urgent: bool = False,
    seed: int = 1,
) -> ChatOutcome:
    """Send requests with unlike prompts and answers to virtual nodes.

    Args:
        patch: Takes the virtual clients away at its end.
        made: The nodes.
        count: Requests.
        prompt: Least and most tokens of a prompt.
        answer: Least and most tokens of an answer.
        urgent: Whether they go before other work, as those of `ask` do.
        seed: Of the dice that choose the lengths of answers.
    """
    dice = random.Random(seed)
    texts = [f"{number} ".ljust(dice.randint(*prompt) * BYTES_A_TOKEN, "x") for number in range(count)]
    VirtualChatClient.lengths = {text: dice.randint(*answer) for text in texts}
    VirtualChatClient.nodes = {f"n{place}": node for place, node in enumerate(made)}
    patch.setattr(_chat_kind, "open_chat_endpoint", VirtualChatClient)
    each = tuple(NodeSpec(name) for name in VirtualChatClient.nodes)
    spec = ClusterSpec(each, ModelSpec("virtual"), chat=ChatModelSpec("virtual"), give_up_after=60.0)
    verified = VerifiedChat(spec, {node.name: NodeModel("", "digest") for node in each})
    requests = [ChatRequest((ChatMessage("user", text),)) for text in texts]

    async def run() -> ChatOutcome:
        dispatch = Engine(ChatKind(verified), spec, SharedLimits(None))
        job = ChatJob(requests, urgent=urgent)
        dispatch.add(job)
        answers = await asyncio.wrap_future(job.future)
        seconds = asyncio.get_running_loop().time()
        stats = dispatch.stats()
        await dispatch.aclose()
        answered = sum(VirtualChatClient.lengths.values())
        # What each node would take for all of it, at its own rates.
        prompts = sum(map(len, texts)) // BYTES_A_TOKEN
        alone = [node.seconds(prompts, answered) / node.slots for node in made]
        return ChatOutcome(answers, seconds, 1 / sum(1 / each for each in alone), stats)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())
