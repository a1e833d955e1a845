"""The command line: what it prints where, its exit status, and that nothing around it gets in its way."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from rich.console import Console

from prefect_ollama import render
from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from prefect_ollama.blocks.lance import Hit, Run, Store, StoreSpec
from prefect_ollama.blocks.lance.upkeep import Upkeep
from prefect_ollama.commands import app
from prefect_ollama.flows import FileReport, IngestReport, NodeReport, NodeRow
from prefect_ollama.options import named_table
from tests.cache_worker import keys_of, vectors_of
from tests.flow_samples import assert_right, chunks, write_folder
from tests.nodes import Node, nodes
from tests.store_samples import IDENTITY, embedded, sentences

COMMANDS = (
    *(
        "ingest",
        "search",
        "runs",
        "roll-back",
        "re-embed",
        "maintain",
        "cache",
        "nodes",
        "tune",
        "discover",
        "node",
    ),
    "cache clear",
)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder in which a user has modules of the names that ours have."""
    folder = tmp_path / "hostile"
    for name in ("flows", "tasks", "blocks", "cli"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong module')")
    for name in (
        "commands",
        "render",
        "console",
        "node",
        "cache",
        "ingest",
        "live",
        "options",
        "table",
        "tests",
    ):
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
        assert all(name.split()[0] in told for name in COMMANDS)
        assert "Exit status" in told

    @pytest.mark.parametrize("name", COMMANDS)
    def test_of_a_command_explains_every_option(self, name: str) -> None:
        found = app
        for part in name.split():
            found = found[part]
        arguments = found.assemble_argument_collection()
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
            (("roll-back",), "requires an argument"),
            (("runs", "--limit", "0"), "Must be >= 1"),
            (("maintain", "--keep-days", "-1"), "Must be >= 0"),
            (("cache", "no-such-command"), "no-such-command"),
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
            (("ingest", "/", "--ocr-language", "../x"), "must hold Tesseract's names"),
            (("search", "x", "--block", "a", "--uri", "/b"), "--block is given beside"),
            (("search", "x", "--block", "no-such-block"), "no-such-block"),
            (("search", "x", "--table", "no__good"), "cannot be used"),
            (("search", "x", "--table", "./a", "--uri", "/b"), "both name a place"),
            (("search", "x", "--table", "block:no-such-block"), "no-such-block"),
            (("nodes", "--node", "ftp://x"), "must begin with http"),
            (("cache", "--folder", "s3://a/b"), "cannot be in"),
            (("cache", "--folder", "/no/such/folder"), "no vector cache in '/no/such/folder'"),
            (("cache", "clear", "--folder", "/no/such/folder"), "no vector cache in '/no/such/folder'"),
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


class Here:
    """Commands in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")  # leaves the logging of this process alone
        self._capfd = capfd

    def __call__(self, *arguments: object, status: int = 0) -> str:
        """Run a command that ends with this status; return what it printed."""
        assert app([str(each) for each in arguments], result_action="return_value") == status
        return self._capfd.readouterr().out

    def json(self, *arguments: object, status: int = 0) -> Any:
        return orjson.loads(self(*arguments, "--json", status=status))


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here(capfd, monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_runs_are_listed_and_rolled_back_and_the_table_looked_after(here: Here, tmp_path: Path) -> None:
    at = ("--uri", tmp_path / "db", "--table", "papers")
    assert here.json("runs", *at, status=1)["error"] == "TableMissing"
    store = Store.open(StoreSpec(str(tmp_path / "db"), "papers"), identity=IDENTITY, create=True)
    assert here("runs", *at, status=1) == "No run yet.\n"
    for name in ("a.pdf", "b.pdf", "c.pdf"):
        store.begin_run(f"run of {name}", "papers")
        store.write([embedded(name, sentences(name, 3))])
        store.end_run(counts={"new": 1.0, "chunks": 3.0})

    listed = here.json("runs", *at)
    assert [run["run_id"] for run in listed] == ["run of a.pdf", "run of b.pdf", "run of c.pdf"]
    assert listed[0]["counts"] == {"new": 1, "chunks": 3}
    assert [run["run_id"] for run in here.json("runs", *at, "--limit", 1)] == ["run of c.pdf"]
    lines = [line.rstrip() for line in here("runs", *at).splitlines()]
    assert lines[4:6] + lines[7:8] == ["run of b.pdf (done)", "   ingest of papers", "   1 new, 3 chunks"]

    assert "stand on run" in here.json("roll-back", "run of b.pdf", *at, status=1)["cause"]
    assert "2 removed" in here("roll-back", "run of b.pdf", *at, "--including-later")
    assert [each.path for each in store.manifest()] == ["a.pdf"]
    assert "no run 'never'" in here.json("roll-back", "never", *at, status=1)["cause"]

    assert here("maintain", *at) == "Nothing was due.\n"
    assert here.json("maintain", *at, "--force")["done"]
    assert [each.path for each in store.manifest()] == ["a.pdf"]


@pytest.mark.usefixtures("prefect_server")
def test_the_cache_is_looked_at_and_emptied(here: Here, tmp_path: Path) -> None:
    keys = keys_of(range(5))
    VectorCache(CacheSpec(str(tmp_path / "vectors"))).put(keys, vectors_of(keys))
    at = ("--folder", tmp_path / "vectors")
    assert here.json("cache", *at)["entries"] == 5
    assert "vectors     5" in here("cache", *at)
    assert here.json("cache", "clear", *at)["entries"] == 5
    assert here.json("cache", *at)["entries"] == 0
    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        assert here.json("cache")["folder"] == str(tmp_path / "home" / "ollama-vectors")


@pytest.mark.slow  # five processes that import Prefect, some with workers of their own; the parts have quick tests
@pytest.mark.timeout(400)
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
    done = command("re-embed", *at, "--uri", place, "--json", cwd=hostile, **home)
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["counts"] == {"chunks": 8}
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
            dropped={"header": 1200, "hyphen": 34}, ocr_pages=3, ocr_seconds=7.25,
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
        assert "1,234 characters (header 1,200, hyphen 34)" in text
        assert "3 pages in 7.2 s" in text
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
            NodeRow("gpu-box", "ready", version="0.33.0", digest="a" * 64, memory=2**26, vram=2**26),
            NodeRow("http://" + "long." * 20 + "org", "left out", note="It does not answer. Start it."),
        ]
        text = shown(render.nodes(rows))
        assert "…" not in text
        assert "a" * 12 not in text, "the digest goes first"
        assert rows[1].name in "".join(text.split())
        near = [rows[0], replace(rows[0], name="http://192.168.178.22:11434")]
        assert "http://192.168.178.22:11434   ready" in shown(render.nodes(near))
        assert "a" * 12 in shown(render.nodes(near), 120)
        assert "64 MiB, all on the GPU" in text
        assert "It does not answer" in " ".join(text.split())

    def test_of_runs(self) -> None:
        began = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
        run = Run(
            "1b4e28ba-2fa1-11d2-883f-0016d3cca427-recover", "ingest", f"/data/[papers]/{self.long}", "done", began,
            began + timedelta(seconds=34.56), 1, 1, 2, 2, "gpu-box.example.org", 12, {"new": 12.0, "node_seconds": 4.5},
        )  # fmt: skip
        text = shown(render.runs([run, replace(run, source="", ended_at=None, counts={})]))
        assert run.source.replace(" ", "") in "".join(text.split())
        assert "34.6 s" in text
        assert "12 new, 4.5 node seconds" in text
        assert max(map(len, text.splitlines())) <= 80

    def test_of_upkeep(self) -> None:
        text = shown(
            render.upkeep(Upkeep(("optimised papers: 40 files became 2 (it was asked for)",), 3, 1.25, 2**28))
        )
        assert text.splitlines() == [
            "Optimised papers: 40 files became 2 (it was asked for).",
            "Deleted 3 files that killed writers left.",
            "It took 1.2 s and 256 MiB of memory.",
        ]

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
    LanceTable(uri=str(tmp_path / "db"), table="papers").save("cli-papers", overwrite=True)
    for options in ((None, None, "cli-papers"), (None, "block:cli-papers", None)):
        assert named_table(*options).table == "papers"
    assert named_table("~/x", "t", None).uri == str(Path("~/x").expanduser())
    assert named_table(None, None, None).table == "documents"
