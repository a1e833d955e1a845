"""Each private name of another package that the product uses has a test here, which says what breaks without it.

A private name may go in any release. These tests fail then, before a user's run does.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import distributed
import pytest
from prefect.blocks.core import Block
from prefect.client.schemas.objects import BlockDocument
from prefect.states import Completed
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from prefect_ollama.blocks import OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.flows.runner._dask_servers import LOST_HEARTBEAT
from tests.test_public_api import modules

DOCUMENTED = {
    # https://docs.prefect.io/v3/concepts/blocks describes them as a block type's own settings.
    "_block_type_name", "_block_type_slug", "_documentation_url", "_logo_url",
    # https://docs.python.org/3/library: os, collections
    "_exit", "_replace",
    # https://github.com/python/typeshed/tree/main/stdlib/_typeshed: for type checkers alone
    "_typeshed",
}  # fmt: skip
"""Names that begin with an underscore and are no private ones."""

HOOKS: set[str] = set()
"""Names that have a test."""


def holds(*names: str) -> Callable[[Any], Any]:
    """Mark the test of private names."""

    def mark(test: Any) -> Any:
        HOOKS.update(names)
        return test

    return mark


def private(name: str | None) -> bool:
    return bool(name and name.startswith("_") and name.strip("_") and not name.startswith("__"))


def defined(tree: ast.AST) -> set[str]:
    """Names that a tree gives a meaning to, those of `self` included."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self" | "cls")):
                found.add(name)
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                found |= {each.asname or each.name for each in names}
    return found


@functools.cache
def tree_of(value: type) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (TypeError, OSError):  # not written in Python
        return ast.Module([], [])


@functools.cache
def private_names_of(value: type) -> frozenset[str]:
    """Private names of a class of another package, as far as its own body defines them."""
    return frozenset(filter(private, {*vars(value), *defined(tree_of(value))}))


def taken_over(value: type) -> set[str]:
    """Private names of base classes from elsewhere that a class of ours overrides or uses."""
    theirs = {
        name
        for base in value.__mro__
        if not base.__module__.startswith(("prefect_ollama", "abc", "typing", "builtins"))
        for name in private_names_of(base)
    }
    node = tree_of(value)
    return theirs & (
        {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)} | defined(node)
    )


def used(tree: ast.AST, ours: set[str]) -> Iterator[str]:
    """Private names that a module of ours takes from elsewhere without a base class."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if private(name) and name not in ours:
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store(), value=value) if private(name):
                if not (isinstance(value, ast.Name) and value.id in ("self", "cls")) and name not in ours:
                    yield name
            case ast.keyword(arg=name) if name and private(name):
                yield name
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"),
                args=[_, ast.Constant(value=str(name)), *_],
            ):
                if private(name) and name not in ours:
                    yield name
            case ast.ImportFrom(module=str(module), level=0, names=names) if module != "__future__":
                if not module.startswith("prefect_ollama"):
                    parts = {*module.split("."), *(each.name for each in names)}
                    yield from filter(private, parts)


@pytest.mark.slow
def test_every_private_name_of_another_package_has_a_test() -> None:
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules()}
    ours = set().union(*map(defined, trees.values()))
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        names = set(used(tree, ours))
        for value in vars(importlib.import_module(name)).values() if not name.endswith("__main__") else ():
            if inspect.isclass(value) and value.__module__ == name:
                names |= taken_over(value)
        for each in names - DOCUMENTED:
            found.setdefault(each, set()).add(name)
    assert {each: sorted(where) for each, where in found.items() if each not in HOOKS} == {}, "without a test"
    assert HOOKS - found.keys() == set(), "no longer used"


class Recorded(distributed.SpecCluster):
    """A cluster of one worker in this process, which notes who calls what."""

    def __init__(self, calls: list[str], removed: asyncio.Event) -> None:
        self.calls, self.removed = calls, removed
        no_pages = {"dashboard": False, "dashboard_address": None}
        super().__init__(  # type: ignore[no-untyped-call]
            workers={"one": {"cls": distributed.Worker, "options": {"nthreads": 1, **no_pages}}},
            scheduler={
                "cls": distributed.Scheduler,
                "options": {"protocol": "inproc", "port": 0, **no_pages},
            },
            asynchronous=True,
        )

    async def _start(self) -> None:
        self.calls.append("_start")
        await super()._start()  # type: ignore[no-untyped-call]

    async def _correct_state_internal(self) -> None:
        self.calls.append("_correct_state_internal")
        await super()._correct_state_internal()

    async def _close(self) -> None:
        self.calls.append("_close")
        await super()._close()  # type: ignore[no-untyped-call]

    def _update_worker_status(self, op: str, msg: Any) -> None:
        self.calls.append(f"_update_worker_status {op}")
        distributed.deploy.Cluster._update_worker_status(self, op, msg)
        if op == "remove":
            self.removed.set()


@pytest.fixture(scope="module")
def calls() -> list[str]:
    """Return what Dask calls of a cluster that starts, loses its worker and is closed, in order."""

    async def run() -> list[str]:
        noted: list[str] = []
        removed = asyncio.Event()
        async with Recorded(noted, removed) as cluster:
            assert cluster.scheduler is not None
            (address,) = cluster.scheduler.workers
            await cluster.scheduler.remove_worker(address, stimulus_id="test", close=False)
            await asyncio.wait_for(removed.wait(), 240)
        return noted

    return asyncio.run(run())


@holds("_start")
def test_a_cluster_starts_its_scheduler_in_start(calls: list[str]) -> None:
    """Without it a cluster of ours would wait for its workers, or never have a scheduler."""
    assert calls[0] == "_start"


@holds("_correct_state_internal")
def test_a_cluster_starts_its_workers_in_correct_state_internal(calls: list[str]) -> None:
    """Without it a worker that is killed as it starts would not be started again."""
    assert "_correct_state_internal" in calls


@holds("_update_worker_status")
def test_a_cluster_learns_of_lost_workers_in_update_worker_status(calls: list[str]) -> None:
    """Without it a cluster would give up a worker that is back after more than 15 seconds."""
    assert "_update_worker_status remove" in calls


@holds("_close")
def test_a_cluster_ends_in_close(calls: list[str]) -> None:
    """Without it the folder of the run's processes would stay behind, and Dask's log level as it was set."""
    assert "_close" in calls


@holds("_final_state")
def test_a_future_gives_the_final_state_that_is_set() -> None:
    """Without it a task run whose worker died would end without the cause."""
    future: PrefectDaskFuture[Any] = PrefectDaskFuture(uuid4(), None)  # type: ignore[arg-type]
    assert future._final_state is None
    future._final_state = Completed(data=3)
    assert future.state.is_completed()
    assert future.result() == 3


@holds("_started", "_cluster", "_client")
def test_a_runner_holds_whether_it_started_and_what_it_connects_to() -> None:
    """Without them a run could not submit tasks, give secrets to its workers alone, nor end what they had under way."""
    with distributed.LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, processes=False, protocol="inproc", dashboard_address=None, worker_dashboard_address=None
    ) as cluster:
        runner: Any = DaskTaskRunner(cluster=cluster)
        assert (runner._started, runner._client) == (False, None)
        with runner:
            assert runner._started
            client = runner.client
            assert (runner._client, runner._cluster) == (client, cluster)
        assert not runner._started


@pytest.mark.slow
@holds(
    "_block_document_id", "_block_document_name", "_load_from_block_document", "_to_block_document", "_sync"
)
def test_blocks_are_saved_and_loaded_through_the_hooks(
    prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them wrong values of a saved block would have no words, and nodes in a cluster would be saved as copies.

    Without id and name a saved block would be pickled with its secrets, and have no name in reports. `_sync` makes
    Prefect's methods work where an event loop runs, as in async flows.
    """
    passed = []
    load = Block.__dict__["_load_from_block_document"].__func__
    to_document = Block._to_block_document

    def load_noted(cls: type[Block], *args: Any, **kwargs: Any) -> Block:
        passed.append("load")
        block: Block = load(cls, *args, **kwargs)
        return block

    def to_document_noted(self: Block, *args: Any, **kwargs: Any) -> BlockDocument:
        passed.append("save")
        return to_document(self, *args, **kwargs)

    monkeypatch.setattr(Block, "_load_from_block_document", classmethod(load_noted))
    monkeypatch.setattr(Block, "_to_block_document", to_document_noted)

    async def in_a_loop() -> tuple[Any, Any]:
        OllamaNode(url="http://gpu-box:11434").save("hooks", overwrite=True, _sync=True)  # type: ignore[call-arg]
        loaded = OllamaNode.load("hooks", _sync=True)  # type: ignore[call-arg]
        reference = {"block_document_id": str(loaded._block_document_id)}
        return loaded, OllamaNode.load_from_ref(reference, _sync=True)  # type: ignore[call-arg]

    for block in asyncio.run(in_a_loop()):
        assert (block.url, block._block_document_name) == ("http://gpu-box:11434", "hooks")
        assert (block.name, block.unchanged) == ("hooks", True)
    assert passed == ["save", "load", "load"]
    with pytest.raises(ConfigurationError):
        OllamaCluster(nodes=[OllamaNode(url="gpu-box")]).save("hooks")


@holds("_run_exitfuncs")
def test_what_is_registered_for_the_end_can_be_run_before_it() -> None:
    """Without it Prefect's temporary server would outlive a command that is interrupted."""
    code = (
        "import atexit, os; atexit.register(print, 'done', flush=True); atexit._run_exitfuncs(); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.stdout == "done\n"


def test_dask_says_of_a_lost_heartbeat_what_workers_leave_out() -> None:
    assert LOST_HEARTBEAT in inspect.getsource(distributed.Worker.heartbeat)
