"""The command line: what it prints where, its exit status, and that nothing around it gets in its way."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from prefect_ollama import render
from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.lance import Hit
from prefect_ollama.commands import app
from prefect_ollama.flows import FileReport, IngestReport, NodeReport, NodeRow
from tests.flow_samples import assert_right, chunks, write_folder
from tests.nodes import Node, nodes

COMMANDS = ("ingest", "search", "nodes", "node")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder in which a user has modules of the names that ours have."""
    folder = tmp_path / "hostile"
    for name in ("flows", "tasks", "blocks", "cli"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong module')")
    for name in ("commands", "render", "console", "node", "tests"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    return folder


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Node]]:
    with nodes({}, {}) as running:
        yield running


def command(*arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefect_ollama", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **env},
        capture_output=True,
        text=True,
        timeout=110,
    )


def shown(what: object, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestHelp:
    def test_of_the_whole_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        app(["--help"], result_action="return_value")
        told = capsys.readouterr().out
        assert all(name in told for name in COMMANDS)
        assert "Exit status" in told

    @pytest.mark.parametrize("name", COMMANDS)
    def test_of_a_command_explains_every_option(self, name: str) -> None:
        arguments = app[name].assemble_argument_collection()
        assert arguments
        for argument in arguments:
            assert argument.parameter.help, argument.name


class TestUsage:
    """What is wrong is told in words, and the status is 2."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("ingest",), "requires an argument"),
            (("ingest", "x", "--no-such-option"), "no-such-option"),
            (("no-such-command",), "no-such-command"),
            (("search", "x", "--limit", "0"), "Must be >= 1"),
            (("search", "x", "--mode", "guess"), "guess"),
        ],
    )
    def test_at_the_command_line_itself(
        self,
        arguments: tuple[str, ...],
        words: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from prefect_ollama.__main__ import main

        monkeypatch.setattr(sys, "argv", ["prefect-ollama", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        captured = capsys.readouterr()
        assert words in " ".join((captured.out + captured.err).split())
        assert "Traceback" not in captured.err

    @pytest.mark.usefixtures("prefect_server")
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("ingest", "/no/such/folder"), "is not there"),
            (("ingest", "/", "--node", "http://a", "--cluster", "b"), "are given both"),
            (("search", "x", "--block", "a", "--uri", "/b"), "--block is given beside"),
            (("search", "x", "--block", "no-such-block"), "no-such-block"),
            (("search", "x", "--table", "no/good"), "cannot be used"),
            (("nodes", "--node", "ftp://x"), "must begin with http"),
        ],
    )
    def test_in_what_is_asked_for(
        self,
        arguments: tuple[str, ...],
        words: str,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "INFO")  # leaves the logging of this process alone
        assert app([*arguments], result_action="return_value") == 2
        captured = capfd.readouterr()
        assert words in captured.err
        assert captured.out == ""


@pytest.mark.usefixtures("prefect_server")
def test_a_dry_run_prints_pure_json_wherever_it_is_called(
    hostile: Path, tmp_path: Path, pair: list[Node]
) -> None:
    write_folder(hostile / "papers", ["a", "b"], pages=1)
    done = command(
        "ingest", "papers", "--node", pair[0].url, "--uri", "db", "--dry-run", "--json", cwd=hostile
    )
    report = orjson.loads(done.stdout)
    assert report["outcomes"] == {"new": 2}
    assert report["source"] == str(hostile / "papers")
    assert report["table"] == str(hostile / "db" / "documents")
    assert done.returncode == 0
    assert done.stderr == f"Plan for {hostile / 'papers'}: 2 new\n"
    assert not (hostile / "db").exists()


@pytest.mark.slow  # four processes that import Prefect, one with workers of its own; the parts have quick tests
@pytest.mark.usefixtures("prefect_server")
def test_a_session_over_nodes(hostile: Path, tmp_path: Path, pair: list[Node]) -> None:
    folder = write_folder(hostile / "papers", ["harbour", "valve"])
    (folder / "junk.pdf").write_bytes(b"no PDF")
    at = [part for node in pair for part in ("--node", node.url)]
    place = tmp_path / "db"
    home = {"PREFECT_HOME": str(tmp_path / "home")}

    done = command("ingest", "papers", *at, "--uri", place, cwd=hostile, **home)
    assert done.returncode == 1, done.stderr
    assert {line.strip() for line in done.stdout.splitlines()} >= {"embedded       8", "failed         1"}
    assert "junk.pdf (failed)" in done.stdout
    assert "Convert it to PDF" in done.stdout
    assert "…" not in done.stdout
    assert "2 of 2 nodes serve" in done.stderr
    assert "Traceback" not in done.stderr
    assert_right(chunks(place))

    done = command("ingest", "papers", *at, "--uri", place, "--json", cwd=hostile, **home)
    assert (done.returncode, orjson.loads(done.stdout)["outcomes"]) == (
        1,
        {"unchanged": 2, "failed before": 1},
    )
    (folder / "junk.pdf").unlink()
    done = command("search", "harbour", *at, "--uri", place, "--json", cwd=hostile, **home)
    hits = orjson.loads(done.stdout)
    assert done.returncode == 0
    assert {hit["path"] for hit in hits} == {"harbour.pdf", "valve.pdf"}
    assert all(hit["page_from"] >= 1 for hit in hits)
    done = command("nodes", *at, "-n", "http://127.0.0.1:9", "--json", cwd=hostile, **home)
    assert done.returncode == 1
    assert [row["ok"] for row in orjson.loads(done.stdout)] == [True, True, False]


@pytest.mark.slow  # a fresh home: Prefect's database is made, the embedded model loaded, workers started
@pytest.mark.timeout(400)
def test_a_fresh_machine_needs_nothing(hostile: Path, tmp_path: Path) -> None:
    fresh = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OLLAMA_"))
    }
    fresh |= {"HOME": str(tmp_path / "fresh"), "COLUMNS": "80", "DO_NOT_TRACK": "1"}
    (tmp_path / "fresh").mkdir()
    samples = Path(__file__).parent.parent / "samples"

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "prefect_ollama", *map(str, arguments)]
        return subprocess.run(line, cwd=hostile, env=fresh | env, capture_output=True, text=True, timeout=180)

    done = run("ingest", samples / "tides.pdf")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert sum("the embedded model all-minilm" in line and "serves" in line for line in lines) == 1
    assert "embedded-1" in done.stdout
    done = run("search", "Why are there two high waters in a day?", "--limit", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert "tides.pdf" in orjson.loads(done.stdout)[0]["path"]
    assert orjson.loads(done.stdout)[0]["page_from"] == 1
    # A node that is named and does not answer is never replaced in silence.
    done = run("search", "tides", OLLAMA_HOST="127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr
    assert "embedded model" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = command("nodes", cwd=tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    assert "PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr


class TestRendering:
    """Nothing is cut in a terminal of 80 columns."""

    long = "a/folder/with a rather long name/" + "and-a-file-whose-name-is-long-as-well" * 2 + "[1].pdf"

    def test_of_a_report(self) -> None:
        node = NodeReport(
            "a-node-with-quite-a-long-name.example.org:11434/ollama",
            123456,
            0.5,
            1234.5,
            99.9,
            {"x": 3},
            "It died.",
        )
        report = IngestReport(
            "run", "/data/[papers]", "/data/db/documents", "nomic-embed-text", False,
            files=(
                FileReport("good.pdf", "stored", 10, 100),
                FileReport(self.long, "failed", reason="It is broken. " * 8, remedy="Mend it."),
            ),
            pages=10, chunks=100, embedded=90, reused=10, seconds=12.34, node_seconds=45.6, nodes=(node, node),
        )  # fmt: skip
        text = shown(render.report(report))
        assert "…" not in text
        joined = "".join(text.split())
        for part in (self.long, report.source, report.table, node.name, node.note, "Itisbroken." * 8):
            assert "".join(part.split()) in joined
        for name in (
            "files",
            "pages",
            "chunks",
            "embedded",
            "reused",
            "failed",
            "seconds",
            "chunks/s",
            "share",
        ):
            assert name in text
        assert "2 (1 failed, 1 stored)" in text
        assert max(map(len, text.splitlines())) <= 80

    def test_of_a_plan(self) -> None:
        new = [FileReport(f"{n}.pdf", "new") for n in range(60)]
        files = (*new, FileReport("gone.pdf", "removed"))
        text = shown(render.report(IngestReport("run", "/in", "/db", "", True, files)))
        assert "would be stored (new): 0.pdf" in text
        assert "… and 11 more" in text
        assert "seconds" not in text

    def test_of_nodes(self) -> None:
        rows = [
            NodeRow("gpu-box", "ready", "0.33.0", "a" * 64, 123.4),
            NodeRow("http://" + "long." * 20 + "org", "left out", note="It does not answer. Start it."),
        ]
        text = shown(render.nodes(rows))
        assert "…" not in text
        assert "a" * 12 in text
        assert "It does not answer" in " ".join(text.split())

    def test_of_hits(self) -> None:
        hit = Hit(
            "word " * 200, self.long, "/in", 3, 4, "A heading > of [some] length " * 3, 0.5, "d", "c", 0
        )
        text = shown(render.hits([hit]))
        joined = "".join(text.split())
        assert self.long.replace(" ", "") in joined
        assert "pages3-4" in joined
        assert "[some]" in text
        assert shown(render.hits([])).strip() == "Nothing found."


def test_a_saved_table_block_is_found(prefect_server: str, tmp_path: Path) -> None:
    from prefect_ollama.commands import _table

    LanceTable(uri=str(tmp_path / "db"), table="papers").save("cli-papers", overwrite=True)
    assert _table(None, None, "cli-papers").table == "papers"
    assert _table("~/x", "t", None).uri == str(Path("~/x").expanduser())
    assert _table(None, None, None).table == "documents"
