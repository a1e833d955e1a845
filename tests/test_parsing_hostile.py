"""Files that would stop, fill or crash a reader: each is refused or read within its limits, by name and reason."""

from __future__ import annotations

import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError, DocumentError
from prefect_ollama.tasks.parsing import REMEDIES, ParsedDocument, ParseOptions, Parser
from tests import hostile
from tests.waiting import until

TIGHT = ParseOptions(memory_mb=100, cpu_seconds=1, wall_seconds=30)
# For what takes much memory: that takes a second, more on a busy machine.
LITTLE_MEMORY = replace(TIGHT, cpu_seconds=20)


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.pdf"
    path.write_bytes(hostile.pdf({**_CATALOG, **hostile.text_page(3, b"Sound and short.")}))
    return path


_CATALOG = {
    1: b"<</Type/Catalog/Pages 2 0 R>>",
    2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    5: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
}


def text_of(document: ParsedDocument) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks]


def refused(parser: Parser, path: Path, options: ParseOptions = TIGHT) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parser.parse(path, options)
    error = caught.value
    assert error.path == str(path)
    assert error.kind in REMEDIES
    assert error.remedy == REMEDIES[error.kind]
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.kind, copy.path) == (str(error), error.kind, error.path)
    return error


BOUNDED = [each for each in fields(ParseOptions) if each.name.endswith(("_mb", "_seconds", "_pages"))]


@pytest.mark.parametrize("field", BOUNDED, ids=lambda field: field.name)
def test_a_limit_that_no_system_can_keep_is_refused(field: Field[float]) -> None:
    for value in (math.inf, math.nan, 10**30, -1):
        with pytest.raises(ConfigurationError, match=r"(at most|and) 10,000,000"):
            ParseOptions(**{field.name: value})


def test_a_file_is_read_with_the_largest_limits(sound: Path) -> None:
    limits: dict[str, Any] = {each.name: each.metadata["le"] for each in BOUNDED}
    with Parser() as parser:
        assert text_of(parser.parse(sound, ParseOptions(**limits))) == ["Sound and short."]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (hostile.form_bomb, "cpu-time"),
        pytest.param(hostile.flate_bomb, "cpu-time", marks=pytest.mark.slow),
        (hostile.text_bomb, "memory"),
        pytest.param(hostile.outline_heap, "cpu-time", marks=pytest.mark.slow),
        (hostile.page_tree_loop, "damaged"),
        pytest.param(hostile.page_tree_bomb, "damaged", marks=pytest.mark.slow),
        pytest.param(hostile.page_count_lie, "damaged", marks=pytest.mark.slow),
        (hostile.no_pages, "no-pages"),
    ],
)
@pytest.mark.sampled(2)
def test_bombs_are_refused_and_the_next_file_is_read(
    parser: Parser, tmp_path: Path, sound: Path, make: Callable[[], bytes], kind: str
) -> None:
    path = tmp_path / "bomb.pdf"
    path.write_bytes(make())
    options = LITTLE_MEMORY if kind == "memory" else TIGHT
    assert refused(parser, path, options).kind == kind
    assert text_of(parser.parse(sound, TIGHT)) == ["Sound and short."]


@pytest.mark.parametrize("make", [hostile.outline_loop, hostile.xref_loop])
def test_loops_beside_the_pages_do_not_keep_them_from_being_read(
    parser: Parser, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    path = tmp_path / "loop.pdf"
    path.write_bytes(make())
    assert len(text_of(parser.parse(path, TIGHT))) == 1


def test_more_pages_than_allowed_are_refused(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "many.pdf"
    with pymupdf.open() as document:
        for number in range(30):
            document.new_page().insert_text((72, 72), f"Page {number}.")
        document.save(path)
    assert refused(parser, path, ParseOptions(max_pages=29)).kind == "too-large"
    assert len(parser.parse(path, ParseOptions(max_pages=30)).pages) == 30


@pytest.mark.slow
def test_more_text_than_allowed_is_refused(parser: Parser, tmp_path: Path, sound: Path) -> None:
    path = tmp_path / "long.pdf"
    path.write_bytes(hostile.text_bomb(characters=12_000_000))
    assert refused(parser, path, ParseOptions(output_mb=1, memory_mb=4000)).kind == "too-large"
    assert text_of(parser.parse(sound, TIGHT)) == ["Sound and short."]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (os.urandom(5000), "not-a-pdf"),
        (b"<html><body>not a PDF</body></html>", "not-a-pdf"),
        (b"%PDF-1.7\n" + b"junk " * 1000, "damaged"),
        (b"%PDF-1.7", "damaged"),
    ],
)
def test_junk_is_refused(parser: Parser, tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "junk.pdf"
    path.write_bytes(content)
    error = refused(parser, path)
    assert error.kind == kind or (kind == "damaged" and error.kind == "no-pages")


def test_a_truncated_file_is_refused_or_said_to_be_repaired(parser: Parser, tmp_path: Path) -> None:
    with pymupdf.open() as document:
        for number in range(20):
            document.new_page().insert_text((72, 72), f"This is page {number}.")
        whole = document.tobytes()
    outcomes = set()
    for share in (0.1, 0.5, 0.9, 0.99):
        path = tmp_path / f"cut{share}.pdf"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            document = parser.parse(path, TIGHT)
        except DocumentError as error:
            outcomes.add(error.kind)
        else:
            outcomes |= {problem.kind for problem in document.problems if problem.page is None}
    assert outcomes <= {"no-pages", "damaged", "repaired"}
    assert len(outcomes) > 1


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "Invoice 7.pdf"
    with pymupdf.open() as document:
        document.new_page().insert_text((72, 72), "A secret line.")
        document.save(path, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="open sesame", owner_pw="owner")
    return path


@pytest.mark.parametrize("left_out", [1, 2])
def test_a_file_whose_table_of_objects_leaves_out_the_pages_is_repaired(
    parser: Parser, tmp_path: Path, left_out: int
) -> None:
    content = hostile.pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            5: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            **hostile.text_page(3, b"The only page."),
        }
    )
    entry = b"%010d 00000 n" % content.index(b"%d 0 obj" % left_out)
    path = tmp_path / "left-out.pdf"
    path.write_bytes(content.replace(entry, b"0000000000 00000 f"))
    document = parser.parse(path)
    assert [block.text for page in document.pages for block in page.blocks] == ["The only page."]
    assert [problem.kind for problem in document.problems] == ["repaired"]
    assert parser.picture(path, 1).png.startswith(b"\x89PNG")


def test_an_encrypted_file_needs_a_password_whose_pattern_fits(parser: Parser, locked: Path) -> None:
    def options(*pairs: tuple[str, str]) -> ParseOptions:
        return ParseOptions(passwords=tuple((pattern, SecretStr(word)) for pattern, word in pairs))

    assert refused(parser, locked).kind == "encrypted"
    assert "no password" in refused(parser, locked).cause
    assert "none of the 1 passwords" in refused(parser, locked, options(("*.pdf", "wrong"))).cause
    assert refused(parser, locked, options(("other*.pdf", "open sesame"))).kind == "encrypted"
    right = options(("*", "wrong"), ("Invoice*.pdf", "open sesame"))
    assert text_of(parser.parse(locked, right)) == ["A secret line."]
    assert "sesame" not in repr(right)


def test_a_file_with_only_an_owner_password_is_read_whatever_passwords_are_given(
    parser: Parser, tmp_path: Path
) -> None:
    path = tmp_path / "owned.pdf"
    with pymupdf.open() as document:
        document.new_page().insert_text((72, 72), "Open to all.")
        document.save(path, encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="owner")
    options = ParseOptions(passwords=(("*", SecretStr("wrong")),))
    assert text_of(parser.parse(path, options)) == ["Open to all."]


def test_what_is_no_file_is_refused_without_waiting(parser: Parser, tmp_path: Path) -> None:
    directory = tmp_path / "x.pdf"
    directory.mkdir()
    fifo = tmp_path / "fifo.pdf"
    os.mkfifo(fifo)
    link = tmp_path / "link.pdf"
    link.symlink_to(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.pdf"))
        for path in (directory, fifo, link, tmp_path / "s.pdf", Path("/dev/null"), Path("/dev/zero")):
            assert refused(parser, path).kind == "not-a-file"
    assert refused(parser, tmp_path / "gone.pdf").kind == "missing"
    dangling = tmp_path / "dangling.pdf"
    dangling.symlink_to(tmp_path / "gone.pdf")
    assert refused(parser, dangling).kind == "missing"
    circle = tmp_path / "circle.pdf"
    circle.symlink_to(circle)
    assert refused(parser, circle).kind == "unreadable"


def test_a_file_that_becomes_a_fifo_after_it_was_looked_at_is_refused_by_the_child(
    parser: Parser, tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "late.pdf"
    os.mkfifo(fifo)
    regular = sound.stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: regular)
    assert refused(parser, fifo).kind == "not-a-file"
    assert refused(parser, tmp_path / "gone.pdf").kind == "missing"
    assert text_of(parser.parse(sound)) == ["Sound and short."]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_refused(parser: Parser, sound: Path) -> None:
    sound.chmod(0)
    assert refused(parser, sound).kind == "unreadable"


@pytest.mark.parametrize(
    "name",
    [
        'it\'s "quoted".pdf',
        "two\nlines.pdf",
        "-rf.pdf",
        " .pdf",
        "日本語 עברית ünï 🗼.pdf",
        "e\u0301.pdf",
        "%s {0} \\ $HOME.pdf",
        "x" * 240 + ".pdf",
        os.fsdecode(b"\xff\xfe not utf-8.pdf"),
    ],
)
def test_odd_names_are_read_like_any_other(parser: Parser, tmp_path: Path, sound: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(sound.read_bytes())
    assert text_of(parser.parse(path)) == ["Sound and short."]


@pytest.mark.slow
def test_pages_read_before_a_kill_are_kept_where_the_caller_wants_them(
    parser: Parser, tmp_path: Path
) -> None:
    path = tmp_path / "half.pdf"
    path.write_bytes(hostile.sound_pages_before(pages=5))
    assert refused(parser, path).kind == "cpu-time"
    document = parser.parse(path, ParseOptions(cpu_seconds=1, allow_partial=True))
    assert [page.number for page in document.pages] == [1, 2, 3, 4, 5]
    assert document.page_count == 7
    assert document.unread_pages == (6, 7)
    assert {problem.kind for problem in document.problems} == {"cpu-time"}
    assert all(problem.remedy for problem in document.problems)


@pytest.mark.slow
def test_a_page_that_takes_too_much_memory_is_left_out_of_a_partial_document(
    parser: Parser, tmp_path: Path
) -> None:
    path = tmp_path / "memory.pdf"
    with pymupdf.open() as whole:
        whole.new_page().insert_text((72, 72), "Before.")
        with pymupdf.open(stream=hostile.text_bomb(), filetype="pdf") as bomb:
            whole.insert_pdf(bomb)
        whole.new_page().insert_text((72, 72), "After.")
        whole.save(path)
    assert refused(parser, path, LITTLE_MEMORY).kind == "memory"
    document = parser.parse(path, ParseOptions(memory_mb=100, allow_partial=True))
    assert text_of(document) == ["Before.", "After."]
    assert document.unread_pages == (2,)


def _child_of(parser: Parser) -> int:
    assert parser._child is not None
    return parser._child.pid


def test_a_child_that_does_nothing_at_all_is_killed_when_its_time_is_up(
    parser: Parser, tmp_path: Path
) -> None:
    path = tmp_path / "endless.pdf"
    path.write_bytes(hostile.form_bomb())
    parser.parse(_sound_in(tmp_path))
    pid = _child_of(parser)

    def stop_it_once_it_works() -> None:
        before = _ticks(pid)
        until(lambda: _ticks(pid) >= before + 5)
        os.kill(pid, signal.SIGSTOP)

    helper = threading.Thread(target=stop_it_once_it_works)
    helper.start()
    error = refused(parser, path, ParseOptions(wall_seconds=2))
    helper.join()
    assert error.kind == "wall-time"
    assert not Path(f"/proc/{pid}").exists()


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _sound_in(folder: Path) -> Path:
    path = folder / "sound.pdf"
    path.write_bytes(hostile.pdf({**_CATALOG, **hostile.text_page(3, b"Sound and short.")}))
    return path


def test_a_child_killed_from_outside_is_named_and_replaced(
    parser: Parser, tmp_path: Path, sound: Path
) -> None:
    parser.parse(sound)
    os.kill(_child_of(parser), signal.SIGKILL)  # It dies while it has nothing to do: nobody need notice.
    assert text_of(parser.parse(sound)) == ["Sound and short."]
    path = tmp_path / "endless.pdf"
    path.write_bytes(hostile.form_bomb())
    timer = threading.Timer(0.3, os.kill, (_child_of(parser), signal.SIGSEGV))
    timer.start()
    assert refused(parser, path, ParseOptions()).kind == "crashed"
    assert text_of(parser.parse(sound)) == ["Sound and short."]


def test_one_child_reads_many_files_and_closing_ends_it(sound: Path) -> None:
    with Parser() as parser:
        parser.parse(sound)
        pid = _child_of(parser)
        for _ in range(3):
            parser.parse(sound)
        assert _child_of(parser) == pid
    assert not Path(f"/proc/{pid}").exists()
    assert text_of(parser.parse(sound)) == ["Sound and short."]  # It may be used again.
    parser.close()


def test_the_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    path = tmp_path / "endless.pdf"
    path.write_bytes(hostile.form_bomb())
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from prefect_ollama.tasks.parsing import Parser, ParseOptions\n"
        "from prefect_ollama.tasks.parsing.pdf import PDF\n"
        "from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess\n"
        "parser = Parser()\n"
        "parser._child = ChildProcess(PDF.module)\n"
        "print(parser._child.pid, flush=True)\n"
        "parser.parse(Path(sys.argv[1]), ParseOptions(cpu_seconds=1))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_modules_in_the_working_folder_do_not_reach_the_child(
    tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pymupdf.py").write_text("raise SystemExit('taken over')")
    (tmp_path / "orjson.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    with Parser() as parser:
        assert text_of(parser.parse(Path(sound.name))) == ["Sound and short."]


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_mb": 0},
        {"cpu_seconds": -1},
        {"ocr_dpi": 10},
        {"ocr": "always"},
        {"ocr_languages": ()},
        {"ocr_languages": ("eng;rm -rf",)},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ParseOptions(**wrong)  # type: ignore[arg-type]
