"""Sources, plans, and the bundles of their files. No Prefect, no table."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ollama.blocks.documents import FAILED, PARTIAL, STALE, STORED, Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.tasks.planning import (
    Bundles,
    LinkOnTheWay,
    NotRegular,
    Plan,
    Source,
    SourceFile,
    find_files,
    hash_descriptor,
    make_plan,
)
from prefect_ollama.tasks.planning._notes import notes_on
from prefect_ollama.tasks.planning.stored_paths import document_id, readable
from tests.other_user import UID, needs_root, open_folder


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(f"content of {name}"))


def stored(source: Source, **changes: object) -> list[Document]:
    """The manifest after a run that stored all files of a source."""
    return [
        replace(
            Document(
                document_id(source.name, file.path),
                source.name,
                file.path,
                STORED,
                file.size,
                file.mtime_ns,
                hash_of(file),
                chunks=1,
            ),
            **changes,  # type: ignore[arg-type]
        )
        for file in source.files
    ]


def hash_of(file: SourceFile) -> str:
    with file.opened() as descriptor:
        return hash_descriptor(descriptor)


def paths(some: tuple[SourceFile, ...] | tuple[Document, ...]) -> list[str]:
    return [each.path for each in some]


def rewrite(path: Path, text: str) -> None:
    """Other content, and another time, however coarse the file system's clock is."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


class TestSource:
    def test_a_folder_is_searched_to_its_depth(self, tmp_path: Path) -> None:
        fill(tmp_path, "b.pdf", "a.PDF", "sub/deep/c.pdf", "notes.txt", ".hidden.pdf", ".git/x.pdf")
        source = find_files(tmp_path)
        assert paths(source.files) == ["a.PDF", "b.pdf", "sub/deep/c.pdf"]
        assert source.whole
        assert source.name == str(tmp_path.resolve())
        assert not source.refused

    def test_a_pattern_belongs_to_the_folder_before_it(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/a.pdf", "in/sub/b.pdf", "in/sub/c.txt", "out.pdf")
        source = find_files(str(tmp_path / "in" / "**" / "*.pdf"))
        assert paths(source.files) == ["a.pdf", "sub/b.pdf"]
        assert source.name == find_files(tmp_path / "in").name
        assert not source.whole

    def test_a_time_that_no_table_can_hold_is_the_nearest_one(self, tmp_path: Path) -> None:
        fill(tmp_path, "later.pdf")
        os.utime(tmp_path / "later.pdf", (2**34, 2**34))  # the year 2514
        on_disk = (tmp_path / "later.pdf").stat().st_mtime_ns
        for source in (tmp_path, [tmp_path / "later.pdf"]):
            (file,) = find_files(source).files
            assert file.mtime_ns == min(on_disk, 2**63 - 1)

    def test_a_list_holds_each_file_once(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        a, b = tmp_path / "a.pdf", tmp_path / "b.pdf"
        source = find_files([a, b, a])
        assert paths(source.files) == [str(a), str(b)]
        assert not source.whole
        assert find_files(a).files == source.files[:1]

    def test_what_can_not_be_a_document_is_named_with_its_remedy(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/good.pdf", "outside.pdf")
        (tmp_path / "in" / "away.pdf").symlink_to(tmp_path / "outside.pdf")
        (tmp_path / "in" / "broken.pdf").symlink_to(tmp_path / "in" / "nowhere.pdf")
        (tmp_path / "in" / "loop.pdf").symlink_to(tmp_path / "in" / "loop.pdf")
        (tmp_path / "in" / "inside.pdf").symlink_to(tmp_path / "in" / "good.pdf")
        source = find_files(tmp_path / "in")
        assert paths(source.files) == ["good.pdf", "inside.pdf"]
        refused = {row.path: row for row in source.refused}
        assert {path: row.kind for path, row in refused.items()} == {
            "away.pdf": "outside",
            "broken.pdf": "unreadable",
            "loop.pdf": "unreadable",
        }
        assert all(row.reason and row.remedy and row.status == FAILED for row in source.refused)

    def test_a_linked_folder_leads_nowhere_however_the_source_is_named(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/sub/a.pdf", "secret/b.pdf", "secret/deep/c.pdf")
        (tmp_path / "in" / "out").symlink_to(tmp_path / "secret")
        (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path)
        (tmp_path / "in" / "within").symlink_to(tmp_path / "in" / "sub")
        for pattern in ("*/*.pdf", "*/*/*.pdf", "**/*.pdf", "*/*/*/*.pdf"):
            try:
                source = find_files(str(tmp_path / "in" / pattern))
            except ConfigurationError:
                continue
            inside = str(tmp_path.resolve() / "in")
            assert all(str(Path(file.location).resolve()).startswith(inside) for file in source.files)
            assert {row.kind for row in source.refused} <= {"outside"}
        source = find_files(str(tmp_path / "in" / "*" / "*.pdf"))
        assert paths(source.files) == ["sub/a.pdf", "within/a.pdf"]
        assert [(row.path, row.kind) for row in source.refused] == [("out/b.pdf", "outside")]

    def test_hidden_files_are_left_out_however_the_source_is_named(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", ".b.pdf", "sub/._c.pdf", ".git/d.pdf", "sub/e.pdf")
        for pattern in ("*.pdf", "**/*.pdf", "*/*.pdf"):
            source = find_files(str(tmp_path / pattern))
            assert not [path for path in paths(source.files) if "/." in f"/{path}"]
        listed = find_files([tmp_path / "a.pdf", tmp_path / ".b.pdf", tmp_path / "sub" / "._c.pdf"])
        assert paths(listed.files) == [str(tmp_path / "a.pdf")]
        assert {row.kind for row in listed.refused} == {"hidden"}
        assert {row.kind for row in find_files(tmp_path / ".b.pdf").refused} == {"hidden"}

    @pytest.mark.parametrize(
        ("patterns", "left"),
        [
            ([], ["a-old.pdf", "a.pdf", "drafts/b.pdf", "sub/drafts/c.pdf", "sub/d.pdf"]),
            (["drafts/"], ["a-old.pdf", "a.pdf", "sub/d.pdf"]),
            (["/drafts/"], ["a-old.pdf", "a.pdf", "sub/drafts/c.pdf", "sub/d.pdf"]),
            (["*-old.pdf"], ["a.pdf", "drafts/b.pdf", "sub/drafts/c.pdf", "sub/d.pdf"]),
            (["*.pdf", "!d.pdf"], ["sub/d.pdf"]),
            (["sub/**/c.pdf"], ["a-old.pdf", "a.pdf", "drafts/b.pdf", "sub/d.pdf"]),
            (["sub", "!sub/d.pdf"], ["a-old.pdf", "a.pdf", "drafts/b.pdf"]),
            (["# a comment", ""], ["a-old.pdf", "a.pdf", "drafts/b.pdf", "sub/drafts/c.pdf", "sub/d.pdf"]),
        ],
    )
    def test_what_a_pattern_excludes_is_left_out(
        self, tmp_path: Path, patterns: list[str], left: list[str]
    ) -> None:
        fill(tmp_path, "a.pdf", "a-old.pdf", "drafts/b.pdf", "sub/drafts/c.pdf", "sub/d.pdf")
        assert paths(find_files(tmp_path, patterns).files) == sorted(left)

    def test_patterns_exclude_from_globs_and_lists_too(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "drafts/b.pdf")
        assert paths(find_files(str(tmp_path / "**" / "*.pdf"), ["drafts/"]).files) == ["a.pdf"]
        files = [tmp_path / "a.pdf", tmp_path / "drafts" / "b.pdf"]
        assert paths(find_files(files, ["drafts/"]).files) == [str(tmp_path / "a.pdf")]

    def test_a_pattern_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="exclude"):
            find_files(tmp_path, ["!"])

    def test_what_is_put_in_a_files_place_after_the_scan_is_not_read(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/a.pdf", "in/sub/b.pdf", "in/c.pdf", "in/d.pdf", "secret/b.pdf", "secret/a.pdf")
        files = {file.path: file for file in find_files(tmp_path / "in").files}
        (tmp_path / "in" / "a.pdf").unlink()
        (tmp_path / "in" / "a.pdf").symlink_to(tmp_path / "secret" / "a.pdf")
        shutil.rmtree(tmp_path / "in" / "sub")
        (tmp_path / "in" / "sub").symlink_to(tmp_path / "secret")
        (tmp_path / "in" / "c.pdf").unlink()
        os.mkfifo(tmp_path / "in" / "c.pdf")
        for path, error in (("a.pdf", LinkOnTheWay), ("sub/b.pdf", LinkOnTheWay), ("c.pdf", NotRegular)):
            with pytest.raises(error), files[path].opened():
                pass
        with files["d.pdf"].opened() as descriptor:
            assert os.read(descriptor, 100) == b"content of in/d.pdf"
        listed = find_files([tmp_path / "secret" / "b.pdf"]).files[0]
        (tmp_path / "secret" / "b.pdf").unlink()
        (tmp_path / "secret" / "b.pdf").symlink_to(tmp_path / "in" / "d.pdf")
        with pytest.raises(LinkOnTheWay), listed.opened():
            pass

    def test_a_fifo_in_a_files_place_does_not_hold_the_plan_up(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf")
        manifest = stored(find_files(tmp_path))
        (tmp_path / "a.pdf").unlink()
        os.mkfifo(tmp_path / "a.pdf")
        assert paths(make_plan(find_files(tmp_path), manifest, rehash=True).changed) == ["a.pdf"]

    def test_a_folder_in_a_list_is_refused_and_the_files_are_not(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "sub/b.pdf")
        source = find_files([tmp_path / "a.pdf", tmp_path / "sub", tmp_path / "gone.pdf"])
        assert paths(source.files) == [str(tmp_path / "a.pdf")]
        assert {row.kind for row in source.refused} == {"not-a-file", "unreadable"}

    def test_entries_that_only_look_like_documents_are_left_to_the_parser(self, tmp_path: Path) -> None:
        (tmp_path / "folder.pdf").mkdir()
        fill(tmp_path, "folder.pdf/inner.pdf")
        os.mkfifo(tmp_path / "pipe.pdf")
        assert paths(find_files(tmp_path).files) == ["folder.pdf", "pipe.pdf"]

    def test_names_that_are_no_utf8_are_written_readably(self, tmp_path: Path) -> None:
        odd = os.fsdecode(b"sm\xf8rrebr\xf8d.pdf")
        fill(tmp_path, odd, "new\nline.pdf", "it's; DROP.pdf", "[red].pdf")
        source = find_files(tmp_path)
        assert paths(source.files) == [
            "[red].pdf",
            "it's; DROP.pdf",
            "new\nline.pdf",
            r"sm\xf8rrebr\xf8d.pdf",
        ]
        assert all(Path(file.location).is_file() for file in source.files)

    def test_names_that_are_written_alike_stay_apart(self, tmp_path: Path) -> None:
        fill(tmp_path, os.fsdecode(b"a-\xe9\xff.pdf"), r"a-\xe9\xff.pdf", r"plain \ backslash.pdf")
        source = find_files(tmp_path)
        assert set(paths(source.files)) == {
            r"a-\xe9\xff.pdf",
            r"a-\\xe9\\xff.pdf",
            r"plain \ backslash.pdf",  # as earlier versions wrote it
        }

    @given(st.lists(st.binary(min_size=1, max_size=12), unique=True, max_size=6))
    def test_no_two_names_become_one(self, names: list[bytes]) -> None:
        assert len({readable(os.fsdecode(name)) for name in names}) == len(names)

    @given(st.lists(st.text(alphabet="\\x0123ef\udce9", max_size=8), unique=True, max_size=8))
    def test_no_two_names_like_escapes_become_one(self, names: list[str]) -> None:
        assert len({readable(name) for name in names}) == len(names)

    @pytest.mark.parametrize("what", ["gone", "gone/*.pdf", "*.djvu", "a?.pdf"])
    def test_what_means_nothing_is_refused(self, tmp_path: Path, what: str) -> None:
        fill(tmp_path, "a.pdf", "b.djvu")
        with pytest.raises(ConfigurationError, match=r"not there|No PDF matches") as caught:
            find_files(str(tmp_path / what))
        assert caught.value.remedy

    def test_an_empty_list_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="empty"):
            find_files([])


class TestPlan:
    def plan(self, folder: Path, manifest: list[Document], **options: bool) -> Plan:
        return make_plan(find_files(folder), manifest, **options)

    def test_content_that_changed_under_the_same_size_and_time_is_found_if_asked(
        self, tmp_path: Path
    ) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        manifest = stored(find_files(tmp_path))
        status = (tmp_path / "a.pdf").stat()
        (tmp_path / "a.pdf").write_bytes(b"CONTENT of a.pdf")
        os.utime(tmp_path / "a.pdf", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert not self.plan(tmp_path, manifest).changed
        plan = self.plan(tmp_path, manifest, rehash=True)
        assert (paths(plan.changed), paths(plan.unchanged)) == (["a.pdf"], ["b.pdf"])

    def test_what_an_earlier_version_read_is_read_again_only_if_asked(self, tmp_path: Path) -> None:
        names = (
            "parser.pdf",
            "chunker.pdf",
            "unknown.pdf",
            "present.pdf",
            "failed.pdf",
            "to.pdf",
            "newer.pdf",
        )
        fill(tmp_path, *names)
        versions = {"parser.pdf": (1, 3), "chunker.pdf": (2, 2), "unknown.pdf": (0, 0), "newer.pdf": (3, 4)}
        rows = []
        for row in stored(find_files(tmp_path)):
            parser, chunker = versions.get(row.path, (2, 3))
            rows.append(replace(row, parser_version=parser, chunker_version=chunker))
        rows = [
            replace(row, status=FAILED, parser_version=1) if row.path == "failed.pdf" else row for row in rows
        ]
        rows = [
            replace(row, doc_id="old", path="from.pdf", parser_version=1) if row.path == "to.pdf" else row
            for row in rows
        ]

        def is_outdated(row: Document) -> bool:
            return row.parser_version < 2 or row.chunker_version < 3

        plan = make_plan(find_files(tmp_path), rows, is_outdated=is_outdated)
        assert not plan.to_read
        assert plan.outdated == 5
        assert any(note.startswith("5 of the documents") and "--reread" in note for note in plan.notes)

        plan = make_plan(find_files(tmp_path), rows, is_outdated=is_outdated, reread=True)
        assert set(paths(plan.reread)) == {"parser.pdf", "chunker.pdf", "unknown.pdf", "to.pdf"}
        assert paths(plan.again) == ["failed.pdf"]
        assert set(paths(plan.unchanged)) == {"present.pdf", "newer.pdf"}
        assert [row.path for _, row in plan.renamed] == ["to.pdf"]
        assert set(paths(plan.to_read)) == {*paths(plan.reread), "failed.pdf"}
        assert (plan.outdated, plan.notes, plan.counts()["reread"]) == (0, (), 4)

    def test_what_is_excluded_leaves_the_table(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "drafts/b.pdf")
        plan = make_plan(find_files(tmp_path, ["drafts/"]), stored(find_files(tmp_path)))
        assert (paths(plan.removed), paths(plan.unchanged)) == (["drafts/b.pdf"], ["a.pdf"])

    def test_first_all_is_new_then_nothing(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        assert paths(self.plan(tmp_path, []).new) == ["a.pdf", "b.pdf"]
        plan = self.plan(tmp_path, stored(find_files(tmp_path)))
        assert paths(plan.unchanged) == ["a.pdf", "b.pdf"]
        assert not plan.to_read
        assert not plan.bookkeeping

    def test_time_and_size_alone_are_believed_and_else_the_content(self, tmp_path: Path) -> None:
        fill(tmp_path, "same.pdf", "touched.pdf", "edited.pdf", "longer.pdf")
        manifest = stored(find_files(tmp_path))
        for name, text in (
            ("touched.pdf", "content of touched.pdf"),
            ("edited.pdf", "CONTENT of edited.pdf"),
        ):
            rewrite(tmp_path / name, text)
        rewrite(tmp_path / "longer.pdf", "more than there was before")
        plan = self.plan(tmp_path, manifest)
        assert paths(plan.unchanged) == ["same.pdf", "touched.pdf"]
        assert paths(plan.touched) == ["touched.pdf"]
        assert plan.touched[0].mtime_ns == (tmp_path / "touched.pdf").stat().st_mtime_ns
        assert paths(plan.changed) == paths(plan.to_read) == ["edited.pdf", "longer.pdf"]

    def test_an_unchanged_folder_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        manifest = stored(find_files(tmp_path))

        def no_reading(path: object) -> str:
            raise AssertionError(f"{path} was read")

        monkeypatch.setattr("prefect_ollama.tasks.planning.plan.hash_descriptor", no_reading)
        assert len(self.plan(tmp_path, manifest).unchanged) == 2

    def test_what_failed_is_tried_again_when_it_changed_or_is_asked_for(self, tmp_path: Path) -> None:
        fill(tmp_path, "failed.pdf", "partial.pdf")
        source = find_files(tmp_path)
        manifest = [
            replace(row, status=status) for row, status in zip(stored(source), (FAILED, PARTIAL), strict=True)
        ]
        assert paths(self.plan(tmp_path, manifest).failed_before) == ["failed.pdf", "partial.pdf"]
        assert paths(self.plan(tmp_path, manifest, retry_failed=True).again) == ["failed.pdf", "partial.pdf"]
        for name in ("failed.pdf", "partial.pdf"):
            rewrite(tmp_path / name, f"content of {name}")
        plan = self.plan(tmp_path, manifest)
        assert paths(plan.changed) == ["failed.pdf"]
        # Its content is the same, and so is what is missing of it.
        assert paths(plan.failed_before) == paths(plan.touched) == ["partial.pdf"]
        assert not plan.unchanged

    def test_what_is_in_doubt_is_read_again(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf")
        assert paths(self.plan(tmp_path, stored(find_files(tmp_path), status=STALE)).changed) == ["a.pdf"]

    def test_a_file_whose_name_is_no_utf_8_is_not_gone(self, tmp_path: Path) -> None:
        for folder, name in (("old", os.fsdecode(b"a-\xff.pdf")), ("new", "copy.pdf")):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / name).write_text("one content")
        others = stored(find_files(tmp_path / "old"))
        plan = make_plan(find_files(tmp_path / "new"), [], others=others)
        assert (paths(plan.new), plan.moved) == (["copy.pdf"], ())
        (note,) = notes_on(others, others)
        assert note.startswith(f"1 file is still in {str(tmp_path / 'old')!r}.")

    def test_a_renamed_file_moves_and_a_copy_is_new(self, tmp_path: Path) -> None:
        fill(tmp_path, "old.pdf", "kept.pdf")
        manifest = stored(find_files(tmp_path))
        (tmp_path / "old.pdf").rename(tmp_path / "new.pdf")
        (tmp_path / "copy.pdf").write_bytes((tmp_path / "kept.pdf").read_bytes())
        plan = self.plan(tmp_path, manifest)
        assert [(old, row.path) for old, row in plan.renamed] == [
            (document_id(str(tmp_path), "old.pdf"), "new.pdf")
        ]
        assert plan.renamed[0][1].doc_id == document_id(str(tmp_path), "new.pdf")
        assert paths(plan.new) == ["copy.pdf"]
        assert not plan.removed

    def test_two_of_one_content_that_swap_names_are_both_kept(self, tmp_path: Path) -> None:
        for name in ("a.pdf", "b.pdf"):
            (tmp_path / name).write_text("the same")
        manifest = stored(find_files(tmp_path))
        (tmp_path / "a.pdf").rename(tmp_path / "c.pdf")
        (tmp_path / "b.pdf").rename(tmp_path / "d.pdf")
        plan = self.plan(tmp_path, manifest)
        assert sorted(row.path for _, row in plan.renamed) == ["c.pdf", "d.pdf"]
        assert len({old for old, _ in plan.renamed}) == 2
        assert not plan.new
        assert not plan.removed

    def test_vanished_files_go_unless_they_are_to_stay(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        manifest = stored(find_files(tmp_path))
        (tmp_path / "b.pdf").unlink()
        assert paths(self.plan(tmp_path, manifest).removed) == ["b.pdf"]
        plan = self.plan(tmp_path, manifest, remove_missing=False)
        assert (paths(plan.removed), paths(plan.kept)) == ([], ["b.pdf"])

    def test_to_remove_all_is_refused_unless_allowed(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        manifest = stored(find_files(tmp_path))
        manifest[1] = replace(manifest[1], status=FAILED)
        for name in ("a.pdf", "b.pdf"):
            (tmp_path / name).unlink()
        with pytest.raises(ConfigurationError, match="not mounted") as caught:
            self.plan(tmp_path, manifest)
        assert caught.value.state == "Nothing was removed."
        assert len(self.plan(tmp_path, manifest, allow_empty=True).removed) == 2
        assert len(self.plan(tmp_path, manifest, remove_missing=False).kept) == 2
        # Nothing of what is left had anything in the table.
        assert paths(self.plan(tmp_path, manifest[1:]).removed) == ["b.pdf"]

    def test_files_under_a_folder_that_can_not_be_read_have_not_vanished(self, tmp_path: Path) -> None:
        fill(tmp_path, "a.pdf", "sub/b.pdf", "subway.pdf")
        manifest = stored(find_files(tmp_path))
        (tmp_path / "sub" / "b.pdf").unlink()
        (tmp_path / "subway.pdf").unlink()
        locked = Document(document_id(str(tmp_path), "sub"), str(tmp_path), "sub", FAILED, reason="no right")
        source = replace(find_files(tmp_path), refused=(locked,))
        plan = make_plan(source, manifest)
        assert paths(plan.removed) == ["subway.pdf"]

    def test_files_that_a_failing_share_does_not_show_have_not_vanished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(tmp_path, "a.pdf", "share/b.pdf", "share/deep/c.pdf")
        manifest = stored(find_files(tmp_path))

        class Stale:
            """A folder of a share whose server is gone: the file system names it and cannot say what it is."""

            name, path = "share", str(tmp_path / "share")

            def is_dir(self, **_: bool) -> bool:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self.path)

        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda folder: listing(scandir(folder)))

        @contextmanager
        def listing(entries: Iterable[os.DirEntry[str]]) -> Iterator[list[Any]]:
            yield [Stale() if entry.name == "share" else entry for entry in entries]

        source = find_files(tmp_path)
        plan = make_plan(source, manifest)
        assert (paths(plan.unchanged), paths(plan.refused), plan.removed) == (["a.pdf"], ["share"], ())
        assert "Stale file handle" in plan.refused[0].reason
        assert not find_files(tmp_path, ["share"]).refused

    @needs_root
    def test_files_below_a_folder_without_rights_have_not_vanished_for_a_pattern(self) -> None:
        with open_folder() as folder:
            fill(folder, "a.pdf", "sub/b.pdf")
            (folder / "sub").chmod(0o700)
            row = Document("1", str(folder), "sub/b.pdf", STORED, chunks=1)
            os.seteuid(UID)
            try:
                plan = make_plan(find_files(str(folder / "*.pdf")), [row])
                with pytest.raises(ConfigurationError, match=r"cannot be read \(Permission denied\)"):
                    find_files(folder / "sub" / "deep")
            finally:
                os.seteuid(0)
        assert not plan.removed

    def test_a_name_that_no_file_can_have_is_refused(self, tmp_path: Path) -> None:
        for name in (tmp_path / ("a" * 300), str(tmp_path / "**" / ("a" * 300))):
            with pytest.raises(
                ConfigurationError, match=r"cannot be read \(File name too long\)|No PDF matches"
            ):
                find_files(name)

    def test_what_goes_with_the_whole_content_of_a_folder_is_noted(self, tmp_path: Path) -> None:
        fill(
            tmp_path,
            "a.pdf",
            "b.pdf",
            "share/c.pdf",
            "share/deep/d.pdf",
            "whole/e.pdf",
            "part/f.pdf",
            "part/g.pdf",
        )
        manifest = stored(find_files(tmp_path))
        for name in ("share", "whole"):
            shutil.rmtree(tmp_path / name)
        (tmp_path / "share").mkdir()  # a mount point without its mount
        for name in ("b.pdf", "part/f.pdf"):
            (tmp_path / name).unlink()
        plan = self.plan(tmp_path, manifest)
        assert len(plan.removed) == 5
        (note,) = plan.notes
        assert note.startswith(f"2 documents are removed with the content of {str(tmp_path / 'share')!r}")
        assert not self.plan(tmp_path, manifest, remove_missing=False).notes

    def test_a_pattern_removes_what_is_gone_and_leaves_what_it_does_not_fit(self, tmp_path: Path) -> None:
        fill(tmp_path, "a1.pdf", "a2.pdf", "b.pdf")
        manifest = stored(find_files(tmp_path))
        (tmp_path / "a2.pdf").unlink()
        plan = make_plan(find_files(str(tmp_path / "a*.pdf")), manifest)
        assert paths(plan.unchanged) == ["a1.pdf"]
        assert paths(plan.removed) == ["a2.pdf"]

    def test_a_list_says_nothing_of_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path, "a.pdf", "b.pdf")
        (tmp_path / "files").mkdir()
        monkeypatch.chdir(tmp_path)  # where a folder has the name that lists have
        manifest = stored(find_files(["a.pdf", "b.pdf"]))
        (tmp_path / "b.pdf").unlink()
        plan = make_plan(find_files(["a.pdf"]), manifest)
        assert len(plan.unchanged) == 1
        assert not plan.removed

    def test_a_refusal_is_recorded_once(self, tmp_path: Path) -> None:
        fill(tmp_path, "in/a.pdf", "outside.pdf")
        (tmp_path / "in" / "away.pdf").symlink_to(tmp_path / "outside.pdf")
        source = find_files(tmp_path / "in")
        plan = make_plan(source, stored(source))
        assert plan.newly_refused == plan.refused == source.refused
        assert plan.bookkeeping
        plan = make_plan(source, [*stored(source), *source.refused])
        assert plan.refused == source.refused
        assert not plan.bookkeeping

    @given(
        st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("xyz"), min_size=1),
        st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("xyz"), min_size=1),
    )
    def test_every_file_and_every_document_has_one_fate(
        self, tmp_path_factory: pytest.TempPathFactory, before: dict[str, str], after: dict[str, str]
    ) -> None:
        folder = tmp_path_factory.mktemp("papers")
        for name, text in before.items():
            (folder / f"{name}.pdf").write_text(text)
            os.utime(folder / f"{name}.pdf", (1, 1))
        manifest = stored(find_files(folder))
        for path in folder.iterdir():
            path.unlink()
        for name, text in after.items():
            (folder / f"{name}.pdf").write_text(text)
            same = before.get(name) == text
            os.utime(folder / f"{name}.pdf", (1, 1) if same else (2, 2))
        plan = self.plan(folder, manifest, allow_empty=True)
        here = [*paths(plan.new), *paths(plan.changed), *paths(plan.unchanged)]
        here += [row.path for _, row in plan.renamed]
        assert sorted(here) == sorted(f"{name}.pdf" for name in after)
        gone = [*paths(plan.removed), *(row.path for row in manifest if row.doc_id in dict(plan.renamed))]
        assert sorted(gone) == sorted(f"{name}.pdf" for name in before.keys() - after.keys())
        for old, row in plan.renamed:
            was = next(each.path for each in manifest if each.doc_id == old)
            assert before[was[0]] == after[row.path[0]]


class TestBundles:
    def files(self, *sizes: int) -> list[SourceFile]:
        return [SourceFile(f"/in/{n}.pdf", f"{n}.pdf", size, 0) for n, size in enumerate(sizes)]

    @given(st.lists(st.integers(0, 10**7), max_size=50), st.integers(1, 2000), st.floats(0, 0.01))
    def test_every_file_is_in_one_bundle_in_order(
        self, sizes: list[int], chunks: int, density: float
    ) -> None:
        files = self.files(*sizes)
        bundles = Bundles("in", files, frozenset({"1.pdf"}), chunks)
        seen: list[SourceFile] = []
        while bundle := bundles.next():
            assert bundle.files
            assert bundle.again == {file.path for file in bundle.files} & {"1.pdf"}
            seen += bundle.files
            size = sum(file.size for file in bundle.files)
            bundles.learn(size, int(size * density))
            assert len(bundles) == len(files) - len(seen)
        assert seen == files

    def test_bundles_grow_when_files_give_less_than_was_thought(self) -> None:
        bundles = Bundles("in", self.files(*[100_000] * 100), frozenset(), 100)
        first = bundles.next()
        assert first is not None
        bundles.learn(10_000_000, 10)
        second = bundles.next()
        assert second is not None
        assert len(second.files) > 5 * len(first.files)
