"""The nodes in `PREFECT_OLLAMA_TEST_NODES` keep their API's contract, and a complete ingest into a table is right.

    PREFECT_OLLAMA_TEST_NODES=http://gpu-box:11434,http://laptop:11434 uv run pytest -m real

A URL that ends in `/v1` names a server of the OpenAI API; those and Ollama nodes, also embedded ones, may be mixed.
`PREFECT_OLLAMA_TEST_MODEL` names the model, `all-minilm` without it; every node must have it. Without the first
variable nothing here is collected. `PREFECT_OLLAMA_TEST_CHAT_MODEL` names a chat model that at least one node has;
without it answers are sentences of the documents. The nodes get some hundred short requests and the sample documents.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.errors import ChatError, InputRejected, NodeRefused
from prefect_ollama.blocks.nodes._model_info import MIN_CONTEXT
from prefect_ollama.blocks.nodes.address import is_openai_address
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.check import check_cluster, check_node
from prefect_ollama.blocks.nodes.endpoint import Endpoint
from prefect_ollama.blocks.nodes.prefixes import prefixes_of
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import CONTEXT_CAP
from prefect_ollama.flows import ask, ingest_pdfs, search
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.flow_samples import chunks
from tests.recorded import VERSIONS, recorded, requests

T = TypeVar("T")

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

URLS = [url.strip().rstrip("/") for url in os.environ["PREFECT_OLLAMA_TEST_NODES"].split(",") if url.strip()]
MODEL = os.environ.get("PREFECT_OLLAMA_TEST_MODEL", "all-minilm")
CHAT_MODEL = os.environ.get("PREFECT_OLLAMA_TEST_CHAT_MODEL") or None
SAMPLES = Path(__file__).parent.parent / "samples"

NEEDS_TESSERACT = "lamp-scan.pdf"

SAME = 0.999
"""Least cosine of two vectors of one text. Equal weights on one kind of machine give 0.9999999; how far a GPU is from
a CPU is not known."""

CONTRACT = (
    "number", "[5]", "[null]", "object", "mixed", "true", "bad JSON", "no body", "missing model", "invalid name",
    "option of wrong type", "options list", "dimensions '10'", "keep_alive 'abc'", "keep_alive '30'", "GET embed",
)  # fmt: skip
"""Requests that every Ollama refuses, whatever its model and its machine."""

OLDER = {"invalid name": 404}
"""What Ollama before 0.24 answers otherwise: 0.13.5 looks for a model of any name."""

TEXTS = [
    "The harbour master logs every tide before sunrise.",
    "“It’s here” — café, naïve, Größe, 3½ …",
    "港口管理员每天日出前记录潮汐。",
    "def area(radius): return 3.14159 * radius ** 2",
    "short",
]


@pytest.fixture(scope="module", params=URLS)
def url(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def cluster(*urls: str, **settings: Any) -> OllamaCluster:
    """A cluster of some nodes. An embedded node has another digest than Ollama; the vectors decide."""
    return OllamaCluster(nodes=list(urls), model=MODEL, accept_other_digest=True, **settings)


def node(url: str) -> NodeSpec:
    return cluster(url).to_spec().nodes[0]


def only_ollama(url: str) -> None:
    if is_openai_address(url):
        pytest.skip("this is part of Ollama's API")


def using(url: str, call: Callable[[Endpoint], Awaitable[T]], model: str = MODEL, **settings: Any) -> T:
    async def run() -> T:
        async with open_endpoint(node(url), ModelSpec(model, **settings)) as client:
            return await call(client)

    return asyncio.run(run())


def embed(url: str, texts: list[str], **model: Any) -> NDArray[np.float32]:
    return using(url, lambda client: client.embed(texts, timeout=300), **model).vectors


def direct(url: str, texts: list[str]) -> NDArray[np.float32]:
    """Vectors by bare HTTP, one text a request: nothing of ours is between."""
    path, more = "/embeddings", {}
    if not is_openai_address(url):
        # With another context than a run's, Ollama loads the model again, and fails the requests of other programs.
        context = min(using(url, lambda client: client.identify()).context, CONTEXT_CAP)
        path, more = "/api/embed", {"truncate": False, "options": {"num_ctx": context} if context else {}}
    with httpx.Client(base_url=url, trust_env=False, timeout=300) as client:
        rows = []
        for text in texts:
            answer = client.post(path, json={"model": MODEL, "input": text, **more})
            assert answer.status_code == 200, answer.text[:300]
            found = answer.json()
            rows += found["embeddings"] if more else [each["embedding"] for each in found["data"]]
    return np.array(rows, np.float32)


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.einsum("ij,ij->i", one, other) / norms


# Contract


def test_it_says_who_it_is_and_what_it_has(url: str) -> None:
    found = asyncio.run(check_node(node(url)))
    assert found.ok, found.error
    assert found.version or is_openai_address(url)
    assert found.models
    model = using(url, lambda client: client.identify())
    assert model.version == found.version
    assert model.context == 0 or model.context >= MIN_CONTEXT
    assert bool(model.digest) != is_openai_address(url)


def test_a_list_gives_the_vectors_of_its_texts_in_order(url: str) -> None:
    together, alone = embed(url, TEXTS), direct(url, TEXTS)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=0.01)
    assert likeness(together, alone).min() > SAME
    assert likeness(embed(url, TEXTS[::-1])[::-1], together).min() > SAME
    near = together @ together.T - np.eye(len(TEXTS))
    assert np.abs(near).max() < 0.99, "unlike texts have unlike vectors"


def test_it_counts_tokens(url: str) -> None:
    few, many = (using(url, lambda c, n=n: c.embed(["word " * n], timeout=300)).tokens for n in (4, 40))
    assert 0 < few < many or few == many == 0


def test_a_text_too_long_is_refused_and_not_cut(url: str) -> None:
    context = using(url, lambda client: client.identify()).context
    if not 0 < context <= 32_768:
        pytest.skip("the node gives no context that a test could fill")
    with pytest.raises(InputRejected) as caught:
        embed(url, ["word " * (2 * context)], num_ctx=context)
    assert caught.value.too_long


def test_dimensions_cut_and_normalise(url: str) -> None:
    whole, part = embed(url, TEXTS), embed(url, TEXTS, dimensions=16)
    assert part.shape == (len(TEXTS), 16)
    assert likeness(part, whole[:, :16]).min() > SAME


def test_another_model_is_refused(url: str) -> None:
    only_ollama(url)  # a llama-server takes any name for its only model
    with pytest.raises(NodeRefused, match="does not have the model"):
        using(url, lambda client: client.embed(["x"], timeout=60), model="no-such-model-here")


@pytest.mark.parametrize("case", CONTRACT)
def test_it_refuses_what_recorded_servers_refuse(url: str, case: str) -> None:
    only_ollama(url)
    asked = requests()[case]
    body = asked.body
    if isinstance(body, dict) and case not in ("missing model", "invalid name"):
        body = body | {"model": MODEL}
    content = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
    method = asked.method or "POST"
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        got = client.request(method, asked.path, **content)  # type: ignore[arg-type]
    expected = {answer.status for version in VERSIONS for answer in recorded(version) if answer.case == case}
    assert got.status_code in expected | {OLDER.get(case)}, got.text[:300]
    assert case == "GET embed" or got.json()["error"]


def test_it_goes_on_after_a_client_that_left(url: str) -> None:
    path = "/embeddings" if is_openai_address(url) else "/api/embed"
    with httpx.Client(base_url=url, trust_env=False) as client, contextlib.suppress(httpx.TimeoutException):
        client.post(
            path, json={"model": MODEL, "input": [f"text {n} " * 40 for n in range(500)]}, timeout=0.2
        )
    assert likeness(embed(url, TEXTS), direct(url, TEXTS)).min() > SAME


def test_the_nodes_work_together() -> None:
    found = asyncio.run(check_cluster(cluster(*URLS).to_spec()))
    assert found.ok, [each.error for each in found.nodes if each.error] or found.error


# A complete ingest


@pytest.fixture(scope="module")
def table(prefect_server: str, dask_workers: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("real") / "db"
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    files = sorted(str(path) for path in SAMPLES.glob("*.pdf") if path.name != NEEDS_TESSERACT)
    report = flow(files, cluster(*URLS), LanceTable(uri=str(place)))
    assert report.ok, [
        (file.path, file.outcome, file.reason) for file in report.files if file.outcome != "stored"
    ]
    assert report.chunks > 100
    assert {node.name for node in report.nodes if node.texts}, "at least one node embedded"
    return place


def test_every_vector_of_the_table_is_that_of_a_direct_request(table: Path) -> None:
    rows = chunks(table)
    prefix = prefixes_of(MODEL).document
    stored = np.array([row["vector"] for row in rows], np.float32)
    texts = [prefix + (row["embedded_text"] or row["text"]) for row in rows]
    # The nodes take turns, so that each is asked for its part.
    expected = np.empty_like(stored)
    for turn, url in enumerate(URLS):
        expected[turn :: len(URLS)] = direct(url, texts[turn :: len(URLS)])
    cosines = likeness(stored, expected)
    worst = int(cosines.argmin())
    assert cosines[worst] > SAME, (cosines[worst], rows[worst]["path"], texts[worst][:80])


def test_a_question_finds_its_passage(table: Path) -> None:
    hits = search(
        "Why was the Mars Climate Orbiter lost?",
        cluster(*URLS),
        LanceTable(uri=str(table)),
    )
    assert any(hit.path.endswith("measuring-the-world.pdf") for hit in hits)


def test_an_answer_shows_only_what_stands_in_the_documents(table: Path) -> None:
    nodes = cluster(*URLS, chat_model=CHAT_MODEL, judge_model=CHAT_MODEL)
    for question in ("How fast does the Moon move away from the Earth?", "What is the capital of Mongolia?"):
        try:
            answer = ask(question, nodes, LanceTable(uri=str(table)))
        except ChatError as error:
            # A small model may never end an answer, or never keep to the schema. Then nothing unproven is shown.
            if CHAT_MODEL is None or "gave no answer that can be used" not in error.cause:
                raise
            continue
        assert answer.kind in (("answer", "not_found") if CHAT_MODEL else ("extract", "not_found"))
        assert bool(answer) == bool(answer.sentences)
        for sentence in answer.sentences:
            assert sentence.supported
            for quote in sentence.quotes:
                assert answer.passages[quote.passage - 1].text[quote.start : quote.end] == quote.text
        assert all(each.reason for each in answer.dropped)
