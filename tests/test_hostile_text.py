"""Hostile text through every command, and through every artifact, event and metric.

The commands are those that the app has: a new one is tried as well.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import sys
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from cyclopts import App
from markdown_it import MarkdownIt
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_HOME, temporary_settings
from prometheus_client import REGISTRY, generate_latest
from pydantic import SecretStr

from prefect_ollama.__main__ import main
from prefect_ollama.blocks import LanceTable, OllamaNode
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.printable import MAY_BREAK
from prefect_ollama.commands import app
from prefect_ollama.flows import check_nodes, discover_nodes, ingest_pdfs
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.flow_samples import write_folder
from tests.nodes import Node, nodes
from tests.raw_node import RawNode, answer
from tests.store_samples import IDENTITY, embedded

pytestmark = pytest.mark.usefixtures("prefect_server")

EVIL = (
    "\x1b[31m\x1b]0;owned\x07\x9b2J\u202eevil\u2066[bold]x[/bold]\r![x](https:/evil.test/x.png)"
    "<img src=https:/evil.test/h.png>[a](javascript:x) www.evil.test `|\n- item"
)
NAME = EVIL.replace("/", "\u2215").replace("\0", "")
"""The same as the name of a file."""

DEAD = "http://127.0.0.1:9"


def hidden(text: str) -> list[str]:
    """What of an output cannot be seen, besides the ends of its lines."""
    return [each for each in text if each not in "\n\u200c\u200d" and unicodedata.category(each) in _HIDDEN]


_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def leaves(found: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if found.default_command is not None and path:
        yield path
    for name in found:
        if not name.startswith("-"):
            yield from leaves(found[name], (*path, name))


COMMANDS = list(leaves())


def options(path: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many arguments a command requires, and its options that take a text."""
    found = app
    for part in path:
        found = found[part]
    arguments = list(found.assemble_argument_collection())
    texts = [each for each in arguments if "str" in str(each.hint) or "Path" in str(each.hint)]
    named = [each.names[0] for each in texts if each.field_info.kind is each.field_info.KEYWORD_ONLY]
    return sum(bool(each.required) for each in arguments), named


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a command in this process, and hold that nothing in what it says is hidden."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")  # leaves the logging of this process alone
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def call(*tokens: object) -> str:
        monkeypatch.setattr(sys, "argv", ["prefect-ollama", *map(str, tokens)])
        capfd.readouterr()
        with contextlib.suppress(SystemExit):
            main()
        said = capfd.readouterr()
        assert not hidden(said.out), (tokens, said.out)
        assert not hidden(said.err), (tokens, said.err)
        return said.out

    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        yield call


@pytest.mark.sampled(6)
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_is_wrong_with_arguments_is_said_in_printable_words(path: tuple[str, ...], run: Any) -> None:
    run(*path, f"--{EVIL}")
    run(*path, EVIL, EVIL, EVIL, f"--limit={EVIL}")


SERVERS = (("node",), ("mcp",))
"""Commands that serve until they are interrupted, and print no JSON."""

NO_TOKEN = ["--http", "--token-file", "/no-such-folder/token"]
"""Ends `mcp` before it serves."""


@pytest.mark.slow  # a flow run for each option of each command
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_of_every_command_takes_hostile_text(path: tuple[str, ...], run: Any) -> None:
    required, named = options(path)
    for option in named:
        # `mcp` would serve with a token file that it can make; the next test gives it one that it cannot.
        if option in ("--mode", "--ocr-language", "--running-heads", "--token-file"):
            continue
        node = ["--node", DEAD] if "--node" in named and option not in ("--node", "--cluster") else []
        ends = NO_TOKEN if path == ("mcp",) else []
        for more in ([], ["--json"]) if path not in SERVERS else ([],):
            run(*path, *ends, *[EVIL] * required, option, EVIL.replace("\0", ""), *node, *more)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes({"version": EVIL}) as (node,):
        yield node


@pytest.fixture(scope="module")
def wrong_node() -> Iterator[RawNode]:
    """A node that has nothing but names."""
    models = {"models": [{"name": f"{EVIL}:latest", "model": EVIL, "digest": EVIL, "size": 1}]}
    replies = {
        "/api/version": answer({"version": EVIL}),
        "/api/tags": answer(models),
        "/api/ps": answer(models),
        "*": answer({"error": EVIL}, 500),
    }
    with RawNode(replies) as raw:
        yield raw


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table whose documents, headings and texts are hostile; an earlier version may have written it."""
    store = Store.open(StoreSpec(str(tmp_path / "db"), "documents"), identity=IDENTITY, create=True)
    store.begin_run("a-run", f"/{EVIL}")
    store.write([embedded(EVIL, [f"tide {EVIL} {number}" for number in range(3)], source=f"/{EVIL}")])
    store.end_run(counts={"new": 1.0})
    return tmp_path / "db"


@pytest.mark.slow
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_hostile_data_as_text(
    path: tuple[str, ...], run: Any, node: Node, wrong_node: RawNode, table: Path, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / NAME, ["a"], pages=1)
    (folder / f"{NAME[:80]}.pdf").write_bytes(b"no PDF")
    ports = [part for url in (node.url, wrong_node.url) for part in ("--port", url.rpartition(":")[2])]
    given = {
        "ingest": (str(folder), "--node", node.url, "--uri", tmp_path / "new", "--dry-run"),
        "search": ("tide", "--mode", "text", "--uri", table),
        "documents": ("--uri", table),
        "runs": ("--uri", table),
        "roll-back": ("a-run", "--uri", table, "--including-later", "--yes"),
        "forget": (f"/{EVIL}", "--uri", table, "--yes"),
        "re-embed": ("--uri", table, "--node", node.url),
        "maintain": ("--uri", table, "--force"),
        "nodes": ("--node", node.url, "--node", wrong_node.url, "--node", f"{DEAD}/{NAME[:20]}"),
        "tune": ("--node", node.url, "--seconds", 1),
        "discover": ("127.0.0.1", *ports),
        "node": ("--model-dir", f"/{EVIL}"),
        "mcp": ("--http", "--token-file", f"/{EVIL}".replace("\0", ""), "--uri", table),
    }
    required, named = options(path)
    place = ["--uri", table] if "--uri" in named else []
    tokens = given.get(path[0], (*[EVIL] * required, *place))
    for more in ([], ["--json"]) if path not in SERVERS else ([],):
        said = run(*path, *tokens, *more)
        if more and said:
            orjson.loads(said)
    if path[0] in ("search", "runs"):
        assert "[bold]x[/bold]" in "".join(run(*path, *tokens).split()), "no markup of Rich's"


def test_json_says_the_same_as_the_table(run: Any, table: Path) -> None:
    (hit, *_) = json.loads(run("search", "tide", "--mode", "text", "--uri", table, "--json"))
    assert (hit["path"], EVIL in hit["text"]) == (EVIL, True)


def artifacts(api: str) -> list[dict[str, Any]]:
    return httpx.post(f"{api}/artifacts/filter", json={"sort": "CREATED_DESC"}, timeout=240).json()


def assert_plain(markdown: str) -> None:
    """No text from outside acts in it: it has no links, no images but ours, no HTML."""
    assert not hidden(markdown.replace(MAY_BREAK, ""))
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        assert token.type != "html_block"
        for child in token.children or []:
            assert child.type not in ("link_open",)
            assert child.type != "html_inline" or child.content == "<!-- -->"
            assert child.type != "image" or str(child.attrs["src"]).startswith("data:image/svg+xml;base64,")


def test_what_a_node_says_of_itself_is_text_in_its_artifacts(
    prefect_server: str, node: Node, wrong_node: RawNode
) -> None:
    urls = [node.url, wrong_node.url]
    check_nodes([*urls, f"{DEAD}/a"])
    discover_nodes(["127.0.0.1"], [int(url.rpartition(":")[2]) for url in urls])
    listed, checked = artifacts(prefect_server)[:2]
    assert (listed["key"], checked["key"]) == ("found-nodes", "nodes")
    for artifact in (listed, checked):
        assert artifact["type"] == "markdown"
        assert "evil" in artifact["data"]
        assert_plain(artifact["data"])
        assert_plain(artifact["description"])


def forms(secret: str) -> set[str]:
    """A secret in the forms in which a node may send it back, and pieces of them."""
    whole = {
        secret,
        secret[::-1],
        secret.encode().hex(),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(f"Bearer {secret}".encode()).decode(),
    }
    return {form[start : start + 12] for form in whole for start in range(0, len(form) - 12, 4)}


@pytest.mark.slow  # a run with a node that fails
def test_no_secret_in_any_form_and_no_hostile_name_reaches_what_prefect_shows(
    prefect_server: str, dask_workers: str, tmp_path: Path
) -> None:
    secret = f"{uuid.uuid4().hex}{uuid.uuid4().hex}"
    echo = " ".join(
        [secret[::-1], secret[:20], secret[20:], base64.b64encode(f"Bearer {secret}".encode()).decode(), EVIL]
    )
    folder = write_folder(tmp_path / "papers", [f"doc{number}" for number in range(6)], pages=2)
    (folder / f"{NAME[:80]}.pdf").write_bytes(b"no PDF")
    name = f"echo-{uuid.uuid4().hex[:8]}"
    fault = {"name": "http500", "message": echo, "after_requests": 2}
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    with (
        temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}),
        nodes(
            {"texts_per_second": 40}, {"version": EVIL, "texts_per_second": 40, "faults": (fault,)}
        ) as pair,
    ):
        OllamaNode(url=pair[1].url, token=SecretStr(secret)).save(name)
        report = flow(str(folder), [pair[0].url, name], LanceTable(uri=str(tmp_path / "db")))
        check_nodes([name])
    EventsWorker.drain_all()
    made = artifacts(prefect_server)[:5]
    assert {"ingest-report", "ingest-nodes", "ingest-progress", "nodes"} <= {each["key"] for each in made}
    events = httpx.post(f"{prefect_server}/events/filter", json={"limit": 50}, timeout=240).text
    logs = httpx.post(f"{prefect_server}/logs/filter", json={"limit": 200}, timeout=240).text
    assert report.failed
    for artifact in made:
        assert_plain(str(artifact["description"]))
        if artifact["type"] == "markdown":
            assert_plain(artifact["data"])
    for place in (json.dumps(made), events, generate_latest(REGISTRY).decode(), logs):
        assert not [form for form in forms(secret) if form in place]
    for payload in (orjson.loads(events)["events"], orjson.loads(logs)):
        assert not [text for text in texts(payload) if hidden(text.replace(MAY_BREAK, ""))]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def test_the_name_of_a_command_can_be_typed() -> None:
    assert all(shlex.join(path) == " ".join(path) for path in COMMANDS)
