"""Settings beside Prefect's own: their names, the earlier ones, their places, and values that cannot be used."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.resolve import default_cache
from prefect_ollama.blocks.setting_files import MODEL_DIR_VARIABLES
from prefect_ollama.blocks.settings import PREFIX, OllamaSettings, current_settings
from prefect_ollama.reading_options import PASSWORD_VARIABLE
from prefect_ollama.tasks.monitoring.metrics_endpoint import VARIABLE as METRICS_VARIABLE
from tests.test_public_api import ROOT, modules

EARLIER = "PREFECT_OLLAMA_"
NAMES = {f"{PREFIX}{name.upper()}" for name in OllamaSettings.model_fields}
EARLIER_NAMES = {f"{EARLIER}{name}" for name in ("METRICS", "MODEL_DIR", "PASSWORD")}
VALUES = {"METRICS": "9464", "MODEL_DIR": "/models", "PASSWORD": "s3cret"}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES | EARLIER_NAMES:
        monkeypatch.delenv(name, raising=False)


def test_all_names_are_in_the_page_of_settings_and_no_other_is_read() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert set(re.findall(rf"^\| `({PREFIX}\w+)`", page, re.MULTILINE)) == NAMES
    assert set(re.findall(rf"`({EARLIER}\w+)`", page)) == EARLIER_NAMES
    read = {METRICS_VARIABLE, PASSWORD_VARIABLE, *MODEL_DIR_VARIABLES}
    for _, path in modules():
        read |= set(re.findall(rf"\b(?:{PREFIX}|{EARLIER})[A-Z][A-Z_]+", path.read_text(encoding="utf-8")))
    assert read <= NAMES | EARLIER_NAMES
    fields = OllamaSettings.model_fields
    assert {
        f"{EARLIER}{name.upper()}" for name, each in fields.items() if each.validation_alias
    } == EARLIER_NAMES
    assert all(each.description for each in fields.values())


@pytest.mark.parametrize("prefix", [PREFIX, EARLIER])
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_both_names_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str, place: str
) -> None:
    for name, value in VALUES.items():
        if place == "environment":
            monkeypatch.setenv(prefix + name, value)
    if place == ".env":
        (tmp_path / ".env").write_text("".join(f"{prefix}{name}={value}\n" for name, value in VALUES.items()))
    found = current_settings()
    assert (found.metrics, found.model_dir) == ("9464", Path("/models"))
    assert found.password is not None
    assert found.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(found)


def test_the_present_name_wins_over_the_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{EARLIER}METRICS", "1")
    monkeypatch.setenv(f"{PREFIX}METRICS", "2")
    assert current_settings().metrics == "2"


@pytest.mark.parametrize("prefix", [PREFIX, EARLIER])
@pytest.mark.parametrize(
    ("file", "table"),
    [("prefect.toml", "integrations.ollama"), ("pyproject.toml", "tool.prefect.integrations.ollama")],
)
def test_files_are_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, table: str, prefix: str
) -> None:
    text = (
        f"[{table}]\nmetrics = 9464\nmodel_dir = '/models'\ncache_limit_bytes = 2097152\ncache_folder = ''\n"
    )
    (tmp_path / file).write_text(text)
    monkeypatch.setenv(f"{prefix}METRICS", "")  # hides nothing
    monkeypatch.setenv(f"{prefix}MODEL_DIR", "/other")
    found = current_settings()
    assert (found.metrics, found.model_dir) == ("9464", Path("/other"))
    assert (found.cache_limit_bytes, found.cache_folder) == (2 * 1024**2, "")


def test_the_cache_is_where_and_as_large_as_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"{PREFIX}CACHE_FOLDER", "vectors")
    monkeypatch.setenv(f"{PREFIX}CACHE_LIMIT_BYTES", str(2 * 1024**2))
    spec = default_cache()
    # Absolute, because a worker may have another working directory.
    assert (spec.folder, spec.limit_bytes) == (str(tmp_path / "vectors"), 2 * 1024**2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACHE_LIMIT_BYTES", "much"),
        ("CACHE_LIMIT_BYTES", "1024"),
        ("CACHE_LIMIT_BYTES", "-1"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(ConfigurationError, match=rf"{PREFIX}{name}: .*Nothing was started"):
        default_cache()


def test_a_cache_in_an_object_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}CACHE_FOLDER", "s3://bucket/vectors")
    with pytest.raises(ConfigurationError, match="s3://bucket/vectors"):
        default_cache()


FIND = """
import json, sys
from prefect_ollama.blocks.setting_files import embedded_model_dir, extra_password
print(json.dumps([str(embedded_model_dir()), extra_password(), "prefect" in sys.modules]))
"""


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("files", "environment", "found"),
    [
        ({}, {}, ("None", None, False)),
        ({}, {MODEL_DIR_VARIABLES[1]: "/earlier", "PREFECT_OLLAMA_PASSWORD": "x"}, ("/earlier", "x", False)),
        (
            {},
            {MODEL_DIR_VARIABLES[1]: "/earlier", MODEL_DIR_VARIABLES[0]: "/present"},
            ("/present", None, False),
        ),
        (
            {"prefect.toml": "[integrations.ollama]\nmodel_dir = '/toml'\npassword = 'y'"},
            {},
            ("/toml", "y", True),
        ),
        ({".env": "PREFECT_OLLAMA_MODEL_DIR=/dotenv"}, {}, ("/dotenv", None, True)),
    ],
)
def test_a_process_without_prefect_finds_the_embedded_model_and_the_password(
    files: Mapping[str, str],
    environment: Mapping[str, str],
    found: tuple[str, str | None, bool],
    tmp_path: Path,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert tuple(json.loads(done.stdout.splitlines()[-1])) == found
