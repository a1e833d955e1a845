"""Embedding as a kind of request: lists of texts go out, and vectors are confirmed by checks (`_verification`)."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prefect_ollama.blocks.errors import InputRejected, NodeError, NodeRefused, TextError, TextTooLong
from prefect_ollama.blocks.nodes import (
    SCRIPTS,
    SHORT,
    Answer,
    Endpoint,
    NodeSpec,
    Vectors,
    VerifiedCluster,
    open_endpoint,
    verify_again,
)
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request_kind import AnswerCheck, RequestKind
from prefect_ollama.tasks.dispatch._verification import Verification
from prefect_ollama.tasks.dispatch.embedding import estimate_units


class EmbeddingKind(RequestKind):
    """Embedding with one model.

    Args:
        cluster: The verified nodes.
    """

    # Shared folders of earlier versions know only this kind.
    name = ""
    # The canary texts verify a node, which loads the model for them.
    first_units = sum(estimate_units(text) for text in SHORT)
    proves_rates = True
    loads = False
    work = "embedded anything"

    def __init__(self, cluster: VerifiedCluster) -> None:
        self._cluster = cluster

    def connect(self, node: NodeSpec) -> Endpoint:
        return open_endpoint(node, self._cluster.spec.model)

    def proven_seconds(self, node: str) -> float | None:
        """Return the seconds that a node needed for the canary texts; None if it is not verified."""
        verification = self._cluster.verifications.get(node)
        return None if verification is None else verification.seconds

    def left_out(self, node: str) -> NodeError | None:
        return self._cluster.left_out.get(node)

    def most_items(self, node: NodeSpec) -> int:
        return node.max_request_texts

    def answer_check(self, nodes: Sequence[Node], now: float) -> AnswerCheck:
        """Return the check that compares vectors with canaries and with other nodes."""
        cluster = self._cluster
        known, build = cluster.verifications.values(), cluster.reference.build
        complete = len(known) == len(cluster.spec.nodes)
        # A node that joins later may differ in any script.
        other = cluster.other_scripts if complete else [script.name for script in SCRIPTS]
        one_build = complete and all(build) and all((each.digest, each.version) == build for each in known)
        return Verification(nodes, cluster.reference, now, other, one_build=one_build)

    def send(
        self, client: Endpoint, payloads: Sequence[str], *, timeout: float, progress: Callable[[float], None]
    ) -> Coroutine[Any, Any, Answer]:
        return client.embed(payloads, timeout=timeout, dimension=self._cluster.reference.dimension)

    def results(self, reply: Answer) -> Vectors:
        return reply.vectors

    async def probe(self, client: Endpoint, *, timeout: float, refused: NodeRefused | None) -> float:
        """Compare the node's digest and canary vectors again."""
        return await verify_again(client, self._cluster, timeout=timeout, refused=refused)

    def final_error(self, item: Item, errors: Sequence[NodeError]) -> TextError:
        if any(isinstance(error, InputRejected) and error.too_long for error in errors):
            return TextTooLong(
                f"{len(item.payload)} characters are longer than the context of "
                f"{self._cluster.spec.model.name!r}.",
                text=item.payload,
                state="It was not cut.",
                remedy="Split it into smaller texts, or raise *Context* in the cluster if the model can take more.",
            )
        return TextError(
            f"it failed alone on {', '.join(sorted(item.failures))}, where canary texts did not "
            f"({errors[-1].cause})",
            text=item.payload,
            state="It has no vector.",
            remedy="Look at the text itself: it may crash the model's runner.",
        )
