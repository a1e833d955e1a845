"""Chat within the limits of a research, with the cost of each step."""

from collections.abc import Iterator, Sequence

from prefect_ollama.blocks.nodes import ChatReply, ChatRequest, VerifiedChat
from prefect_ollama.tasks.chunking import estimate_tokens
from prefect_ollama.tasks.dispatch import ChatAnswer, ChatAnswers, ChatDispatcher, ChatEvent
from prefect_ollama.tasks.researching.bounds import Budget


class BoundedChat:
    """Chats over nodes within limits, and notes the answers of one step.

    Args:
        budget: What is left of the limits.
        last: Whether the step is one of the synthesis, for which a part of the limits is kept.
        avoid: Names of nodes that answer only what no other node answers.

    Attributes:
        answers: The answers so far.
        rejected: Answers that could not be used; another node or attempt gave another one, or none did.
    """

    def __init__(
        self,
        inner: ChatDispatcher,
        budget: Budget,
        *,
        last: bool = False,
        avoid: frozenset[str] = frozenset(),
    ) -> None:
        self.answers: list[ChatAnswer] = []
        self.rejected: list[ChatReply] = []
        self._inner, self._budget = inner, budget
        self._last, self._avoid = last, avoid

    @property
    def chat(self) -> VerifiedChat:
        """The nodes."""
        return self._inner.chat

    def ask(self, requests: Sequence[ChatRequest], *, urgent: bool = False) -> ChatAnswers:
        """Send requests, and wait for all answers.

        Args:
            urgent: Whether they go before all other work.

        Raises:
            BoundReached: A limit does not allow it, or the time was over before all answers came.
            ClusterError: No node works any more.
        """
        prompts = [sum(estimate_tokens(each.content) for each in request.messages) for request in requests]
        most = sum(prompts) + sum(request.max_tokens for request in requests)
        self._budget.reserve(most, last=self._last)
        # A step that fails before its answers are counted gives back all that it reserved.
        used = 0
        try:
            found = self._inner.ask(
                requests,
                urgent=urgent,
                avoid=self._avoid,
                timeout=max(0.0, self._budget.seconds_left(last=self._last)),
            )
            self.rejected += found.rejected
            # Which request they answered is unknown, so where a node does not count them the text alone is estimated.
            used += sum(
                each.prompt_tokens + (each.answer_tokens or estimate_tokens(each.thinking + each.text))
                for each in found.rejected
            )
            for prompt, answer in zip(prompts, found.answers, strict=True):
                if answer is not None:
                    self.answers.append(answer)
                    # A node that does not count costs what was estimated.
                    used += answer.prompt_tokens or prompt
                    used += answer.answer_tokens or estimate_tokens(answer.thinking + answer.text)
        except TimeoutError:
            raise self._budget.timed_out() from None
        finally:
            self._budget.settle(most, used)
        return found

    def stream(self, request: ChatRequest) -> Iterator[ChatEvent]:
        """Send one request, and yield its answer when it is whole.

        Raises:
            BoundReached: A limit does not allow it, or the time was over before the answer came.
            ChatError: No node gave an answer that fits.
            ClusterError: No node works any more.
        """
        found = self.ask([request], urgent=True)
        for error in found.failures.values():
            raise error
        yield from (answer for answer in found.answers if answer is not None)
