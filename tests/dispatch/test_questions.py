"""A question goes before bulk work of other processes, and waits for one request at most. In virtual time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefect_ollama.blocks.errors import NodeFailed
from prefect_ollama.blocks.nodes import LoopLag
from prefect_ollama.blocks.nodes.canaries import CANARIES, SHORT
from prefect_ollama.blocks.nodes.embed_response import Answer
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import NodeVerification, VerifiedCluster
from prefect_ollama.tasks.dispatch import Asking
from prefect_ollama.tasks.dispatch import _embedding_kind as embedding_kind
from prefect_ollama.tasks.dispatch import _poison_texts as poison_texts
from prefect_ollama.tasks.dispatch import _waiting_questions as questions
from prefect_ollama.tasks.dispatch._embedding_kind import EmbeddingKind
from prefect_ollama.tasks.dispatch._engine import Engine
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._rate_model import RateModel
from prefect_ollama.tasks.dispatch._request_kind import AnswerCheck
from prefect_ollama.tasks.dispatch._sender import Sender
from prefect_ollama.tasks.dispatch._shared_limits import SLOTS, SharedLimits
from prefect_ollama.tasks.dispatch._waiting_questions import POLL_S, asked_urls
from prefect_ollama.tasks.dispatch.embedding import EmbeddingJob
from tests.cases import most_slow
from tests.dispatch.test_busy import right, texts
from tests.dispatch.virtual import DIMENSION, VirtualClient, VirtualLoop, VirtualNode, _vectors

QUESTION, NODE = "which one?", "n0"
BULK = 4_000


class FifoClient(VirtualClient):
    """A client of a node that others use too; it notes when requests come, and when their service begins."""

    queues: dict[str, asyncio.Semaphore]
    came: list[tuple[float, str]]
    began: list[tuple[float, str]]

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        super().__init__(node, model)
        self.virtual.queue = self.queues.setdefault(node.name, self.virtual.queue)

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        kind = "question" if QUESTION in texts else "bulk"
        loop = asyncio.get_running_loop()
        self.came.append((loop.time(), kind))
        await asyncio.sleep(self.virtual.latency / 2)
        async with self.virtual.queue:
            self.began.append((loop.time(), kind))
            await self.virtual.serve(self.virtual.count(texts))
        await asyncio.sleep(self.virtual.latency / 2)
        return Answer(_vectors(texts, "a"), 0)


@dataclass(frozen=True)
class Case:
    """A cluster of one node, and the folder in which all that use it meet."""

    node: VirtualNode
    folder: Path

    @property
    def cluster(self) -> VerifiedCluster:
        reference = Fingerprint.measured(CANARIES, _vectors(CANARIES, "a"), digest="digest")
        seconds = self.node.seconds(self.node.count(SHORT)) + self.node.latency
        spec = ClusterSpec((NodeSpec(NODE),), ModelSpec("virtual"), give_up_after=60.0)
        return VerifiedCluster(spec, reference, {NODE: NodeVerification(NODE, "", "digest", seconds)})

    def engine(self, folder: Path | None) -> Engine:
        return Engine(EmbeddingKind(self.cluster), self.cluster.spec, SharedLimits(folder))

    def url(self) -> str:
        return self.cluster.spec.nodes[0].url


def job(some: Sequence[str], *, urgent: bool) -> EmbeddingJob:
    return EmbeddingJob(list(some), DIMENSION, prefix="", urgent=urgent, limit=128)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    slots = getattr(request, "param", 1)
    node = VirtualNode(texts_per_second=100.0, slots=slots)
    FifoClient.nodes, FifoClient.queues, FifoClient.came, FifoClient.began = {NODE: node}, {}, [], []
    monkeypatch.setattr(embedding_kind, "open_endpoint", FifoClient)
    made = Case(node, tmp_path)
    (tmp_path / SLOTS).write_text(f'{{"{made.url()}": {slots}}}')
    return made


async def ask_while_a_run_works(case: Case, after: float, *, known: bool) -> float:
    """Ask a question of its own process after some seconds of a run; return when it was asked."""
    if not known:
        (case.folder / SLOTS).unlink()
    run, asked = case.engine(case.folder), case.engine(None)
    bulk, question = job(texts(BULK), urgent=False), job([QUESTION], urgent=True)
    run.add(bulk)
    await asyncio.sleep(after)
    came = asyncio.get_running_loop().time()
    with Asking(case.folder) as asking:
        asking.at([case.url()])
        asked.add(question)
        await asyncio.wrap_future(question.future)
    assert not bulk.future.done()
    embedded = await asyncio.wrap_future(bulk.future)
    assert right(texts(BULK), embedded.vectors)
    for each in (run, asked):
        await each.aclose()
    return came


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("after", most_slow([0.01, 3.3, 7.77, 11.2], but=[7.77]))
@pytest.mark.parametrize("case", [1, 2, 4], indirect=True)
@pytest.mark.sampled(3)
def test_a_question_waits_for_one_request_at_most(case: Case, after: float, known: bool) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        came = runner.run(ask_while_a_run_works(case, after, known=known))
    (served,) = (at for at, kind in FifoClient.began if kind == "question")
    before = [at for at, kind in FifoClient.began if kind == "bulk" and came < at < served]
    # Whatever waits there is taken back at the next look, so that only what is in service goes before.
    assert len(before) <= 1
    assert all(at <= came + POLL_S + case.node.latency for at in before)
    # The run goes on with all that the node can do.
    assert sum(kind == "bulk" for _, kind in FifoClient.began) > 10


def test_a_question_of_the_same_dispatcher_goes_before_what_waits_at_the_node(case: Case) -> None:
    async def both() -> None:
        run = case.engine(None)
        bulk, question = job(texts(BULK), urgent=False), job([QUESTION], urgent=True)
        run.add(bulk)
        await asyncio.sleep(10.0)
        came = len(FifoClient.began)
        run.add(question)
        await asyncio.wrap_future(question.future)
        assert FifoClient.began[came][1] == "question"
        assert right(texts(BULK), (await asyncio.wrap_future(bulk.future)).vectors)
        await run.aclose()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(both())


def test_a_question_goes_before_a_text_that_is_tried_again(case: Case) -> None:
    async def both() -> None:
        client = FifoClient(case.cluster.spec.nodes[0], ModelSpec("virtual"))
        node = Node(client, RateModel(100.0, 1.0, 4), SharedLimits(None), LoopLag())
        queue, kind = Queue(8), EmbeddingKind(case.cluster)
        sender = Sender(kind, [node], queue, AnswerCheck(), lambda *_: None)
        bulk, bad, question = (
            job(["bulk"], urgent=False),
            job(["bad"], urgent=False),
            job([QUESTION], urgent=True),
        )
        queue.put(bulk.items, front=False)
        sender.send(0.0)
        poison_texts.record_failure(bad.items[0], node, NodeFailed("failed (500).", node=NODE))
        node.texts = 1  # it may be tried again now, but only while the node has no other request
        queue.put(bad.items, front=False)
        queue.put(question.items, front=True)
        sender.send(0.0)
        assert [request.items for request in node.requests] == [bulk.items, question.items]
        await asyncio.gather(*(request.task for request in node.requests))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(both())


def test_a_question_that_never_ends_slows_a_run_and_no_more(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "SLOT_TIMEOUT_S", 3.0)

    async def both() -> None:
        run, bulk = case.engine(case.folder), job(texts(1_000), urgent=False)
        with Asking(case.folder) as asking:
            asking.at([case.url()])
            run.add(bulk)
            await asyncio.sleep(2.0)
            assert not FifoClient.came
            assert right(texts(1_000), (await asyncio.wrap_future(bulk.future)).vectors)
        await run.aclose()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(both())


def test_other_nodes_are_not_held_back(case: Case) -> None:
    async def both() -> None:
        run, bulk = case.engine(case.folder), job(texts(100), urgent=False)
        with Asking(case.folder) as asking:
            asking.at(["http://elsewhere:11434"])
            run.add(bulk)
            await asyncio.wrap_future(bulk.future)
            assert asked_urls(case.folder) == {"http://elsewhere:11434"}
        assert asked_urls(case.folder) == frozenset()
        await run.aclose()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(both())


HOLD = """
import sys; from pathlib import Path; from prefect_ollama.tasks.dispatch import Asking
with Asking(Path(sys.argv[1])) as asking:
    asking.at(["http://node:1"]); print("there", flush=True); sys.stdin.read()
"""


def test_a_killed_process_holds_nobody_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        assert asked_urls(tmp_path) == {"http://node:1"}
        os.kill(other.pid, signal.SIGKILL)
    assert asked_urls(tmp_path) == frozenset()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_of_no_use_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Asking(tmp_path / "file") as asking:
        asking.at(["http://node:1"])
    (tmp_path / "broken.question").write_text("{")
    assert asked_urls(tmp_path) == asked_urls(tmp_path / "none") == asked_urls(None) == frozenset()
    with Asking(None) as asking:
        asking.at(["http://node:1"])
