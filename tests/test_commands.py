"""The command line: what it prints where, its exit status, and that nothing around it gets in its way."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from cyclopts import App, CoercionError
from prefect.settings import PREFECT_HOME, temporary_settings
from rich.console import Console

from prefect_ollama import render, render_hits
from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from prefect_ollama.blocks.documents import Hit, Run
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance.maintenance import Maintenance
from prefect_ollama.blocks.nodes import LoadedModel
from prefect_ollama.commands import EXAMPLES, app
from prefect_ollama.flows import (
    Chunking,
    FileReport,
    ForgetReport,
    IngestReport,
    NodeReport,
    NodeStatus,
    Reading,
    discover_nodes,
    ingest_pdfs,
    maintain_table,
    roll_back,
)
from prefect_ollama.options import TableOptions
from prefect_ollama.reading_options import PASSWORD_VARIABLE, ChunkSizes, PasswordOptions, ReadingOptions
from prefect_ollama.tasks.parsing import DroppedLine, ParseOptions
from tests.cache_worker import keys_of, vectors_of
from tests.flow_samples import assert_right, chunks, write_folder, write_pdf
from tests.nodes import Node, nodes
from tests.store_samples import IDENTITY, embedded, sentences

ROOT = Path(__file__).parent.parent
COMMANDS = (
    *(
        "ingest",
        "search",
        "ask",
        "documents",
        "runs",
        "roll-back",
        "forget",
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
        timeout=240,
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


def leaves(found: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command by the words that name it, as the app itself has them."""
    if found.default_command is not None and path:
        yield path
    for name in found:
        if not name.startswith("-"):
            yield from leaves(found[name], (*path, name))


def option_names(path: tuple[str, ...]) -> set[str]:
    found = app
    for part in path:
        found = found[part]
    return {name for argument in found.assemble_argument_collection() for name in argument.names}


def test_help_shows_defaults_as_a_user_would_type_them(capsys: pytest.CaptureFixture[str]) -> None:
    app(["ingest", "--help"], result_action="return_value")
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "May be given several times" in said
    assert "[default: eng]" in said
    assert '[default: ""]' not in said
    assert "[default: (" not in said


@pytest.mark.sampled(6)
@pytest.mark.parametrize("path", list(leaves()), ids=" ".join)
def test_help_ends_in_examples_that_can_be_typed(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    app([*path, "--help"], result_action="return_value")
    lines = [line.strip() for line in capsys.readouterr().out.partition("Example")[2].splitlines()]
    found = [line for line in lines if line.startswith("prefect-ollama ")]
    assert found
    for example in found:
        named, words = example.split()[1 : 1 + len(path)], shlex.split(example)[1:]
        assert named == list(path) or path == ("cache",)
        app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    "path", [path for path in leaves() if path not in (("node",), ("mcp",))], ids=" ".join
)
def test_every_command_can_say_less_and_more(path: tuple[str, ...]) -> None:
    assert {"--quiet", "-q", "--verbose", "-v", "--json"} <= option_names(path)


def test_options_that_an_error_advises_exist_in_the_form_and_on_the_command_line() -> None:
    """An error names an option as the form labels it and as the command line takes it: *Memory* (`--memory-mb`)."""
    sources = [
        path.read_text("utf-8")
        for name in ("blocks", "flows", "tasks")
        for path in ROOT.glob(f"{name}/**/*.py")
    ]
    # Texts over two lines are one text.
    text = "".join(re.sub(r'"\n\s*f?"', "", each) for each in sources)
    advised = set(re.findall(r"\*([A-Z][\w ]+)\* \(`--([a-z-]+)", text))
    assert len(advised) > 12
    forms = "".join(
        str(flow.parameters.model_dump()) for flow in (ingest_pdfs, roll_back, maintain_table, discover_nodes)
    )
    titles = set(re.findall(r"'title': '([^']+)'", forms))
    assert {title for title, _ in advised} <= titles
    assert {f"--{name}" for _, name in advised} <= set().union(*map(option_names, leaves()))
    assert {"memory-mb", "max-pages", "ocr-seconds", "exclude"} <= {name for _, name in advised}
    for command in ("re-embed", "documents"):
        limits = {f"--{each.name.replace('_', '-')}" for each in dataclasses.fields(ParseOptions)}
        assert limits & {f"--{name}" for _, name in advised} <= option_names((command,))


def test_a_limit_of_the_command_line_holds_for_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_pdf(tmp_path / "long.pdf", ["one", "two", "three"])
    arguments = ["documents", str(file), "--uri", str(tmp_path / "db"), "--markdown", "--max-pages", "2"]
    assert app(arguments, result_action="return_value") != 0
    assert "raise *Max pages* (`--max-pages`)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        app([*arguments[:-1], "0"], result_action="return_value")


def test_the_shell_completes_commands_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app(["--install-completion", "--shell", "bash"], result_action="return_value")
    (script,) = (tmp_path / ".local").rglob("prefect-ollama")
    assert str(script) in capsys.readouterr().out
    ask = f"source {script}; COMP_WORDS=(prefect-ollama {{}}); COMP_CWORD=$((${{{{#COMP_WORDS[@]}}}}-1)); "
    ask += "eval \"$(complete -p prefect-ollama | sed 's/.*-F \\([^ ]*\\).*/\\1/')\"; echo ${{COMPREPLY[*]}}"
    for typed, words in (
        ("ing", {"ingest"}),
        ("search --li", {"--limit"}),
        ("ingest --max", {"--max-tokens"}),
    ):
        done = subprocess.run(["bash", "-c", ask.format(typed)], capture_output=True, text=True, timeout=240)
        assert words <= set(done.stdout.split()), done.stderr


class TestOptions:
    def test_sizes_of_chunks_are_the_flows_unless_they_are_named(self) -> None:
        assert ChunkSizes().form() == Chunking()
        assert ChunkSizes(100, 120, 10, 20).form() == Chunking(
            target_tokens=100, max_tokens=120, overlap_tokens=10, min_tokens=20
        )
        with pytest.raises(ConfigurationError, match=r"in ascending order.*--max-tokens 256"):
            ChunkSizes(300).form()
        app.help_print(["ingest"], console=Console(file=(printed := io.StringIO()), width=200))
        text = " ".join(printed.getvalue().replace("│", " ").split())
        for name, tokens in dataclasses.asdict(Chunking()).items():
            assert re.search(rf"--{name.replace('_', '-')} INT ((?! --).)*\[default: {tokens}\]", text)

    @pytest.mark.parametrize(("form", "options"), [(Reading, ReadingOptions), (Chunking, ChunkSizes)])
    def test_every_field_of_a_form_is_an_option_with_its_help_and_default(
        self, form: type[Any], options: type[Any]
    ) -> None:
        fields = {each.name: each for each in dataclasses.fields(form)}
        assert fields.keys() == {each.name for each in dataclasses.fields(options)}
        given = {each.name: each for each in app["ingest"].assemble_argument_collection()}
        for each in dataclasses.fields(options):
            option = given.get(f"--{each.name.replace('_', '-')}")
            if each.metadata:
                assert option is not None
                assert option.parameter.help == fields[each.name].metadata["description"]
                assert option.field_info.default == fields[each.name].default

    def test_passwords_come_from_files_and_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "passwords"
        file.write_text("\ufeffone\n\n two\nthree\n", encoding="utf-8")
        monkeypatch.setenv(PASSWORD_VARIABLE, "four")
        monkeypatch.setattr(sys, "stdin", io.StringIO("\ufefffive\none\n"))
        found = ReadingOptions(passwords=PasswordOptions((file, Path("-")))).form().passwords
        assert [each.password.get_secret_value() for each in found] == [
            "one",
            " two",
            "three",
            "five",
            "four",
        ]
        assert {each.pattern for each in found} == {"*"}
        assert "one" not in repr(found)

    def test_a_password_is_asked_of_a_terminal_only(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"needs a terminal.*--password-file"):
            PasswordOptions(ask_password=True).found()
        with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
            PasswordOptions((tmp_path / "none",)).found()
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match="one password a line"):
            PasswordOptions((tmp_path / "binary",)).found()


@pytest.mark.slow  # two commands with a server to ask
@pytest.mark.usefixtures("prefect_server")
def test_a_command_says_nothing_or_all(tmp_path: Path, pair: list[Node]) -> None:
    write_folder(tmp_path / "papers", ["a"], pages=1)
    at = ("ingest", "papers", "--node", pair[0].url, "--uri", "db", "--dry-run")
    quiet = command(*at, "--quiet", cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "1 new" in quiet.stdout
    verbose = command(*at, "-v", cwd=tmp_path)
    assert "Beginning flow run" in verbose.stderr
    assert "Plan for" in verbose.stderr
    assert command(*at, "-q", "-v", cwd=tmp_path).returncode == 2


def test_no_option_for_whole_numbers_rounds() -> None:
    refused = set()
    for name in (*(each.__name__.replace("_", "-") for each in EXAMPLES), "node"):
        for each in app[name].assemble_argument_collection():
            if "int" in re.findall(r"\w+", str(each.hint)):
                with pytest.raises(CoercionError, match=r"2\.5"):
                    app.parse_args([name, f"{each.name}=2.5"], exit_on_error=False, print_error=False)
                refused.add(f"{name} {each.name}")
    # One of each kind: a plain one, one that may be repeated or absent, and an inherited one.
    assert {"search --limit", "discover --port", "maintain --memory-mb", "ingest --ocr-dpi"} <= refused


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
            (("search", "x", "--since", "yesterday"), "such as 2024-12-31"),
            (("ask", "x", "--until", "31.12.2024"), "such as 2024-12-31"),
            (("search", "x", "--limit", "few"), "Write a whole number, such as 12"),
            (("search", "x", "--limit", "2.7"), "Write a whole number, such as 12"),
            (("node", "--port", "2.5"), 'Invalid value for --port: unable to convert "2.5" into int'),
            (("tune", "--seconds", "long"), "Write a number, such as 2.5"),
            (("ask", "x", "--track=later"), "Write the option alone"),
            (("roll-back",), "requires an argument"),
            (("runs", "--limit", "0"), "Must be >= 1"),
            (("maintain", "--keep-days", "-1"), "Must be >= 0"),
            (("maintain", "--keep-days", "1e300"), "Must be <= 36500"),
            (("discover", "10.0.0.1", "--timeout", "61"), "Must be <= 60"),
            (("cache", "no-such-command"), "no-such-command"),
            (("forget", ""), "it is empty. Write a value, or leave it out."),
            (("ingest", "x", "--uri="), "Invalid value for --uri: it is empty."),
            (("search", "x", "--cluster", ""), "Invalid value for --cluster: it is empty."),
            (("search", "x", "-d", " "), "it is empty."),
            (("ask", "x", "--show="), "it is empty."),
            (("node", "--model-dir", ""), "it is empty."),
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
        said = " ".join((captured.out + captured.err).split())
        assert words in said
        assert "--help shows what there is." in said
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
    @pytest.mark.sampled(4)
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


@pytest.mark.parametrize("order", [(), ("clear",)])
def test_a_folder_that_is_no_cache_stays_as_it_is(
    order: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "INFO")
    (tmp_path / "a.pdf").touch()
    tmp_path.chmod(0o755)
    assert app(["cache", *order, "--folder", str(tmp_path)], result_action="return_value") == 2
    assert "There is no vector cache in" in capfd.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["a.pdf"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.slow
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
    assert done.stderr == f"Starting Prefect…\nPlan for {hostile / 'papers'}: 2 new\n"
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
    assert "2 removed" in here("roll-back", "run of b.pdf", *at, "--including-later", "--yes")
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
@pytest.mark.timeout(1200)
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
    done = command("re-embed", "--yes", *at, "--uri", place, "--json", cwd=hostile, **home)
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["counts"] == {"chunks": 8}
    done = command("nodes", *at, "-n", "http://127.0.0.1:9", "--json", cwd=hostile, **home)
    assert done.returncode == 1
    assert [row["ok"] for row in orjson.loads(done.stdout)] == [True, True, False]


@pytest.mark.slow  # a fresh home: Prefect's database is made, the embedded model loaded, workers started
@pytest.mark.timeout(1200)
def test_a_fresh_machine_needs_nothing(hostile: Path, tmp_path: Path) -> None:
    fresh = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OLLAMA_"))
    }
    fresh |= {"HOME": str(tmp_path / "fresh"), "COLUMNS": "80", "DO_NOT_TRACK": "1"}
    (tmp_path / "fresh").mkdir()
    samples = Path(__file__).parent.parent / "samples"

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "prefect_ollama", *map(str, arguments)]
        return subprocess.run(line, cwd=hostile, env=fresh | env, capture_output=True, text=True, timeout=240)

    done = run("ingest", samples / "tides.pdf")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert sum("the embedded model all-minilm" in line and "is used" in line for line in lines) == 1
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
@pytest.mark.slow
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
                FileReport(
                    "good.pdf", "stored", 10, 100,
                    notes=("1 attached file was not read: plan.xlsx.",),
                    dropped_lines=(DroppedLine("header", "Head of the report", 9), DroppedLine("", "", 3)),
                ),
                FileReport(self.long, "failed", reason="It is broken. " * 8, remedy="Repair it."),
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
        assert "1,234 characters (running heads 1,200, hyphens at line ends 34)" in " ".join(text.split())
        assert "3 pages in 7.2 s" in text
        assert "1 attached file was not read: plan.xlsx." in text
        assert "good.pdf: “Head of the report” (running heads), 9 times" in text
        assert max(map(len, text.splitlines())) <= 80

    def test_of_a_plan(self) -> None:
        new = [FileReport(f"{n}.pdf", "new") for n in range(60)]
        files = (*new, FileReport("gone.pdf", "removed"))
        text = shown(render.report(IngestReport("run", "/in", "/db", "", True, files)))
        assert "would be stored (new): 0.pdf" in text
        assert "… and 11 more" in text
        assert "seconds" not in text

    def test_of_documents_that_left_a_table(self) -> None:
        what = ForgetReport("/the db/papers", False, (), runs=("0198c2f4", "0198c2f5"))
        text = " ".join(shown(render.forgotten(what)).split())
        assert "`prefect-ollama roll-back 0198c2f4 --uri '/the db' --table papers` undoes it." in text
        usual = ForgetReport("/db/documents", False, (), runs=("0198c2f4",))
        assert "--uri /db` undoes it." in shown(render.forgotten(usual))

    def test_of_nodes(self) -> None:
        loaded = (LoadedModel("m:latest", 2**26, 2**26),)
        rows = [
            NodeStatus("gpu-box", ok=True, version="0.33.0", digest="a" * 64, model="m", loaded=loaded),
            NodeStatus("http://" + "long." * 20 + "org", error="It does not answer. Start it."),
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

    def test_of_maintenance(self) -> None:
        text = shown(
            render.maintenance(
                Maintenance(("optimised papers: 40 files became 2 (it was asked for)",), 3, 1.25, 2**28)
            )
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
        text = shown(render_hits.hits([hit]))
        joined = "".join(text.split())
        assert self.long.replace(" ", "") in joined
        assert "pages3-4" in joined
        assert "[some]" in text
        assert shown(render_hits.hits([])).strip() == "Nothing found."


@pytest.mark.usefixtures("prefect_server")
def test_a_question_needs_no_quotes(here: Here, tmp_path: Path) -> None:
    store = Store.open(StoreSpec(str(tmp_path / "db"), "papers"), identity=IDENTITY, create=True)
    store.begin_run("one", "papers")
    store.write([embedded("a.pdf", ["The harbour is quiet", "The lantern is lit"])])
    store.end_run()
    at = ("--uri", tmp_path / "db", "--table", "papers", "--mode", "text")
    for question in (
        ["where", "is", "the", "lantern"],
        ["where is the lantern"],
        ["where", "is the lantern"],
    ):
        assert here.json("search", *question, *at)[0]["text"] == "The lantern is lit"


DOCS = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))


def commands_of(page: Path) -> list[str]:
    """The commands of a page, in its blocks of a shell and between backticks, as far as they are whole."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^[$#]? ?(prefect-ollama (?:[^\n]*\\\n)*[^\n]*)$", text, re.M)
    return [
        each.replace("\\\n", " ")
        for each in (*blocks, *re.findall(r"`(prefect-ollama [^`]+)`", text))
        if "…" not in each
    ]


def test_the_commands_of_the_docs_can_be_given() -> None:
    """Parsed by the command line itself, and not run; the table they name can be one."""
    given = [(page.name, each) for page in DOCS for each in commands_of(page)]
    assert len(given) >= 15
    for page, command in given:
        words = shlex.split(command.split(" | ")[0].split(" > ")[0].rstrip("&; "), comments=True)[1:]
        if words[:1] == ["--install-completion"] or len(words) == 1:
            continue  # only the name of a command, as in "see `prefect-ollama runs`"
        called, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
        assert called is not None, (page, command)
        table = bound.arguments.get("table", TableOptions())
        if table.block is None and not str(table.table).startswith("block:"):
            assert table.place()


def test_the_tables_that_the_docs_name_are_some() -> None:
    root = Path(__file__).parent.parent
    pages = [*DOCS, root / "deployments" / "prefect.yaml"]
    named = [
        each
        for page in pages
        for each in re.findall(r"\btable: \"?([\w:./-]+)", page.read_text(encoding="utf-8"))
    ]
    assert {"papers", "invoices", "block:papers"} <= set(named)
    for each in named:
        if not each.startswith("block:"):
            assert TableOptions(table=each).place().table == each


def test_a_saved_table_block_is_found(prefect_server: str, tmp_path: Path) -> None:
    LanceTable(uri=str(tmp_path / "db"), table="papers").save("cli-papers", overwrite=True)
    for options in ((None, None, "cli-papers"), (None, "block:cli-papers", None)):
        assert TableOptions(*options).place().table == "papers"
    assert TableOptions("~/x", "t").place().uri == str(Path("~/x").expanduser())
    assert TableOptions().place().table == "documents"
