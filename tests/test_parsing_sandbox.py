"""The rights of a parser process that a hostile file controls. Each test runs an attacker's code."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from prefect_ollama.tasks.parsing import ParseOptions, Parser
from prefect_ollama.tasks.parsing.pdf import PDF
from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess
from tests import hostile

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="Linux confines it"
)


def _landlock() -> bool:
    code = (
        "from prefect_ollama.tasks.parsing.sandbox import confinement as sandbox; print(*sandbox.confine())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return not done.stdout.strip()


CONFINES = pytest.mark.skipif(not _landlock(), reason="this kernel lacks Landlock or seccomp")

ATTACKS = {
    "read a file of the user": "open(HOME + '/key').read()",
    "list a folder": "os.listdir(HOME)",
    "look at another file's size through a link": "open(HOME + '/link').read()",
    "write a file": "open(HOME + '/new', 'w')",
    "change a file": "open(HOME + '/key', 'a')",
    "delete a file": "os.unlink(HOME + '/key')",
    "make a folder": "os.mkdir(HOME + '/folder')",
    "read its parent's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "read its parent's memory": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "open a TCP socket": "socket.socket()",
    "open a UDP socket": "socket.socket(type=socket.SOCK_DGRAM)",
    "open a Unix socket": "socket.socket(socket.AF_UNIX)",
    "make a pair of sockets": "socket.socketpair()",
    "start a program": "os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "start a program beside itself": "subprocess.run(['true'], check=True)",
    "start a shell": "assert os.system('true') != 0; raise PermissionError",
    "fork": "os.fork()",
    "kill its parent": "os.kill(os.getppid(), 0)",
    "see another process": "os.pidfd_open(os.getppid()); os.kill(os.getppid(), 0)",
    "take part in another network": "ctypes_call('unshare', 0x40000000)",
    "trace another process": "ctypes_call('ptrace', 16, os.getppid(), 0, 0)",
    "raise its memory": "resource.setrlimit(resource.RLIMIT_AS, (2**50, 2**50))",
    "raise its CPU time": "resource.setrlimit(resource.RLIMIT_CPU, (10**7, 10**7))",
    "raise the size of files": "resource.setrlimit(resource.RLIMIT_FSIZE, (2**40, 2**40))",
}

# What an attacker runs in a process that has done what the child does before its first file. Root may raise limits, so
# for those the process first becomes somebody who may not.
TAKEN_OVER = """
    import ctypes, os, resource, socket, subprocess, sys
    from prefect_ollama.tasks.parsing.sandbox import limits, confinement as sandbox
    HOME, attack = sys.argv[1:]

    def ctypes_call(name, *arguments):
        libc = ctypes.CDLL(None, use_errno=True)
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    if os.geteuid() == 0 and "setrlimit" in attack:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    limits.Limits(memory_mb=4096, cpu_seconds=600)
    assert not sandbox.confine()
    try:
        exec(attack)
    except (PermissionError, ValueError) as error:
        print("refused", error)
    except OSError as error:
        print("refused" if error.errno in (1, 13, 38) else "error", error)
    else:
        print("done")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    (place / "key").write_text("secret")
    (place / "link").symlink_to(place / "key")
    return place


@pytest.mark.sampled(3)
@CONFINES
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_process_that_was_taken_over_is_refused(attack: str, home: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(TAKEN_OVER), str(home), attack]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("refused"), done.stdout + done.stderr
    assert (home / "key").read_text() == "secret"


@CONFINES
def test_threads_and_late_imports_still_work(home: Path) -> None:
    attack = (
        "import threading, colorsys, encodings.cp037, sqlite3; found = []; "
        "each = threading.Thread(target=found.append, args=(1,)); each.start(); each.join(); assert found"
    )
    command = [sys.executable, "-c", textwrap.dedent(TAKEN_OVER), str(home), attack]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("done"), done.stdout + done.stderr


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@CONFINES
def test_the_child_is_confined_before_its_first_file() -> None:
    child = ChildProcess(PDF.module, {"memory_mb": 2048, "cpu_seconds": 100})
    try:
        status = _status(child.pid)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert child.unconfined == ()
        for which in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            assert resource.prlimit(child.pid, which)[1] != resource.RLIM_INFINITY
    finally:
        child.end()


def test_the_child_sees_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-too")
    child = ChildProcess(PDF.module)
    try:
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
    finally:
        child.end()
    assert b"secret" not in environment
    assert b"PATH=" in environment


def test_the_file_is_not_opened_again_by_its_name(tmp_path: Path) -> None:
    """If a file is replaced after it was opened, the opened one is read."""
    path = tmp_path / "report.pdf"
    path.write_bytes(_one_line(b"The first."))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere.pdf")
        (tmp_path / "elsewhere.pdf").write_bytes(_one_line(b"The second."))
        with Parser() as parser:
            document = parser.parse(path, ParseOptions(ocr="off"), descriptor=descriptor)
            assert [block.text for page in document.pages for block in page.blocks] == ["The first."]
            assert parser.unconfined == () or not _landlock()
    finally:
        os.close(descriptor)


def _one_line(text: bytes) -> bytes:
    head = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        5: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    }
    return hostile.pdf({**head, **hostile.text_page(3, text)})
