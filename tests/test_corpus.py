"""A table opened once and asked often, with no Prefect: sync, async, from threads, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prefect_ollama import Corpus, Filter, open_corpus
from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.errors import (
    ClusterError,
    ConfigurationError,
    PrefectOllamaError,
    TableError,
    TableMissing,
    TextError,
)
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.resolve import limits_folder
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.dispatch._waiting_questions import asked_urls
from prefect_ollama.tasks.searching import nodes as asking
from tests.cases import most_slow
from tests.corpus_samples import embedded_document, identity_of, write_table
from tests.flow_samples import QUERY_PREFIX, requests
from tests.nodes import Node, nodes, text_hash

TIDES = ["The harbour tide rises twice a day.", "The moon pulls the sea."]
GEARS = ["The derailleur moves the chain sideways.", "A chain has links."]


@dataclass(frozen=True)
class Library:
    spec: StoreSpec
    node: Node


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with nodes({}) as (node,):
        place = tmp_path_factory.mktemp("db")
        spec = write_table(place, identity_of(node), {"tides.pdf": TIDES, "sub/gears.pdf": GEARS})
        yield Library(spec, node)


@pytest.fixture(autouse=True)
def healthy(library: Library) -> None:
    library.node.heal()
    library.node.reset()


def test_nodes_are_verified_once_and_asked_often(library: Library) -> None:
    with open_corpus(library.spec.uri, library.node.url) as corpus:
        assert requests([library.node]) == 0
        found = corpus.search("Which part moves the chain?", limit=3)
        first = requests([library.node])
        assert "sub/gears.pdf" in {hit.path for hit in found}
        assert len(found) == 3
        for number in range(3):
            assert corpus.search(f"chain {number}", mode="vector")
        # One request a question; the nodes were identified and compared for the first one only.
        assert requests([library.node]) == first + 3
        served = library.node.stats()["served"]
    assert text_hash(QUERY_PREFIX + "chain 2") in served


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        ("search", {"mode": "nonsense"}, "no mode 'nonsense'.*'vector', 'text', 'hybrid'"),
        ("search", {"limit": 0}, "cannot return 0 chunks"),
        ("search_all", {"limit": 2.5}, "cannot return 2.5 chunks"),
        ("search_all", {"around": -1}, "no -1 passages"),
        ("search", {"around": "page"}, "no 'page' passages"),
        ("ask", {"mode": "nonsense"}, "no mode 'nonsense'"),
        ("ask", {"only": Filter(documents=("absent.pdf",))}, "no document"),
    ],
)
def test_wrong_arguments_are_refused_before_a_node_is_asked(
    library: Library, method: str, given: dict[str, Any], told: str
) -> None:
    question = ["chain"] if method == "search_all" else "chain"
    with open_corpus(library.spec.uri, library.node.url) as corpus:
        with pytest.raises(ConfigurationError, match=told):
            getattr(corpus, method)(question, **given)
        with pytest.raises(ConfigurationError, match="in place of a list"):
            corpus.search_all("chain")
    with pytest.raises(ConfigurationError, match="The name of a model is empty"):
        open_corpus(library.spec.uri, library.node.url, chat_model=" ")
    assert requests([library.node]) == 0


def test_words_need_no_node(library: Library) -> None:
    with open_corpus(library.spec.uri, "http://127.0.0.1:9") as corpus:
        (hit,) = corpus.search("derailleur", mode="text")
        assert (hit.path, hit.page_from, hit.text) == ("sub/gears.pdf", 1, GEARS[0])
        with pytest.raises(ClusterError, match="No node can embed"):
            corpus.search("derailleur")


def test_in_async_code_other_coroutines_run_meanwhile(library: Library) -> None:
    asyncio.run(_ask_in_async_code(library))


async def _ask_in_async_code(library: Library) -> None:
    async with open_corpus(library.spec.uri, library.node.url) as corpus:

        async def let_it_answer() -> None:
            for _ in range(10):
                await asyncio.sleep(0.01)
            library.node.thaw()

        # The node cannot answer before another coroutine has had ten turns.
        library.node.freeze()
        others = asyncio.create_task(let_it_answer())
        try:
            answers = await asyncio.gather(*(corpus.asearch(text, mode="vector", limit=1) for text in GEARS))
        finally:
            library.node.thaw()
        await others
    assert [len(each) for each in answers] == [1, 1]


def test_threads_may_ask_at_once(library: Library) -> None:
    questions = [*TIDES, *GEARS]
    with open_corpus(library.spec.uri, library.node.url) as corpus, ThreadPoolExecutor(8) as pool:
        alone = [corpus.search(question) for question in questions]
        assert list(pool.map(corpus.search, questions * 6)) == alone * 6


def test_blocks_will_do_too(library: Library) -> None:
    table = LanceTable(uri=library.spec.uri)
    with open_corpus(table, OllamaCluster(nodes=[library.node.url])) as corpus:
        assert "tides.pdf" in {hit.path for hit in corpus.search("tide")}


def test_a_closed_corpus_says_so(library: Library) -> None:
    corpus = open_corpus(library.spec.uri, library.node.url)
    corpus.search("tide")
    corpus.close()
    corpus.close()
    with pytest.raises(ConfigurationError, match="closed"):
        corpus.search("tide", mode="text")


def test_nodes_with_other_vectors_are_refused(library: Library) -> None:
    library.node.control(weights="b")
    with open_corpus(library.spec.uri, library.node.url) as corpus:
        for _ in range(2):
            with pytest.raises(TableError, match="their vectors differ"):
                corpus.search("tide")
        library.node.control(weights="a")
        assert corpus.search("tide")  # what failed is tried again


def test_a_table_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(TableMissing, match="no table"):
        open_corpus(tmp_path / "db")
    assert not (tmp_path / "db").exists()


def test_a_question_that_no_node_takes_has_its_own_error(library: Library) -> None:
    with open_corpus(library.spec.uri, library.node.url) as corpus, pytest.raises(TextError):
        corpus.search("tide " * 20_000, mode="vector")


def test_a_table_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    with nodes({}, {"weights": "b"}) as (old, new):
        spec = write_table(tmp_path / "db", identity_of(old), {"a.pdf": TIDES})
        with Corpus(spec, [new.url]) as corpus:
            with pytest.raises(TableError, match="their vectors differ"):
                corpus.search("tide", mode="vector")
            store = Store.open(spec)
            staging = Store.open(spec.staging, identity=identity_of(new), create=True)
            staging.begin_run("anew", "papers")
            staging.write([embedded_document("b.pdf", GEARS)])
            staging.end_run()
            store.swap_in("swap")
            assert {hit.path for hit in corpus.search("chain", mode="vector")} == {"b.pdf"}


ASK = """
import json, sys
from prefect_ollama.__main__ import main
sys.argv[1:] = json.loads(sys.argv[1])
try:
    main()
finally:
    loaded = {name.partition('.')[0] for name in sys.modules}
    catalogue = 'lance_namespace_urllib3_client.api' in sys.modules
    print(json.dumps([sorted(loaded & {'prefect', 'dask', 'distributed', 'sqlalchemy'}), catalogue]), file=sys.stderr)
"""


@pytest.mark.parametrize("mode", most_slow(["text", "vector", "hybrid"], but=["hybrid"]))
def test_the_command_imports_no_prefect(library: Library, mode: str, tmp_path: Path) -> None:
    at = [] if mode == "text" else ["-n", library.node.url]
    options = ["search", "derailleur chain", "--mode", mode, "--uri", library.spec.uri, "--json", *at]
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == [[], False]
    assert "sub/gears.pdf" in {hit["path"] for hit in json.loads(done.stdout)}
    assert "Searching…" in done.stderr


def test_runs_are_told_to_hold_back_while_a_question_is_asked(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    folder = limits_folder()
    seen: dict[str, frozenset[str]] = {}
    verify, embed = asking.verified, Dispatcher.embed

    def verified(*arguments: Any, **more: Any) -> Any:
        seen["verified"] = asked_urls(folder)
        return verify(*arguments, **more)

    def embedded(*arguments: Any, **more: Any) -> Any:
        seen["embedded"] = asked_urls(folder)
        return embed(*arguments, **more)

    monkeypatch.setattr(asking, "verified", verified)
    monkeypatch.setattr(Dispatcher, "embed", embedded)
    with open_corpus(library.spec.uri, library.node.url) as corpus:
        assert corpus.search("derailleur", mode="text")
        assert not seen
        assert corpus.search("derailleur")
        assert seen == {"verified": {library.node.url}, "embedded": {library.node.url}}
        assert asked_urls(folder) == frozenset()
        library.node.control(faults=["forbidden"])
        with pytest.raises(PrefectOllamaError):
            open_corpus(library.spec.uri, library.node.url).search("derailleur")
        assert asked_urls(folder) == frozenset()


def test_a_question_that_is_answered_is_announced_once(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    folder = limits_folder()
    announced: list[int] = []
    embed = Dispatcher.embed

    def embedded(*arguments: Any, **more: Any) -> Any:
        announced.append(len(list(folder.glob("*.question"))))
        return embed(*arguments, **more)

    monkeypatch.setattr(Dispatcher, "embed", embedded)
    with open_corpus(library.spec.uri, library.node.url) as corpus:
        assert corpus.ask("Which part is the derailleur?")
    # The question, then the sentences of what was found for it.
    assert announced
    assert set(announced) == {1}
