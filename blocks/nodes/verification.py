"""Verify nodes before they get work: a node must answer, have the model, and give the same vectors as the others.

Names and digests do not suffice: nodes may have different weights under one name, and two versions of Ollama give
different vectors for one digest. So every node embeds the same canary texts. Their vectors are its fingerprint, which
is compared with those of the other nodes and of the table.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prefect_ollama.blocks.errors import ClusterError, NodeBusy, NodeError, NodeRefused
from prefect_ollama.blocks.nodes._canary_vectors import canary_vectors
from prefect_ollama.blocks.nodes._gather import GRACE_S, gather_by_node
from prefect_ollama.blocks.nodes._model_info import settle_context
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.canaries import QUICK, SHORT, full_set
from prefect_ollama.blocks.nodes.comparison import compare, differs, majority, other_digest
from prefect_ollama.blocks.nodes.endpoint import Endpoint, Progress
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import ClusterSpec

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
        other_scripts: Scripts in which its vectors differ from those of the table or of the other nodes, because
            its tokenizer differs, with the cosine of a text.
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
    accept = known.spec.accept_other_digest
    if not accept and (reason := other_digest(name, build.build, known.reference.digest)):
        raise reason
    # A node that was verified at the start had all canaries then, unless it was updated since.
    verification = known.verifications.get(name)
    texts: Sequence[str] = SHORT
    if verification is None or (verification.digest, verification.version) != (digest, version):
        texts = full_set(known.spec.model.num_ctx)
    texts, vectors, seconds = await canary_vectors(client, texts, timeout=timeout)
    # The full description of the model is not requested again, because the same build has the same weights.
    if digest and build.build == known.reference.build:
        build = replace(build, quantization=known.reference.quantization)
    found = Fingerprint.measured(texts, vectors, model=known.spec.model.name, **build.says)
    if other := differs(name, found, known.reference, any_digest=accept):
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
        trusted = reference.build if quick and reference and all(reference.build) else None
        measured = await gather_by_node(
            {
                c.node.name: canary_vectors(
                    c,
                    QUICK if known[c.node.name].build == trusted else everything,
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
        name: Fingerprint.measured(texts, vectors, model=spec.model.name, **known[name].says)
        for name, (texts, vectors, _) in measured.items()
    }
    if prints:
        # The table decides if a node has its vectors. Otherwise the majority does, also among nodes of other models.
        wanted = [each for each in prints.values() if reference and compare(each, reference).same]
        table = reference if wanted else None
        chosen = majority(wanted or list(prints.values()))
        for name, found in list(prints.items()):
            # Digests are compared with those of other nodes only.
            reason = differs(name, found, table, "the table's", any_digest=True) if table else None
            if reason := reason or differs(name, found, chosen, any_digest=spec.accept_other_digest):
                left_out[name] = reason
                del prints[name]
        against = [each for each in (chosen, table) if each is not None]
        verifications = {
            name: NodeVerification(
                name, found.version, found.digest, measured[name][2], _other_scripts(found, against)
            )
            for name, found in prints.items()
        }
        known_as = chosen.known_as(table) if table else chosen
        return VerifiedCluster(spec, known_as, verifications, spec.in_order(left_out))
    raise ClusterError.of_nodes(
        f"No node can embed with {spec.model.name!r}", spec.in_order(left_out), state="Nothing was started."
    )


def _other_scripts(found: Fingerprint, known: Iterable[Fingerprint]) -> dict[str, float]:
    """Return the scripts in which a node differs from one of these, with the lowest cosine."""
    scripts: dict[str, float] = {}
    for each in known:
        for name, value in compare(found, each).scripts.items():
            scripts[name] = min(value, scripts.get(name, 1.0))
    return scripts
