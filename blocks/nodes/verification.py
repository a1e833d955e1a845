"""Verify nodes before they get work: a node must answer, have the model, and give the same vectors as the others.

Names and digests do not suffice: nodes may have different weights under one name, and two versions of Ollama give
different vectors for one digest. So every node embeds the same canary texts. Their vectors are its fingerprint, which
is compared with those of the other nodes and of the table. Some canaries are sent again in another order, which shows
a node or proxy that answers in the wrong order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from prefect_ollama.blocks.errors import (
    ClusterError,
    InputRejected,
    NodeAnswerError,
    NodeBusy,
    NodeError,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.nodes._gather import GRACE_S, gather_by_node
from prefect_ollama.blocks.nodes._model_info import settle_context
from prefect_ollama.blocks.nodes._payload import unusable
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.canaries import QUICK, SCRIPT_TEXTS, SHORT, full_set
from prefect_ollama.blocks.nodes.comparison import Comparison, compare, digits, unlike_scripts
from prefect_ollama.blocks.nodes.embed_response import Vectors
from prefect_ollama.blocks.nodes.endpoint import Endpoint, NodeModel, Progress
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.running_models import find_model
from prefect_ollama.blocks.nodes.spec import ClusterSpec

T = TypeVar("T")

# Names in errors the vectors with which a node was compared; the alternative is the table's.
NODES = "the other nodes'"

# Least cosine between two vectors of one text from one node; those of two canaries are far below.
SAME_ORDER_COSINE = 0.999

# Context in tokens if the user sets none: chunks are far shorter, and a larger context costs memory.
CONTEXT_CAP = 2048

# Seconds that a run waits for the canary vectors of other nodes, after those of the first one. Some nodes load the
# model first, and the majority decides which vectors are right. Later nodes join when they are ready.
LOAD_GRACE_S = 5.0

# Seconds in which busy nodes are asked again, if no other node works: a server that loads its model, or a full queue
# or proxy, is usually free soon.
BUSY_S = 20.0
# Seconds before busy nodes are asked again for the first time, if they name no time; each time twice as long.
FIRST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class NodeVerification:
    """The result of verifying a node.

    Attributes:
        node: Name of the node.
        version: Version that it reports.
        digest: SHA-256 of its model's manifest; empty if it reports none.
        seconds: Time of one request with the texts `SHORT`, after the model was loaded.
        other_scripts: Scripts in which its vectors are not the table's or the other nodes', because its tokenizer
            is another one, with the cosine of a text.
    """

    node: str
    version: str
    digest: str
    seconds: float
    other_scripts: Mapping[str, float] = field(default_factory=dict)

    @property
    def texts_per_second(self) -> float:
        """Rate with the texts `SHORT`, as a first estimate."""
        return len(SHORT) / self.seconds


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedCluster:
    """A cluster with the verification of its nodes at the start of a run.

    Attributes:
        spec: The cluster, with the model's context settled.
        reference: The fingerprint of the model, as one of the nodes showed it in this run. It has the table's id if
            its vectors are the table's.
        verifications: By node name, of the nodes that may work at once.
        left_out: By node name, why a node does not (yet) take part.
    """

    spec: ClusterSpec
    reference: Fingerprint
    verifications: Mapping[str, NodeVerification]
    left_out: Mapping[str, NodeError] = field(default_factory=dict)

    @property
    def other_scripts(self) -> frozenset[str]:
        """Scripts in which a node gives other vectors than the table or another node."""
        return frozenset(name for each in self.verifications.values() for name in each.other_scripts)


async def canary_vectors(
    client: Endpoint, texts: Sequence[str], *, timeout: float
) -> tuple[Sequence[str], Vectors, float]:
    """Ask for the vectors of canary texts, and for those of `SHORT` again in another order.

    Args:
        texts: Canary texts, which begin with `SHORT`.
        timeout: Seconds for each request.

    Returns:
        The texts that it took (without those that are too long for its context), their vectors of shape
        (texts, dimension), and the seconds of the last request.

    Raises:
        NodeError: No answer, or one that cannot be believed.
    """
    scripts = tuple(each for each in texts if each in SCRIPT_TEXTS)
    plain = tuple(each for each in texts if each not in scripts)
    try:
        # Beside each other: in one list the scripts would add half to the time of a slow node with several slots, and
        # it would be left out at the start for it.
        (plain, first), (scripts, other) = await _beside_each_other(
            lambda: _vectors_of(client, plain, at_least=len(QUICK), timeout=timeout),
            lambda: _vectors_of(client, scripts, at_least=0, timeout=timeout),
        )
        start = asyncio.get_running_loop().time()
        again = await client.embed(SHORT[::-1], timeout=timeout, dimension=first.shape[1])
    except InputRejected as error:
        raise NodeAnswerError(f"refuses the canary texts ({error.cause})", node=client.node.name) from error
    except NodeUnreachable as error:
        if not error.silent or not await _has_in_memory(client):
            raise
        # Ollama loads a model again for other options, and delays this until the model has expired. Requests with
        # the options of the loaded model overtake, and each makes it expire later.
        raise NodeUnreachable(
            f"did not give a whole answer within {timeout:.3g} s, though it has the model in memory.",
            node=client.node.name,
            silent=True,
            remedy="Another program may use the model there with other options, such as another context. Run "
            f"'ollama stop {client.model.name}' there, and give all programs the same context.",
        ) from error
    seconds = asyncio.get_running_loop().time() - start
    if scripts and other.shape[1] != first.shape[1]:
        raise unusable(
            client.node.name, f"answered vectors of {first.shape[1]} and of {other.shape[1]} dimensions."
        )
    if np.min(np.einsum("ij,ij->i", first[: len(SHORT)], again.vectors[::-1])) < SAME_ORDER_COSINE:
        raise NodeAnswerError(
            "gives a text another vector when the order of the list changes.",
            node=client.node.name,
            remedy="Look for a proxy that mixes up answers, or update the server there.",
        )
    return (*plain, *scripts), np.concatenate([first, other]) if scripts else first, seconds


async def _beside_each_other(*calls: Callable[[], Awaitable[T]]) -> list[T]:
    """Return the results of calls at the same time; if the node is too busy for that, one after the other."""
    running = [asyncio.ensure_future(call()) for call in calls]
    try:
        return await asyncio.gather(*running)
    except NodeBusy as error:
        if error.retry_after:
            raise
        # A proxy may let only one request through. Those that it took are waited for.
        ended = await asyncio.gather(*running, return_exceptions=True)
        if all(isinstance(each, NodeBusy) for each in ended):
            raise
        return [
            await call() if task.exception() else task.result()
            for call, task in zip(calls, running, strict=True)
        ]
    finally:
        for task in running:
            task.cancel()


async def _vectors_of(
    client: Endpoint, texts: tuple[str, ...], *, at_least: int, timeout: float
) -> tuple[tuple[str, ...], Vectors]:
    """Return the texts that a node takes, with their vectors: all, or only the first ones, which it must take."""
    if not texts:
        return (), np.empty((0, 0), np.float32)
    try:
        return texts, (await client.embed(texts, timeout=timeout)).vectors
    except InputRejected:
        if len(texts) <= at_least:
            raise
        return await _vectors_of(client, texts[:at_least], at_least=at_least, timeout=timeout)


async def verify_again(
    client: Endpoint, known: VerifiedCluster, *, timeout: float, refused: NodeRefused | None = None
) -> float:
    """Verify a node that failed, or was not there at the start, so that it may work with the others (again).

    Args:
        client: The node's client.
        known: The cluster, with the reference for the comparison.
        timeout: Seconds for each request.
        refused: Why it was refused before. If that was for its vectors, it embeds nothing until its digest or version
            changes.

    Returns:
        Seconds of one request with the texts `SHORT`, after the model was loaded.

    Raises:
        NodeError: It may not work.
    """
    name = client.node.name
    build = await client.build(timeout=timeout)
    digest, version = build.build
    # Without a digest, nothing shows that the model is still the same.
    if refused is not None and digest and refused.model == build.build:
        raise refused
    if not known.spec.accept_other_digest and (reason := _other_digest(name, digest, known.reference)):
        raise reason
    # A node that was verified at the start had all canaries then, unless it was updated since.
    verification = known.verifications.get(name)
    texts: Sequence[str] = SHORT
    if verification is None or (verification.digest, verification.version) != (digest, version):
        texts = full_set(known.spec.model.num_ctx)
    texts, vectors, seconds = await canary_vectors(client, texts, timeout=timeout)
    # The full description of the model is not requested again, because the same build has the same weights.
    same_build = bool(digest) and build.build == (known.reference.digest, known.reference.version)
    if same_build:
        build = replace(build, quantization=known.reference.quantization)
    found = _fingerprint(build, known.spec.model.name, texts, vectors)
    if other := differs(name, found, known.reference, known.spec):
        raise other
    return seconds


async def verify_cluster(
    spec: ClusterSpec,
    *,
    reference: Fingerprint | None = None,
    quick: bool = False,
    progress: Progress | None = None,
) -> VerifiedCluster:
    """Verify all nodes at the same time.

    Nodes that cannot be reached yet, or need longer than the others, are left out with the reason. They may join during
    the work. If no node works and some are busy, all are asked again, for up to `BUSY_S` seconds.

    Args:
        spec: The cluster.
        reference: The fingerprint of a table. Nodes with its vectors are used, and the others left out. If there is no
            such node, or no table, the majority of the nodes decides (or the first configured one). So compare the id
            of the result's reference with this one.
        quick: Whether nodes with the reference's digest and version embed only a part of the canaries.
        progress: Called during downloads, if `spec.pull` allows them.

    Raises:
        ClusterError: No node can work; the text has the cause of each.
    """
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + BUSY_S, FIRST_PAUSE_S
    while True:
        try:
            return await _verify_once(spec, reference, quick, progress)
        except ClusterError as error:
            busy = [each for each in error.causes.values() if isinstance(each, NodeBusy)]
            wait = min(
                (pause if each.retry_after is None else each.retry_after for each in busy), default=BUSY_S
            )
            if loop.time() + wait >= end:
                raise
        await asyncio.sleep(wait)
        pause *= 2


async def _verify_once(
    spec: ClusterSpec, reference: Fingerprint | None, quick: bool, progress: Progress | None
) -> VerifiedCluster:
    clients = [open_endpoint(node, spec.model) for node in spec.nodes]
    try:
        left_out: dict[str, NodeError] = {}
        known = await gather_by_node(
            {c.node.name: c.identify(pull=spec.pull, progress=progress) for c in clients},
            left_out,
            grace=None if spec.pull else GRACE_S,
        )
        if spec.model.num_ctx is None:
            contexts = {name: each.context for name, each in known.items()}
            settled, short = settle_context(contexts, cap=CONTEXT_CAP)
            left_out |= short
            known = {name: each for name, each in known.items() if name not in short}
            spec = replace(spec, model=replace(spec.model, num_ctx=settled))
            for client in clients:
                client.model = spec.model
        everything = full_set(spec.model.num_ctx)
        measured = await gather_by_node(
            {
                c.node.name: canary_vectors(
                    c,
                    QUICK if quick and _reports_same_build(known[c.node.name], reference) else everything,
                    timeout=c.node.load_timeout,
                )
                for c in clients
                if c.node.name in known
            },
            left_out,
            grace=LOAD_GRACE_S,
        )
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))
    prints = {
        node.name: _fingerprint(known[node.name], spec.model.name, *measured[node.name][:2])
        for node in spec.nodes
        if node.name in measured
    }
    if prints:
        # The table decides if a node has its vectors. Otherwise the majority does, also among nodes of other models.
        wanted = [each for each in prints.values() if reference and compare(each, reference).same]
        chosen = majority(wanted or list(prints.values()))
        for name, found in list(prints.items()):
            reason = differs(name, found, reference, spec, "the table's") if reference and wanted else None
            if reason := reason or differs(name, found, chosen, spec):
                left_out[name] = reason
                del prints[name]
        against = [chosen, *([reference] if reference is not None and wanted else [])]
        verifications = {
            name: NodeVerification(
                name, found.version, found.digest, measured[name][2], _other_scripts(found, against)
            )
            for name, found in prints.items()
        }
        known_as = chosen.known_as(reference) if reference and wanted else chosen
        return VerifiedCluster(spec, known_as, verifications, spec.in_order(left_out))
    raise ClusterError.of_nodes(
        f"No node can embed with {spec.model.name!r}",
        spec.in_order(left_out),
        state="Nothing was started.",
    )


def majority(prints: Sequence[Fingerprint]) -> Fingerprint:
    """Return the fingerprint of most nodes; if several are equally frequent, that of the first configured node."""

    def followers(candidate: Fingerprint) -> int:
        return sum(
            compare(each, candidate).same and not _other_digest("", each.digest, candidate) for each in prints
        )

    return max(prints, key=followers)  # max takes the first of equals


def differs(
    node: str, found: Fingerprint, reference: Fingerprint, spec: ClusterSpec, whose: str = NODES
) -> NodeRefused | None:
    """Return why a node must not work, None if it may.

    Args:
        whose: Owner of the reference, for the error. Digests are compared with those of other nodes only.
    """
    result = compare(found, reference)
    if not result.same:
        return NodeRefused(
            f"gives other vectors than {whose} ({likeness(result)}): {result.cause}.",
            node=node,
            model=(found.digest, found.version),
            remedy="Bring it to the same model and the same version of its server, or take it out of the cluster.",
        )
    if whose == NODES and not spec.accept_other_digest:
        unlike = f", except for {unlike_scripts(result.scripts)}" if result.scripts else ""
        return _other_digest(node, found.digest, reference, f"{likeness(result)}{unlike}", found.version)
    return None


def likeness(result: Comparison) -> str:
    """Return the result of a comparison for people: `cosine 0.9995, at least 0.99995 expected`."""
    return f"cosine {digits(result.cosine)}, at least {result.least:g} expected"


async def _has_in_memory(client: Endpoint) -> bool:
    try:
        return find_model(await client.running() or (), client.model.name) is not None
    except NodeError:
        return False


def _other_scripts(found: Fingerprint, known: Iterable[Fingerprint]) -> dict[str, float]:
    """Return the scripts in which a node differs from one of these, with the lowest cosine."""
    scripts: dict[str, float] = {}
    for each in known:
        for name, value in compare(found, each).scripts.items():
            scripts[name] = min(value, scripts.get(name, 1.0))
    return scripts


def _other_digest(
    node: str, digest: str, reference: Fingerprint, measured: str = "", version: str = ""
) -> NodeRefused | None:
    if not digest or not reference.digest or digest == reference.digest:
        return None
    though = f", though its vectors agree ({measured})" if measured else ""
    return NodeRefused(
        f"has another build of the model (digest {digest[:12]}, not {reference.digest[:12]}){though}.",
        node=node,
        model=(digest, version),
        remedy="Pull the model there again, or name a saved cluster block with 'Accept other builds'.",
    )


def _reports_same_build(node: NodeModel, reference: Fingerprint | None) -> bool:
    mine = node.digest, node.version
    return reference is not None and all(mine) and mine == (reference.digest, reference.version)


def _fingerprint(says: NodeModel, model: str, texts: Sequence[str], vectors: Vectors) -> Fingerprint:
    return Fingerprint.measured(
        texts,
        vectors,
        model=model,
        digest=says.digest,
        version=says.version,
        quantization=says.quantization,
    )
