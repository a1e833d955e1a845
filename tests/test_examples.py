"""Every public flow, block and exception has an example in its docstring, and each of them runs.

The examples run in a world that they can name: nodes such as `http://gpu-box:11434` are scripted nodes on loopback, the
working folder has PDF files, and the table `papers` is in Prefect's home.
"""

from __future__ import annotations

import doctest
import inspect
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.config
import pytest
from prefect.blocks.core import Block

import prefect_ollama
import prefect_ollama.blocks
import prefect_ollama.flows
from prefect_ollama.blocks import OllamaCluster, OllamaNode, errors
from tests.flow_samples import MODEL, write_pdf
from tests.nodes import Node
from tests.nodes.openai import OpenAIServer
from tests.waiting import all_nodes_awaited

ROOT = Path(__file__).parent.parent
MODULES = (prefect_ollama, prefect_ollama.flows, prefect_ollama.blocks, errors)
PUBLIC: dict[str, Any] = {
    f"{module.__name__}.{name}": getattr(module, name) for module in MODULES for name in module.__all__
}


def needs_example(value: Any) -> bool:
    if inspect.isclass(value):
        return issubclass(value, BaseException | Block)
    return not inspect.isclass(value) and (callable(value) or hasattr(value, "fn"))


NAMES = [name for name, value in PUBLIC.items() if needs_example(value)]
SLOW = {"DocumentsFailed", "ServerUnavailable", "Unfinished", "ingest_pdfs", "re_embed", "tune_nodes"}
"""They take some seconds each."""

HOSTS: dict[str, dict[str, Any]] = {
    "gpu-box": {},
    "laptop": {},
    "new-box": {},
    "other-model-box": {"weights": "b"},
    "busy-box": {"faults": [{"name": "http503", "retry_after": "60"}]},
    "broken-box": {"faults": ["http500"]},
    "locked-box": {"faults": ["unauthorized"]},
    "proxy-box": {"faults": ["html"]},
    # It embeds for some requests, and is too busy to chat.
    "dying-box": {
        "chat_models": ["gemma3"],
        "texts_per_second": 500,
        "faults": [{"name": "http503", "paths": ["/api/chat"]}, {"name": "down", "after_requests": 12}],
    },
    "big-box": {"chat_models": ["qwen3"], "chat_reader": {}},
    "chat-box": {"chat_models": ["gemma3"], "faults": ["bad_json"]},
}
ADDRESS = re.compile(r"http://([a-z-]+)(:11434|:8000/v1)")
IGNORED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class World:
    """Where the examples run. Nodes start when an example names them."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.folder = folder
        self.home = Path(os.environ["PREFECT_HOME"])
        self._opened = opened
        self._urls: dict[str, str] = {}

    def url(self, host: str, port: str = ":11434") -> str:
        """Return the address of the scripted node that stands for a host."""
        if host == "down-box":
            return "http://127.0.0.1:9"
        if (known := f"{host}{port}") not in self._urls:
            made = OpenAIServer() if port == ":8000/v1" else Node(**HOSTS[host])
            self._urls[known] = self._opened.enter_context(made).url
        return self._urls[known]

    def here(self, code: str) -> str:
        """Return the code of an example with this world's addresses and folders."""
        code = ADDRESS.sub(lambda found: self.url(*found.groups()), code)
        code = code.replace("ports=11434", f"ports={self.url('gpu-box').rpartition(':')[2]}")
        code = code.replace("192.168.1.20", "127.0.0.1").replace("/data/", f"{self.folder}/")
        return code.replace("/srv/shared-cache", str(self.folder / "shared-cache"))


@pytest.fixture(scope="module")
def world(
    prefect_server: str, dask_workers: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("examples")
    tides = "The harbour tide rises twice a day, because the moon pulls the sea."
    write_pdf(folder / "papers" / "tides.pdf", [tides])
    write_pdf(folder / "papers" / "gears.pdf", ["The derailleur moves the chain sideways."])
    shutil.copytree(folder / "papers", folder / "mixed")
    (folder / "mixed" / "notes.pdf").write_text("These are no pages.", encoding="utf-8")
    (folder / "shared-cache").mkdir()
    (folder / "shared-cache").chmod(0o777)
    before = Path.cwd()
    with (
        ExitStack() as opened,
        dask.config.set({"scheduler-address": dask_workers}),
        all_nodes_awaited(),
    ):
        here = World(folder, opened)
        os.chdir(folder)
        try:
            OllamaNode(url=here.url("gpu-box")).save("gpu-box", overwrite=True)
            for table in ("papers", "copied", "./copy/papers.lance"):
                prefect_ollama.flows.ingest_pdfs("papers", here.url("gpu-box"), table)
            yield here
        finally:
            os.chdir(before)
            OllamaNode.delete("gpu-box")
            for table in ("papers", "copied", "mixed", "new-papers"):
                for part in (here.home / "lancedb").glob(f"{table}*.lance"):
                    shutil.rmtree(part)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_an_example(name: str) -> None:
    value = PUBLIC[name]
    text = inspect.getdoc(getattr(value, "fn", value)) or ""
    assert ">>>" in text or "```python" in text


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.rpartition(".")[2] in SLOW else ())
        for name in dict.fromkeys(NAMES)
    ],
)
@pytest.mark.sampled(12)
def test_the_example_runs(name: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    value = PUBLIC[name]
    text = inspect.getdoc(getattr(value, "fn", value)) or ""
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        code = re.sub(r'\.save\("([\w-]+)"\)', r'.save("\1", overwrite=True)', textwrap.dedent(block))
        if saved := re.findall(r'\.save\("([\w-]+)"', code):
            code = code.replace("BLOCK_NAME", saved[-1])
        exec(compile(world.here(code), name, "exec"), {})
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    for each in examples.examples:
        each.source = world.here(each.source)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=IGNORED)
    failed = runner.run(examples, out=said.append).failed
    assert not failed, "".join(said)
    sys.stdout.flush()
    capsys.readouterr()


PAGES = ("quick-start", "add-a-node", "models", "exclude-files", "s3", "backup", "upgrade", "other-programs")
CODE = [
    pytest.param(page, code, id=f"{page}-{number}", marks=pytest.mark.slow if "ingest_pdfs(" in code else ())
    for page in PAGES
    for number, code in enumerate(
        re.findall(
            r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL
        )
    )
]


@pytest.mark.parametrize(("page", "code"), CODE)
@pytest.mark.sampled(2)
def test_the_code_of_a_page_for_users_runs(
    page: str, code: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The nodes that a page does not name are those of the environment.
    monkeypatch.setenv("OLLAMA_HOST", world.url("gpu-box"))
    if "run_deployment" in code:
        # The deployment is not there; a run of it is started in `test_deployments`.
        monkeypatch.setattr(
            "prefect.deployments.run_deployment", lambda *_, **__: SimpleNamespace(id="an-id")
        )
    if page == "add-a-node":
        OllamaCluster(nodes=[world.url("laptop")]).save("home", overwrite=True)
    exec(compile(world.here(code), page, "exec"), {})
    if page == "add-a-node":
        assert OllamaCluster.load("home").check().ok
        OllamaCluster.delete("home")
        OllamaNode.delete("new-box")


def test_examples_name_only_hosts_of_this_world() -> None:
    for name in NAMES:
        value = PUBLIC[name]
        text = inspect.getdoc(getattr(value, "fn", value)) or ""
        assert {host for host, _ in ADDRESS.findall(text)} <= HOSTS.keys() | {"down-box"}, name


assert MODEL == "nomic-embed-text"  # the model that the scripted nodes have, and the default of a cluster
