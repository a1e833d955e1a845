"""The wheel and the sdist: their files, and that an installed package works without a clone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import httpx
import orjson
import pytest

from tests.services import free_port

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]

pytestmark = pytest.mark.slow  # building, installing and a server's start take some seconds each


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None, status: int = 0) -> str:
    """Run a command outside of the project and return what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path
    wheel_of_sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist and the wheel of this tree, and the wheel of the sdist, built by what is installed here."""
    here = tmp_path_factory.mktemp("build")
    tree = here / "tree"
    leave = shutil.ignore_patterns("__pycache__", ".*", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=leave)
    build = [sys.executable, "-m", "build", "--no-isolation"]
    run(*build, "--sdist", "--outdir", here / "sdist", tree, cwd=here)
    run(*build, "--wheel", "--outdir", here / "wheel", tree, cwd=here)
    (sdist,) = (here / "sdist").iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(here / "unpacked", filter="data")
    (unpacked,) = (here / "unpacked").iterdir()
    run(*build, "--wheel", "--outdir", here / "again", unpacked, cwd=here)
    (wheel,) = (here / "wheel").iterdir()
    (again,) = (here / "again").iterdir()
    return Built(sdist, wheel, again)


@dataclass(frozen=True)
class Elsewhere:
    """An environment with the wheel in it, and a folder whose modules have the names of our folders."""

    python: Path
    script: Path
    folder: Path
    env: dict[str, str]

    def python_says(self, code: str) -> str:
        return run(self.python, "-c", code, cwd=self.folder, env=self.env)


@pytest.fixture(scope="module")
def elsewhere(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    here = tmp_path_factory.mktemp("elsewhere")
    venv.create(here / "venv", with_pip=False, symlinks=True)
    python = here / "venv" / "bin" / "python"
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv, "uv installs the wheel; run the tests by `uv run pytest`"
    run(uv, "pip", "install", "--offline", "--no-deps", "--python", python, built.wheel, cwd=here)
    # What the wheel depends on is taken from here. A path in a .pth file brings no other .pth file along, so
    # the editable install of this tree stays out of sight.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=here).strip()
    (Path(site) / "dependencies.pth").write_text(
        "\n".join(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))),
        encoding="utf-8",
    )
    folder = here / "hostile"
    for name in FOLDERS.values():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('imported {name}/')", encoding="utf-8")
    for name in ("tasks", "blocks"):
        shutil.rmtree(folder / name)
        (folder / f"{name}.py").write_text(f"raise SystemExit('imported {name}.py')", encoding="utf-8")
    (here / "home").mkdir()  # Prefect makes a folder in it, but not itself
    env = {
        "HOME": str(here / "home"),
        "PREFECT_HOME": str(here / "home" / ".prefect"),
        "PREFECT_PROFILES_PATH": str(here / "home" / ".prefect" / "profiles.toml"),
        "OLLAMA_HOST": "",
        "VIRTUAL_ENV": "",
        "PYTHONPATH": "",
    }
    return Elsewhere(python, python.parent / "prefect-ollama", folder, env)


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def metadata(wheel: Path) -> Message:
    (content,) = (text for name, text in files_of(wheel).items() if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(content.decode())


def test_every_folder_with_modules_is_a_package_of_the_wheel() -> None:
    found = {
        ".".join((package, *path.parent.relative_to(ROOT / folder).parts))
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert found == set(PACKAGES)


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    expected = {
        Path("prefect_ollama", *package.split(".")[1:], path.relative_to(ROOT / folder)).as_posix()
        for package, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    found = {name for name in files_of(built.wheel) if ".dist-info/" not in name}
    assert found == expected | {"prefect_ollama/py.typed"}


def test_the_sdist_gives_the_same_wheel(built: Built) -> None:
    ours, theirs = files_of(built.wheel), files_of(built.wheel_of_sdist)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_the_sdist_holds_what_belongs_to_a_release_and_no_tests(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "cli/py.typed"}
    assert not {name.partition("/")[0] for name in names} & {"tests", "benchmarks", "samples", "docs"}


def test_the_metadata_says_licence_python_and_readme(built: Built) -> None:
    said = metadata(built.wheel)
    assert said["License-Expression"] == "AGPL-3.0-or-later"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    licence = next(text for name, text in files_of(built.wheel).items() if name.endswith("licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert not [name for name in said.get_all("Requires-Dist", []) if "torch" in name or "all-minilm" in name]


def test_it_is_imported_from_where_it_was_installed(elsewhere: Elsewhere) -> None:
    code = f"""
import importlib, sys
for name in {PACKAGES!r}:
    module = importlib.import_module(name)
    assert module.__file__.startswith(sys.prefix), module.__file__
print("all")
"""
    assert elsewhere.python_says(code) == "all\n"


def test_prefect_finds_the_blocks(elsewhere: Elsewhere) -> None:
    code = """
from prefect.plugins import load_prefect_collections
assert not isinstance(load_prefect_collections()["prefect_ollama"], Exception)
from prefect.blocks.core import Block
from prefect.utilities.dispatch import get_registry_for_type
print(sorted(name for name, cls in get_registry_for_type(Block).items() if "prefect_ollama" in cls.__module__))
"""
    assert (
        elsewhere.python_says(code)
        == "['lance-table', 'ollama-cluster', 'ollama-node', 'openai-compatible-node']\n"
    )


def test_both_ways_to_the_command_line(elsewhere: Elsewhere) -> None:
    version = PROJECT["project"]["version"] + "\n"
    said = [
        run(*command, "--version", cwd=elsewhere.folder, env=elsewhere.env)
        for command in ((elsewhere.script,), (elsewhere.python, "-m", "prefect_ollama"))
    ]
    assert said == [version, version]
    run(elsewhere.script, "ingest", "--no-such-option", cwd=elsewhere.folder, env=elsewhere.env, status=2)


def test_it_works_among_modules_named_as_its_folders(elsewhere: Elsewhere) -> None:
    """Flow, Dask workers, parser and embedded nodes are processes of their own; none may take a user's module."""
    papers = elsewhere.folder / "papers"
    papers.mkdir()
    shutil.copy(ROOT / "samples" / "sourdough.pdf", papers)
    command = (elsewhere.python, "-m", "prefect_ollama")
    ingested = orjson.loads(
        run(*command, "ingest", "papers", "--json", cwd=elsewhere.folder, env=elsewhere.env)
    )
    assert ingested["ok"]
    assert ingested["outcomes"] == {"stored": 1}
    assert ingested["chunks"] == ingested["embedded"] > 0
    question = "Why should a loaf never be stored in the fridge?"
    hits = orjson.loads(
        run(elsewhere.script, "search", question, "--json", cwd=elsewhere.folder, env=elsewhere.env)
    )
    assert any("refrigerator" in hit["text"] for hit in hits[:3])


def test_the_server_of_the_locked_prefect_starts(tmp_path: Path) -> None:
    """FastAPI's newest did not go with Prefect's newest; this is what holds the two to each other."""
    port = str(free_port())
    log = tmp_path / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port],
            env=os.environ | {"PREFECT_HOME": str(tmp_path)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 240
        while not healthy(f"http://127.0.0.1:{port}/api/health"):
            assert time.monotonic() < until, log.read_text()
            with pytest.raises(subprocess.TimeoutExpired):  # it should not end
                server.wait(0.2)
    finally:
        server.terminate()
        server.wait(240)


def healthy(url: str) -> bool:
    try:
        return httpx.get(url, timeout=240).json() is True
    except httpx.TransportError:
        return False
