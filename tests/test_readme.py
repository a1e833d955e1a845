"""What the README and the other pages say is true: commands, code, output, links."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from prefect_ollama import tasks
from prefect_ollama.commands import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
BLOCKS: dict[str, list[str]] = {}
for language, content in FENCE.findall(README):
    BLOCKS.setdefault(language, []).append(content)
SHELL = [line for block in BLOCKS["sh"] for line in block.splitlines()]
PYTHON = BLOCKS["python"]
OUTPUT = " ".join(re.sub(r"[│╭╮╰╯─]", "", "".join(BLOCKS[""])).split())


def test_it_is_short() -> None:
    assert README.count("\n") < 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_whole(page: Path) -> None:
    """A table whose lines were joined shows as one paragraph of bars and dashes."""
    lines = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S).splitlines()
    assert [line for line in lines if "|---|" in line and line.strip("|-")] == []
    cells: dict[int, int] = {}
    for number, line in enumerate(lines):
        if line.startswith("|"):
            cells[number] = len(re.findall(r"(?<!\\)\|", line))
            assert cells[number] == cells.get(number - 1, cells[number]), line


def test_every_page_of_the_docs_is_linked_from_their_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([^)/#:]+\.md)\)", index)) == pages


def test_the_api_reference_has_every_task_and_public_package() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    named = set(re.findall(r"^::: (\S+)$", pages, re.M))
    public = {
        "prefect_ollama",
        "prefect_ollama.flows",
        "prefect_ollama.blocks",
        "prefect_ollama.blocks.errors",
    }
    assert public | {f"prefect_ollama.tasks.{name}" for name in tasks.__all__} <= named


def test_the_command_line_takes_the_commands_as_they_stand() -> None:
    """Parsed by the command line itself, and not run."""
    tables = re.findall(r"`(?:uv run )?(prefect-ollama [^`]+)`", README)
    blocks = [each for line in SHELL for each in re.findall(r"uv run (prefect-ollama [^;&]+)", line)]
    assert len(tables) + len(blocks) >= 7
    for command in (*tables, *blocks):
        called, bound, _ = app.parse_args(shlex.split(command)[1:], print_error=False, exit_on_error=False)
        assert called.__name__ == shlex.split(command)[1]
        assert bound is not None


def test_the_output_shows_what_answers_the_question() -> None:
    command = next(line for line in SHELL if "search" in line)
    question = shlex.split(command)[-1]
    labelled = map(
        json.loads, (ROOT / "samples" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    )
    (answer,) = (each for each in labelled if each["question"] == question)
    assert f"1. {answer['file']}, page" in OUTPUT
    assert answer["answer"] in OUTPUT


@pytest.mark.parametrize("file", ["architecture.md", "images/architecture.svg"])
def test_the_architecture_names_every_folder(file: str) -> None:
    text = (ROOT / "docs" / file).read_text(encoding="utf-8")
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {name.split(".")[-1] for name in setuptools["packages"]} - {"prefect_ollama"}
    named = {name.rpartition("/")[2] for name in re.findall(r"[`>]([a-z_/]+?)/?[`<]", text)}
    assert packages | {"cli"} <= named


@pytest.mark.slow
def test_the_first_example_runs_and_finds_the_passage(prefect_server: str, tmp_path: Path) -> None:
    said = run_example(PYTHON[0], tmp_path, prefect_server)
    assert said.startswith("{'stored': 15} []") or "['lamp-scan.pdf']" in said.splitlines()[0]
    assert "Mars Climate Orbiter" in said
    assert said.count("stored") == 1, "the file was run by workers too"


@pytest.mark.slow
def test_the_example_of_blocks_saves_them(prefect_server: str, tmp_path: Path) -> None:
    more = "\nprint(OllamaCluster.load('home').to_spec().nodes[1].url)"
    assert run_example(PYTHON[1] + more, tmp_path, prefect_server) == "http://laptop:11434\n"


def run_example(code: str, folder: Path, server: str) -> str:
    """Run a README's example as the user's own file in a folder with the samples; return what it printed."""
    (folder / "example.py").write_text(code, encoding="utf-8")
    (folder / "samples").symlink_to(ROOT / "samples")
    (folder / "prefect").mkdir()
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=folder,
        env=os.environ
        | {
            "PREFECT_API_URL": server,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_LOGGING_LEVEL": "WARNING",
        },
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
