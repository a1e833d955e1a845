"""A node proves itself before it gets work: reachable, has the model, and gives the vectors that the others give.

Names lie: two nodes may hold other weights or quantisations under one name. So every node embeds the same
canary texts, in a list and again in another order, and the vectors are compared. The second order shows a
node (or a proxy before it) that answers in the wrong order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from prefect_ollama.blocks.errors import (
    ClusterError,
    InputRejected,
    NodeAnswerError,
    NodeError,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.wire.answer import Vectors
from prefect_ollama.blocks.wire.client import NodeClient
from prefect_ollama.blocks.wire.model_info import other_models, settle_context
from prefect_ollama.blocks.wire.spec import ClusterSpec, full_name

T = TypeVar("T")

CANARIES = (
    "The harbour master logs every tide before sunrise.",
    "def area(radius): return 3.14159 * radius ** 2",
    "Zwei Löffel Mehl, ein Ei und eine Prise Salz.",
    "Interest is paid quarterly; the principal falls due in 2031.",
)
"""Texts that lie far apart for any embedding model, so that a swap of two shows."""

SAME_VECTOR = 0.999
"""Least cosine between two vectors that count as the same: f16 and f32 weights of one model pass, other
quantisations do not."""

CONTEXT_CAP = 2048
"""Context asked for where the user names none: chunks are far shorter, and a larger one costs memory."""

GRACE = 2.0
"""Seconds that a run waits for slower nodes to answer at all, once one has."""

LOAD_GRACE = 5.0
"""Seconds that it waits for the others' canary vectors, once one node's are there: some load a model first, and
the majority of them decides. Those that are later join when they are ready."""

Progress = Callable[[str, str, int, int], None]
"""Called with node name, what it does, bytes done, bytes in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """What a node showed of itself.

    Attributes:
        node: Its name.
        version: Version it gives.
        digest: SHA-256 of its model's manifest, empty where it gives none.
        canaries: float32 of shape (canaries, dimension).
        seconds: Time of one request with all canaries, model loaded.
    """

    node: str
    version: str
    digest: str
    canaries: Vectors
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What every node's vectors are held against.

    Attributes:
        digest: Digest of the model.
        canaries: float32 of shape (canaries, dimension).
    """

    digest: str
    canaries: Vectors

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.canaries.shape[1])

    def same_vectors(self, canaries: Vectors) -> bool:
        """Whether these are the canaries' vectors of the same model."""
        return canaries.shape == self.canaries.shape and likeness(canaries, self.canaries) >= SAME_VECTOR


@dataclass(frozen=True, slots=True, eq=False)
class ProvenCluster:
    """A cluster with what is known of its nodes at the start of a run.

    Attributes:
        spec: The cluster, with the model's context settled.
        reference: What vectors must look like.
        proofs: By node name, of the nodes that may work at once.
        left_out: By node name, why a node does not (yet) take part.
    """

    spec: ClusterSpec
    reference: Reference
    proofs: Mapping[str, Proof]
    left_out: Mapping[str, NodeError] = field(default_factory=dict)


async def identify(
    client: NodeClient, *, pull: bool, progress: Progress | None = None
) -> tuple[str, str, int]:
    """Version, digest and context length (tokens, 0 where unknown) of a node and its model.

    Raises:
        NodeError: It cannot be reached, lacks the model (and may not pull it), or the model cannot embed.
    """
    version = await client.version()
    models = await client.models()
    digest = _digest(models, client.model.name)
    if digest is None:
        if not pull:
            raise no_model(client, models)
        name = client.node.name
        await client.pull(
            None if progress is None else lambda what, done, total: progress(name, what, done, total)
        )
        digest = _digest(await client.models(), client.model.name) or ""
    shown = await client.show()
    if shown.embeds is False:
        can = f" (it can do {', '.join(shown.capabilities)})" if shown.capabilities else ""
        raise NodeRefused(
            f"has {client.model.name!r}, which is no embedding model{can}.",
            node=client.node.name,
            remedy="Name an embedding model, for example nomic-embed-text or all-minilm.",
        )
    return version, digest, shown.context


async def canary_vectors(
    client: NodeClient, *, timeout: float, dimension: int | None = None
) -> tuple[Vectors, float]:
    """Vectors of the canary texts, asked for twice in different order, and the seconds of the second request.

    Raises:
        NodeError: No answer, or one that cannot be believed.
    """
    try:
        first = await client.embed(CANARIES, timeout=timeout, dimension=dimension)
        start = asyncio.get_running_loop().time()
        again = await client.embed(CANARIES[::-1], timeout=timeout, dimension=first.vectors.shape[1])
    except InputRejected as error:
        raise NodeAnswerError(f"refuses the canary texts ({error.cause})", node=client.node.name) from error
    seconds = asyncio.get_running_loop().time() - start
    if likeness(first.vectors, again.vectors[::-1]) < SAME_VECTOR:
        raise NodeAnswerError(
            "gives a text another vector when the order of the list changes.",
            node=client.node.name,
            remedy="Look for a proxy that mixes up answers, or update Ollama there.",
        )
    return first.vectors, seconds


async def prove_again(client: NodeClient, known: ProvenCluster, *, timeout: float) -> float:
    """Let a node that failed, or was not there at the start, show that it may work beside the others (again).

    Args:
        client: The node's client.
        known: The cluster, with the reference that it is held against.
        timeout: Seconds for each request.

    Returns:
        Seconds of one request with all canaries, model loaded.

    Raises:
        NodeError: It may not.
    """
    name = client.node.name
    models = await client.models(timeout=timeout)
    digest = _digest(models, client.model.name)
    if digest is None:
        raise no_model(client, models)
    canaries, seconds = await canary_vectors(client, timeout=timeout)
    proof = Proof(name, "", digest, canaries, seconds)
    if reason := differs(proof, known.reference, accept_other_digest=known.spec.accept_other_digest):
        raise reason
    return seconds


def no_model(client: NodeClient, models: Iterable[str]) -> NodeRefused:
    """The error of a node that lacks the model and has these others."""
    name = client.model.name
    others = other_models(client.disclosure.names(models))
    remedy = f"Run 'ollama pull {name}' there, or allow pulling"
    return NodeRefused(
        f"does not have the model {name!r}. {others}".rstrip(),
        node=client.node.name,
        status=404,
        remedy=f"{remedy}, or use a model that it has (-m on the command line)." if others else f"{remedy}.",
    )


async def prove_cluster(
    spec: ClusterSpec, *, reference: Reference | None = None, progress: Progress | None = None
) -> ProvenCluster:
    """Let every node prove itself, all at the same time.

    Nodes that cannot be reached yet, or need longer than the others, are left out with the reason and may
    join while the work runs.

    Args:
        spec: The cluster.
        reference: What a table's vectors were made with; None lets the majority of the nodes decide (the
            first configured one where there is none).
        progress: Told of downloads, where `spec.pull` allows them.

    Raises:
        ClusterError: No node can do the work; the text names each one's cause.
    """
    clients = [NodeClient(node, spec.model) for node in spec.nodes]
    try:
        left_out: dict[str, NodeError] = {}
        known = await _gather(
            {c.node.name: identify(c, pull=spec.pull, progress=progress) for c in clients},
            left_out,
            grace=None if spec.pull else GRACE,
        )
        if spec.model.num_ctx is None:
            contexts = {name: context for name, (_, _, context) in known.items()}
            settled, short = settle_context(contexts, cap=CONTEXT_CAP)
            left_out |= short
            known = {name: each for name, each in known.items() if name not in short}
            spec = replace(spec, model=replace(spec.model, num_ctx=settled))
            for client in clients:
                client.model = spec.model
        canaries = await _gather(
            {
                c.node.name: canary_vectors(c, timeout=c.node.load_timeout)
                for c in clients
                if c.node.name in known
            },
            left_out,
            grace=LOAD_GRACE,
        )
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))
    proofs = {
        node.name: Proof(node.name, known[node.name][0], known[node.name][1], *canaries[node.name])
        for node in spec.nodes
        if node.name in canaries
    }
    if proofs:
        reference = reference or majority(list(proofs.values()))
        for name in list(proofs):
            if reason := differs(proofs[name], reference, accept_other_digest=spec.accept_other_digest):
                left_out[name] = reason
                del proofs[name]
    if not proofs or reference is None:
        causes = "\n".join(f"  {error}" for error in left_out.values())
        raise ClusterError(
            f"No node can embed with {spec.model.name!r}:\n{causes}",
            causes=left_out,
            state="Nothing was started.",
            remedy="Mend one of them and run again.",
        )
    return ProvenCluster(spec, reference, proofs, left_out)


def majority(proofs: Sequence[Proof]) -> Reference:
    """The digest and vectors that most nodes share; among equals the first configured one's."""

    def followers(candidate: Proof) -> int:
        reference = Reference(candidate.digest, candidate.canaries)
        return sum(differs(proof, reference) is None for proof in proofs)

    chosen = max(proofs, key=followers)  # max takes the first of equals
    return Reference(chosen.digest, chosen.canaries)


def differs(proof: Proof, reference: Reference, *, accept_other_digest: bool = False) -> NodeError | None:
    """Why this node must not work beside the reference, or None."""
    if not reference.same_vectors(proof.canaries):
        if proof.canaries.shape != reference.canaries.shape:
            how = f"{proof.canaries.shape[1]} dimensions, not {reference.dimension}"
        else:
            how = f"cosine {likeness(proof.canaries, reference.canaries):.4f}"
        return NodeRefused(
            f"gives other vectors than the rest ({how}): other weights under the same name.",
            node=proof.node,
            remedy="Pull the model there again, or take the node out of the cluster.",
        )
    if proof.digest and reference.digest and proof.digest != reference.digest and not accept_other_digest:
        return NodeRefused(
            f"has another build of the model (digest {proof.digest[:12]}, not {reference.digest[:12]}), "
            "though its vectors are the same.",
            node=proof.node,
            remedy="Pull the model there again, or let the cluster accept other digests with equal vectors.",
        )
    return None


def likeness(a: Vectors, b: Vectors) -> float:
    """The least cosine between rows of two equally shaped matrices of unit vectors."""
    return float(np.min(np.einsum("ij,ij->i", a, b)))


def _digest(models: Mapping[str, str], name: str) -> str | None:
    return models.get(full_name(name), models.get(name))


async def _gather(
    work: Mapping[str, Coroutine[Any, Any, T]], left_out: dict[str, NodeError], *, grace: float | None
) -> dict[str, T]:
    """Results by name; failures, and what is not there `grace` seconds after the first success, left out."""
    tasks = {asyncio.ensure_future(coroutine): name for name, coroutine in work.items()}
    done: dict[str, T] = {}
    pending = set(tasks)
    deadline: float | None = None
    loop = asyncio.get_running_loop()
    while pending:
        timeout = None if deadline is None else max(0.0, deadline - loop.time())
        finished, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            try:
                done[tasks[task]] = task.result()
            except NodeError as error:
                left_out[tasks[task]] = error
        if done and grace is not None and deadline is None:
            deadline = loop.time() + grace
        if not finished and deadline is not None and loop.time() >= deadline:
            for task in pending:
                task.cancel()
                left_out[tasks[task]] = NodeUnreachable(
                    f"was not ready {grace:g} s after the first node was.",
                    node=tasks[task],
                    remedy="It joins when it is.",
                )
            await asyncio.gather(*pending, return_exceptions=True)
            break
    return done
