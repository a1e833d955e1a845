"""The commands and the code in the pages on nodes work as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from prefect_ollama.blocks import OllamaCluster, OllamaNode
from prefect_ollama.commands import app

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    name: (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for name in ("nodes", "add-a-node", "tuning", "questions", "troubleshooting")
}
COMMANDS = [
    shlex.split(line, comments=True)
    for page in PAGES.values()
    for block in re.findall(r"```console\n(.*?)```", page, re.S)
    for line in re.findall(r"^\$ prefect-ollama (.*)$", block, re.M)
]


def test_there_are_commands() -> None:
    assert {command[0] for command in COMMANDS} == {"nodes", "ingest", "discover", "tune"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_command_line_takes_them(command: list[str]) -> None:
    """Parsed by the command line itself, and not run."""
    called, bound, _ = app.parse_args(command, print_error=False, exit_on_error=False)
    assert called.__name__ == command[0]
    assert bound is not None


@pytest.mark.parametrize("page", PAGES)
def test_options_that_are_named_in_passing_are_there(page: str) -> None:
    options = {
        name
        for command in app
        if not command.startswith("-")
        for argument in app[command].assemble_argument_collection()
        for name in argument.names
    }
    # Of other programs: Tesseract's and llama-server's options.
    others = {"--embedded", "--list-langs", "--embeddings", "--reranking", "--ctx-size", "--ubatch-size"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGES[page])) <= options | others


@pytest.mark.usefixtures("prefect_server")
def test_the_example_saves_a_cluster_of_unlike_nodes() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGES["nodes"], re.S)
    exec(code, {})
    first, second, third = OllamaCluster.load("home").to_spec().nodes
    assert (first.block, second.block, third.block) == ("gpu-box", "office", "")
    assert second.url == "https://ai.example.org/ollama"
    assert dict(second.headers).keys() == {"Authorization"}
    OllamaCluster.delete("home")
    for name in ("gpu-box", "office"):
        OllamaNode.delete(name)
