"""What a call of a flow sees to: lists of any length, results that can be awaited, names that the user gave."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow as plain_flow
from prefect import tags
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.utilities.names import generate_slug

from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.sync_async import AwaitableList, awaited, blocking
from prefect_ollama.flows import check_nodes, ingest_pdfs
from prefect_ollama.flows.base._flow import MAX_LIST_BYTES, Flow, _is_generated, flow, unless_named
from prefect_ollama.tasks.planning.list_file import expand_list_file, kept_list, source_display_name


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        yield tmp_path / "home"


@flow(name="names", flow_run_name=unless_named(lambda given: "from the parameters"))
def names() -> str:
    return str(flow_run.name)


@flow(name="sources")
def sources(source: str | list[str]) -> tuple[str, int]:
    assert isinstance(source, str)
    return source, len(expand_list_file(source))


@flow(name="counts")
def counts(texts: list[str], source: str | list[str] = "") -> list[int]:
    return [len(texts)]


class TestLists:
    @pytest.mark.usefixtures("prefect_server")
    @pytest.mark.parametrize("count", [5_000, 100_000])
    def test_of_any_number_of_paths_fit_into_a_flow_run(self, count: int, home: Path) -> None:
        paths = [f"/a/folder/of/some/length/{number:07}-{'y' * 100}.pdf" for number in range(count)]
        source, found = sources(paths)
        assert found == count
        assert source_display_name(source) == f"{count:,} files"
        assert list((home / "ollama-lists").iterdir()) == [], "it goes with the run"

    def test_are_read_as_they_were_given(self, tmp_path: Path) -> None:
        paths = ["/plain.pdf", "/with\nline.pdf", "/ä b.pdf", os.fsdecode(b"/\xff.pdf"), "relative.pdf"]
        with kept_list(tmp_path / "lists", paths) as source:
            assert expand_list_file(source) == paths
            file = Path(source[1:])
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert not file.exists()

    def test_of_killed_runs_go_after_a_week(self, tmp_path: Path) -> None:
        folder = tmp_path / "lists"
        with kept_list(folder, ["/a.pdf"]) as old, kept_list(folder, ["/b.pdf"]) as new:
            os.utime(old[1:], (1, 1))
            mine = folder / "notes.txt"
            mine.touch()
            os.utime(mine, (1, 1))
            with kept_list(folder, ["/c.pdf"]):
                assert not Path(old[1:]).exists()
                assert Path(new[1:]).exists()
                assert mine.exists()

    @pytest.mark.parametrize(
        "data", [b"/a.pdf\n\n  \n/b c.pdf\r\n", b"/a.pdf\0/b c.pdf\0", b"\xef\xbb\xbf/a.pdf\n/b c.pdf"]
    )
    def test_of_the_user_have_a_path_a_line_or_a_nul_after_each(self, tmp_path: Path, data: bytes) -> None:
        file = tmp_path / "list.txt"
        file.write_bytes(data)
        assert expand_list_file(f"@{file}") == ["/a.pdf", "/b c.pdf"]
        assert source_display_name(f"@{file}") == f"@{file}"

    def test_that_cannot_be_read_or_are_empty_are_named(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty.txt"
        empty.write_text("\n")
        with pytest.raises(ConfigurationError, match=r"empty\.txt' names none"):
            expand_list_file(f"@{empty}")
        with pytest.raises(ConfigurationError, match="cannot be read"):
            expand_list_file(f"@{tmp_path / 'nothing.txt'}")

    def test_a_folder_whose_name_begins_so_is_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "@home").mkdir()
        monkeypatch.chdir(tmp_path)
        assert expand_list_file("@home") == "@home"

    @pytest.mark.usefixtures("prefect_server")
    def test_an_ingest_takes_one(self, tmp_path: Path) -> None:
        paths = [tmp_path / f"{number:05}-{'y' * 100}.pdf" for number in range(1000)]
        paths[0].write_bytes(b"%PDF-1.7 nothing")
        assert sum(len(str(path)) for path in paths) > MAX_LIST_BYTES
        report = ingest_pdfs(paths, ["http://127.0.0.1:9"], tmp_path / "db", dry_run=True)
        assert report.outcomes() == {"new": 1, "failed": 999}
        listed = tmp_path / "list.txt"
        listed.write_text(str(paths[0]))
        assert ingest_pdfs(f"@{listed}", table=tmp_path / "db", dry_run=True).outcomes() == {"new": 1}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("nodes", "cause"),
    [
        ("no-such-cluster", "no-such-cluster"),
        (["no-such-node"], "no-such-node"),
        (["http://gpu-box:port"], "port"),
    ],
)
@pytest.mark.sampled(1)
def test_a_dry_run_refuses_the_nodes_that_a_run_refuses(
    tmp_path: Path, nodes: str | list[str], cause: str
) -> None:
    # An empty folder, too: the nodes are looked up before the source.
    causes = set()
    for dry_run in (True, False):
        with pytest.raises(ConfigurationError, match=cause) as caught:
            ingest_pdfs(tmp_path, nodes, tmp_path / "db", dry_run=dry_run)
        causes.add(caught.value.cause)
    assert len(causes) == 1
    assert not (tmp_path / "db").exists()


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("place", ["/proc/x", "file/db"])
@pytest.mark.sampled(1)
def test_a_place_that_cannot_be_made_is_refused_before_anything_starts(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    for dry_run in (True, False):
        with pytest.raises(TableError, match="cannot be made") as caught:
            ingest_pdfs(tmp_path, ["http://127.0.0.1:9"], tmp_path / place, dry_run=dry_run)
        assert "choose another folder" in caught.value.remedy


@pytest.mark.usefixtures("prefect_server")
def test_other_parameters_that_are_too_large_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'texts' has [\d,]+ bytes") as caught:
        counts(["x" * 100] * 6000)
    assert "Nothing was started" in caught.value.state
    assert "PREFECT_SERVER_API_MAX_PARAMETER_SIZE" in caught.value.remedy
    assert counts(["x"] * 6000) == [6000]


@pytest.mark.usefixtures("prefect_server")
class TestNames:
    def test_that_the_user_gave_are_kept(self) -> None:
        with get_client(sync_client=True) as client:
            given = client.create_flow_run(names, name="of my own")
            made = client.create_flow_run(names)
            assert run_flow(names, flow_run=given) == "of my own"
            assert run_flow(names, flow_run=made) == "from the parameters"
            assert client.read_flow_run(given.id).name == "of my own"

    def test_are_made_of_the_parameters_otherwise(self) -> None:
        assert names() == "from the parameters"
        with tags("nightly"):
            assert names.with_options(flow_run_name="by option")() == "by option"


def test_names_that_prefect_makes_are_known() -> None:
    assert all(_is_generated(generate_slug(2)) for _ in range(500))
    for given in ("nightly", "my-run", "blue otter", "ingest /papers", "2026-11-29", "a-b-c"):
        assert not _is_generated(given)


class TestAwaited:
    def test_lists_and_reports_give_themselves(self) -> None:
        rows = awaited([1, 2])

        async def main() -> Any:
            return await rows

        assert isinstance(rows, AwaitableList)
        assert rows == [1, 2]
        assert asyncio.run(main()) is rows

    @pytest.mark.usefixtures("prefect_server")
    @pytest.mark.slow
    def test_flows_can_be_awaited_in_async_flows_and_code(self, tmp_path: Path) -> None:
        folder = tmp_path / "papers"
        folder.mkdir()
        (folder / "a.pdf").write_bytes(b"%PDF-1.7 nothing")

        @plain_flow
        async def nightly() -> tuple[Any, Any]:
            report = await ingest_pdfs(folder, table=tmp_path / "db", dry_run=True)  # type: ignore[misc]
            rows = await check_nodes("http://127.0.0.1:9")  # type: ignore[misc]
            return report, rows

        report, rows = asyncio.run(nightly())
        assert report.outcomes() == {"new": 1}
        assert [row.ok for row in rows] == [False]
        assert isinstance(check_nodes("http://127.0.0.1:9"), list), "it is a list outside of a loop, too"


def test_an_error_of_async_code_stands_alone_in_its_traceback() -> None:
    async def fail() -> None:
        raise ValueError("the cause")

    with pytest.raises(ValueError, match="the cause") as caught:
        blocking(fail())
    assert caught.value.__context__ is None


def test_options_keep_the_kind_of_flow() -> None:
    assert isinstance(ingest_pdfs.with_options(retries=1), Flow)
