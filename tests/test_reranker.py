"""Passages in the order of a reranker or a judge, and in that of the search if it fails in any way."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import prefect_ollama
from prefect_ollama.blocks import OllamaCluster, OllamaNode, OpenAICompatibleNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.nodes import NodeSpec
from prefect_ollama.blocks.nodes.rerank_endpoint import RerankEndpoint
from prefect_ollama.commands import app
from prefect_ollama.tasks.searching.reranker import RERANKED_PASSAGES
from tests.corpus_samples import identity_of, write_table
from tests.nodes import Node, nodes
from tests.store_samples import IDENTITY, embedded

TEXTS = [f"The lantern number {number} is lit." for number in range(8)]
WORDS = "lantern"
RECORDED = Path(__file__).parent / "data" / "llama-server" / "answers.jsonl"

# A busy machine is no reason to leave the order as it is.
open_corpus = functools.partial(prefect_ollama.open_corpus, rerank_timeout=240)


def number_in(text: str) -> float:
    return float(*re.findall(r"number (\d+)", text) or [0])


def scored(texts: list[str]) -> Any:
    """Score the passages by the number in them, the last in the list first, as llama-server answers."""
    rows = [{"index": place, "relevance_score": number_in(text)} for place, text in enumerate(texts)]
    return {"model": "m", "results": sorted(rows, key=lambda row: -row["relevance_score"])}


@dataclass
class Endpoint:
    """A server that reranks, and what it was asked; `answer` makes status and body of the passages."""

    answer: Callable[[list[str]], tuple[int, bytes]] = lambda texts: (200, json.dumps(scored(texts)).encode())
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    path: str = "/v1/rerank"
    url: str = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Endpoint]:
    with serving() as made:
        yield made


@contextmanager
def serving() -> Iterator[Endpoint]:
    made = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == made.path:
                made.asked.append(asked)
                made.keys.append(self.headers.get("authorization"))
                status, body = made.answer(asked.get("documents") or asked.get("texts"))
            else:
                status, body = 404, b""
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.go_on.set()
        server.shutdown()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> StoreSpec:
    spec = StoreSpec(str(tmp_path_factory.mktemp("db")), "documents")
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("r1", "papers")
    store.write([embedded("a.pdf", TEXTS[:4]), embedded("b.pdf", TEXTS[4:])])
    store.end_run()
    return spec


def test_passages_come_in_the_order_of_the_endpoint(endpoint: Endpoint, table: StoreSpec) -> None:
    with open_corpus(table, reranker=endpoint.url) as corpus:
        found = corpus.search(WORDS, mode="text", limit=3)
        assert [hit.text for hit in found] == TEXTS[:-4:-1]
        assert [hit.score for hit in found] == [7.0, 6.0, 5.0]
        assert found.notes == ()
        (asked,) = endpoint.asked
        assert asked["query"] == WORDS
        assert sorted(asked["documents"]) == sorted(TEXTS)
        # Each of several questions is scored by itself, and no passages are not sent.
        assert [len(each) for each in corpus.search_all([WORDS, "number"], mode="text", limit=2)] == [2, 2]
        assert corpus.search("xylophone", mode="text") == []
        assert len(endpoint.asked) == 3
        documents = corpus.search(WORDS, mode="text", one_per_document=True)
        assert [hit.path for hit in documents] == ["b.pdf", "a.pdf"]
    assert len(TEXTS) < RERANKED_PASSAGES


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_a_server_that_takes_texts_is_asked_for_these(
    endpoint: Endpoint, table: StoreSpec, path: str
) -> None:
    def tei(texts: list[str]) -> tuple[int, bytes]:
        if "texts" not in endpoint.asked[-1]:
            return 422, b'{"error": "missing field `texts`"}'
        rows = [{"index": place, "score": number_in(text)} for place, text in enumerate(texts)]
        return 200, json.dumps(rows).encode()

    endpoint.answer, endpoint.path = tei, path
    with open_corpus(table, reranker=endpoint.url.removesuffix("/v1")) as corpus:
        found = corpus.search(WORDS, mode="text", limit=2)
        assert ([hit.text for hit in found], found.notes) == ([TEXTS[7], TEXTS[6]], ())
        assert endpoint.asked[-1]["truncate"] is True
        asked = len(endpoint.asked)
        assert corpus.search(WORDS, mode="text", limit=1).notes == ()
        assert len(endpoint.asked) == asked + 1  # its form is known by now


@pytest.mark.parametrize("status", [413, 422])
def test_a_server_that_takes_fewer_passages_gets_them_in_parts(
    endpoint: Endpoint, table: StoreSpec, status: int
) -> None:
    def few(texts: list[str]) -> tuple[int, bytes]:
        if len(texts) > 3:
            said = f"batch size {len(texts)} > maximum allowed batch size 3"
            return status, json.dumps({"error": said, "error_type": "Validation"}).encode()
        return 200, json.dumps({"data": scored(texts)["results"]}).encode()  # as Voyage answers

    endpoint.answer = few
    with open_corpus(table, reranker=endpoint.url) as corpus:
        found = corpus.search(WORDS, mode="text", limit=8)
        assert ([hit.text for hit in found], found.notes) == (TEXTS[::-1], ())
        asked = len(endpoint.asked)
        assert corpus.search(WORDS, mode="text", limit=8).notes == ()
        assert len(endpoint.asked) == asked + 3  # its limit is known by now


def test_another_server_scores_if_one_fails(endpoint: Endpoint, other: Endpoint, table: StoreSpec) -> None:
    for failure in (lambda _: (500, b"{}"), lambda texts: (200, json.dumps(one_less(texts)).encode())):
        endpoint.answer = failure
        for named in ([endpoint.url, other.url], f"{other.url}, {endpoint.url}"):
            with open_corpus(table, reranker=named) as corpus:
                for _ in range(3):
                    found = corpus.search(WORDS, mode="text", limit=2)
                    assert ([hit.text for hit in found], found.notes) == ([TEXTS[7], TEXTS[6]], ())
    assert other.asked


def test_a_server_that_works_again_is_used_again(endpoint: Endpoint, table: StoreSpec) -> None:
    works, endpoint.answer = endpoint.answer, lambda _: (503, b"{}")
    with open_corpus(table, reranker=endpoint.url) as corpus:
        assert corpus.search(WORDS, mode="text", limit=2).notes
        endpoint.answer = works
        for _ in range(20):  # it rests for a moment, which a question waits for, but not long
            found = corpus.search(WORDS, mode="text", limit=2)
            if not found.notes:
                break
        assert [hit.text for hit in found] == [TEXTS[7], TEXTS[6]]


def test_questions_of_several_threads_go_to_all_servers(
    endpoint: Endpoint, other: Endpoint, table: StoreSpec
) -> None:
    both = threading.Barrier(2, timeout=240)

    def together(texts: list[str]) -> tuple[int, bytes]:
        both.wait()  # each server has a question, at the same time
        return 200, json.dumps(scored(texts)).encode()

    endpoint.answer = other.answer = together
    with (
        open_corpus(table, reranker=[endpoint.url, other.url], rerank_timeout=240) as corpus,
        ThreadPoolExecutor(2) as pool,
    ):
        found = list(pool.map(lambda words: corpus.search(words, mode="text", limit=1), [WORDS, "number"]))
    assert [(each[0].text, each.notes) for each in found] == [(TEXTS[7], ())] * 2


def one_less(texts: list[str]) -> Any:
    return {"results": scored(texts)["results"][1:]}


def changed(**values: Any) -> Callable[[list[str]], Any]:
    def answer(texts: list[str]) -> Any:
        rows = scored(texts)["results"]
        return {"results": [rows[0] | values, *rows[1:]]}

    return answer


def told_by_llama_server(case: str) -> tuple[int, Callable[[list[str]], Any]]:
    """Status and body of a recorded answer."""
    (row,) = (row for row in map(json.loads, RECORDED.read_text().splitlines()) if row["case"] == case)
    return row["status"], lambda _: row["body"]


@pytest.mark.parametrize("case", ["rerank", "rerank texts"])
def test_the_scores_of_a_llama_server_are_those_of_the_passages(endpoint: Endpoint, case: str) -> None:
    status, made = told_by_llama_server(case)
    endpoint.answer = lambda texts: (status, json.dumps(made(texts)).encode())

    async def ask() -> list[float]:
        server = RerankEndpoint(NodeSpec("it", endpoint.url, api="openai"))
        try:
            return await server.rerank("tide", ["the tide rises", "a cake"], timeout=60)
        finally:
            await server.aclose()

    assert asyncio.run(ask()) == [-0.667524516582489, 0.025685913860797882]


FAULTS: dict[str, tuple[int, Callable[[list[str]], Any], str]] = {
    "500": (500, lambda _: {"error": "out of memory"}, "500"),
    "404": (404, lambda _: {}, "404"),
    "401": (401, lambda _: {}, "401"),
    "400 twice": (400, lambda _: {"error": "no"}, "400"),
    "llama-server without --reranking": (
        *told_by_llama_server("rerank without --reranking"),
        "start its server for reranking",
    ),
    "too long for llama-server": (*told_by_llama_server("rerank too long"), "Ask a shorter question"),
    "too few scores": (200, one_less, "7 scores for 8 passages"),
    "no scores": (200, lambda _: {"results": []}, "0 scores"),
    "another answer": (200, lambda _: {"data": "hello"}, "no list of scores"),
    "NaN": (200, lambda texts: json.dumps(changed(relevance_score=float("nan"))(texts)), "JSON"),
    "infinite": (200, lambda texts: json.dumps(scored(texts)).replace("7.0", "1e999"), "score|JSON"),
    "null": (200, changed(relevance_score=None), "no finite number"),
    "true": (200, changed(relevance_score=True), "no finite number"),
    "a text": (200, changed(relevance_score="0.9"), "no finite number"),
    "an index out of range": (200, changed(index=8), "does not match"),
    "a negative index": (200, changed(index=-1), "does not match"),
    "an index twice": (200, lambda texts: {"results": [scored(texts)["results"][0]] * 8}, "does not match"),
    "an index of a fraction": (200, changed(index=1.5), "does not match"),
    "no JSON": (200, lambda _: "<html>", "JSON|list of scores"),
    "rows that are lists": (200, lambda _: [[0, 1.0]] * 8, "no list of scores"),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", FAULTS)
def test_the_order_of_the_search_stays_if_the_endpoint_fails(
    endpoint: Endpoint, table: StoreSpec, name: str
) -> None:
    status, made, told = FAULTS[name]

    def answer(texts: list[str]) -> tuple[int, bytes]:
        body = made(texts)
        return status, (body if isinstance(body, str) else json.dumps(body)).encode()

    endpoint.answer = answer
    with open_corpus(table) as corpus:
        plain = corpus.search(WORDS, mode="text", limit=3)
    with open_corpus(table, reranker=endpoint.url) as corpus:
        found = corpus.search(WORDS, mode="text", limit=3)
    assert found == plain
    (note,) = found.notes
    assert note.startswith("The passages stand in the order of the search, not reranked: ")
    assert any(each in note for each in told.split("|")), note
    assert "\n" not in note
    assert "embed" not in note, "a reranker does not embed"


def test_a_slow_or_absent_endpoint_is_not_waited_for(endpoint: Endpoint, table: StoreSpec) -> None:
    def slow(texts: list[str]) -> tuple[int, bytes]:
        endpoint.go_on.wait(240)
        return 200, b"{}"

    endpoint.answer = slow
    with open_corpus(table, reranker=endpoint.url, rerank_timeout=0.2) as corpus:
        found = corpus.search(WORDS, mode="text", limit=3)
        assert len(found) == 3
        assert "within 0.2 s" in found.notes[0]
    with open_corpus(table, reranker="http://127.0.0.1:9/v1") as corpus:
        found = corpus.search(WORDS, mode="text", limit=3)
        assert (len(found), len(found.notes)) == (3, 1)


def test_a_block_gives_key_and_model(endpoint: Endpoint, table: StoreSpec) -> None:
    block = OpenAICompatibleNode(url=endpoint.url, model="bge-reranker", api_key="its-key")
    with open_corpus(table, reranker=block) as corpus:
        assert corpus.search(WORDS, mode="text", limit=1)[0].text == TEXTS[7]
    assert endpoint.keys == ["Bearer its-key"]
    assert endpoint.asked[0]["model"] == "bge-reranker"


def test_what_is_no_reranker_is_refused(table: StoreSpec) -> None:
    for named, told in (
        ("http://host:99999/v1", "99999"),
        ("http://user:secret@host/v1?x=1", "is no reranker"),
        (OllamaNode(url="http://host:11434"), "Ollama does not rerank"),
    ):
        with pytest.raises(ConfigurationError, match=told) as caught:
            open_corpus(table, reranker=named)  # type: ignore[arg-type]
        assert caught.value.state == "Nothing was searched."
    with pytest.raises(ConfigurationError, match="within 0 s"):
        open_corpus(table, reranker="http://host/v1", rerank_timeout=0)


def test_the_command_reranks_and_shows_why_not(
    endpoint: Endpoint, table: StoreSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["search", WORDS, "--uri", table.uri, "--mode", "text", "--limit", "2", "--rerank", endpoint.url]
    assert app([*at, "--json"], result_action="return_value") == 0
    assert [hit["text"] for hit in json.loads(capsys.readouterr().out)] == [TEXTS[7], TEXTS[6]]
    endpoint.answer = lambda _: (500, b"{}")
    assert app(at, result_action="return_value") == 0
    assert "not reranked" in " ".join(capsys.readouterr().out.split())
    assert app([*at[:-1], "http://host:99999/v1"], result_action="return_value") == 2


def test_many_passages_are_searched_for_a_few(endpoint: Endpoint, tmp_path: Path) -> None:
    """The best passage may stand far down in the order of the search."""
    spec = StoreSpec(str(tmp_path), "documents")
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("r1", "papers")
    store.write([embedded("a.pdf", [f"The lantern number {number} is lit." for number in range(60)])])
    store.end_run()
    with open_corpus(spec, reranker=endpoint.url) as corpus:
        corpus.search(WORDS, mode="text", limit=1)
        corpus.search(WORDS, mode="text", limit=45)
    assert [len(each["documents"]) for each in endpoint.asked] == [RERANKED_PASSAGES, 45]


# A chat model as the judge


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StoreSpec, list[Node]]]:
    with nodes({"chat_models": ["qwen3", "judge"]}, {"chat_models": ["qwen3", "judge"]}) as started:
        place = tmp_path_factory.mktemp("judged")
        yield write_table(place, identity_of(started[0]), {"a.pdf": TEXTS}), started


def judged(spec: StoreSpec, started: list[Node], named: str = "judge", **more: Any) -> Any:
    values = {"chat_model": "qwen3", "chat_think": "off"} | more.pop("cluster", {})
    cluster = OllamaCluster(nodes=[node.url for node in started], give_up_after=1, **values)
    with open_corpus(spec, cluster, reranker=named, **more) as corpus:
        return corpus.search(WORDS, mode="text", limit=3)


def points(number: int) -> dict[str, Any]:
    return {"match": TEXTS[number][:-1], "content": {"score": number}}


@pytest.mark.parametrize("named", ["judge", "judge:judge"])
def test_a_chat_model_of_the_nodes_judges(judges: tuple[StoreSpec, list[Node]], named: str) -> None:
    spec, started = judges
    for node in started:
        node.heal()
        node.reset()
        node.control(chat_script=[points(number) for number in range(8)])
    found = judged(spec, started, named)
    assert ([hit.text for hit in found], found.notes) == (TEXTS[:-4:-1], ())
    assert [hit.score for hit in found] == [7.0, 6.0, 5.0]
    counts = [node.stats()["chat_answered"] for node in started]
    assert sum(counts) >= len(TEXTS)
    assert all(counts)  # over all nodes


def test_a_passage_that_the_judge_cannot_score_comes_last(judges: tuple[StoreSpec, list[Node]]) -> None:
    spec, started = judges
    for node in started:
        node.heal()
        bad = {"match": TEXTS[7][:-1], "content": {"score": 11}}
        node.control(chat_script=[bad, *(points(number) for number in range(7))])
    found = judged(spec, started)
    assert [hit.text for hit in found] == [TEXTS[6], TEXTS[5], TEXTS[4]]
    assert found.notes == ("1 of 8 passages have no score of the judge; see the end of the list.",)


@pytest.mark.parametrize(
    ("named", "settings", "told"),
    [
        ("judge:absent", {}, "absent"),
        ("judge", {}, "unusable answer"),
    ],
)
def test_the_order_of_the_search_stays_without_a_judge(
    judges: tuple[StoreSpec, list[Node]], named: str, settings: dict[str, Any], told: str
) -> None:
    spec, started = judges
    for node in started:
        node.heal()
        node.control(chat_script=[{"match": "lantern", "content": {"score": "high"}}])
    with open_corpus(spec) as corpus:
        plain = corpus.search(WORDS, mode="text", limit=3)
    found = judged(spec, started, named, cluster=settings)
    assert found == plain
    (note,) = found.notes
    assert note.startswith("The passages stand in the order of the search, not reranked: ")
    assert told in note


def test_a_judge_without_a_chat_model_is_refused_before_a_node_is_asked(
    judges: tuple[StoreSpec, list[Node]], capsys: pytest.CaptureFixture[str]
) -> None:
    spec, started = judges
    for node in started:
        node.heal()
        node.reset()
    with pytest.raises(ConfigurationError, match="No chat model is named that could judge"):
        judged(spec, started, cluster={"chat_model": None})
    at = ("--uri", spec.uri, "--table", spec.table, "-n", started[0].url)
    assert app(["search", WORDS, *at, "--rerank", "judge"], result_action="return_value") == 2
    said = capsys.readouterr()
    assert (said.out, "No chat model is named that could judge." in said.err) == ("", True)
    assert [node.stats()["paths"] for node in started] == [{}, {}]
    # A model that the caller names judges, too.
    with open_corpus(spec, [node.url for node in started], chat_model="qwen3", reranker="judge") as corpus:
        assert corpus.search(WORDS, mode="text", limit=3)
    assert sum(node.stats()["chat_answered"] for node in started)


def test_a_slow_judge_is_not_waited_for(judges: tuple[StoreSpec, list[Node]]) -> None:
    spec, started = judges
    for node in started:
        node.heal()
        node.control(answer_tokens_per_second=0.01)
    found = judged(spec, started, rerank_timeout=0.3)
    assert len(found) == 3
    assert "within 0.3 s" in found.notes[0]
    for node in started:
        node.control(answer_tokens_per_second=10_000)
