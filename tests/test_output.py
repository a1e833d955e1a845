"""Files for results: refused before the work if they cannot be written, and written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.output_files import output_file, output_folder, write_output
from prefect_ollama.commands import app
from prefect_ollama.flows.researching import report_can_be_made


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = output_file(tmp_path / ("r" * 250))
    write_output(file, "one\ud800", "")
    write_output(file, "two", "")
    assert file.read_text(encoding="utf-8") == "two"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ConfigurationError, match="No space left on device") as caught:
        write_output(file, "three", "It was read.")
    assert caught.value.state == "The file is as it was. It was read."
    assert file.read_text(encoding="utf-8") == "two"
    assert list(tmp_path.iterdir()) == [file]


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    file, link = tmp_path / "report.md", tmp_path / "link.md"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_output(output_file(link), "new", "")
    assert (link.is_symlink(), file.read_text()) == (True, "new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # As for a user who may write to a device, and not to its folder.
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
    # Both ends, so that neither waits for the other.
    descriptor = os.open(pipe, os.O_RDWR)
    write_output(output_file(str(pipe)), "text", "")
    assert os.read(descriptor, 100) == b"text"
    os.close(descriptor)
    assert pipe.is_fifo()


def test_all_outputs_are_checked_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*arguments: str) -> str:
        assert app([*arguments, "--uri", str(tmp_path / "db")], result_action="return_value") == 2
        return capsys.readouterr().err

    (tmp_path / "file").touch()
    for command in ("search", "ask"):
        assert "is no folder" in told(command, "x", "--show", str(tmp_path / "file" / "pictures"))
    for place in (tmp_path, tmp_path / "none" / "x.md"):
        assert "cannot be written: it" in told("documents", "a", "--markdown", "-o", str(place))
        with pytest.raises(ConfigurationError, match="cannot be written: it"):
            report_can_be_made({"file": str(place)})
    monkeypatch.setattr("os.access", lambda *_: False)
    for refused in (output_file, output_folder):
        with pytest.raises(ConfigurationError, match="you may not write to") as caught:
            refused(tmp_path / "x")
        assert (caught.value.state, caught.value.remedy[:12]) == ("Nothing was done.", "Name a place")


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.sampled(1)
def test_output_that_cannot_be_written_is_an_error_without_a_traceback(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    def told(stdout: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "prefect_ollama", "cache", "--quiet", *options],
            env={**os.environ, "PREFECT_HOME": str(tmp_path)},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=240,
        )
        os.close(stdout)
        return done.returncode, done.stderr

    status, said = told(os.open("/dev/full", os.O_WRONLY))
    assert (status, said.splitlines()[0]) == (2, "The output cannot be written: No space left on device.")
    # As `| head` does, which ends when it has read enough.
    reader, writer = os.pipe()
    os.close(reader)
    assert told(writer) == (1, "")
