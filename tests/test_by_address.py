"""Nodes and tables by their addresses: without Prefect they are resolved to the same values as by blocks."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import _import_lancedb
from prefect_ollama.blocks.nodes import DEFAULT_URL
from prefect_ollama.blocks.resolve import cluster_by_address, resolve_cluster, resolve_table

MODELS = ("nomic-embed-text", "all-minilm", "mxbai-embed-large:335m", "hf.co/somebody/e5-large")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("cluster", "environment"),
    [
        (None, ""),
        (None, "gpu-box:1234"),
        (None, "https://ai.example.org/ollama/"),
        ("http://gpu-box:11434", ""),
        (["gpu-box:11434", "http://laptop:1/prefix"], "elsewhere:1"),
        (("0.0.0.0:1",), ""),
    ],
)
def test_addresses_give_the_nodes_that_blocks_give(
    model: str, cluster: Any, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", environment)
    found = cluster_by_address(cluster, model)
    named = [cluster] if isinstance(cluster, str) else list(cluster or [environment or DEFAULT_URL])
    assert found is not None
    assert found.spec == OllamaCluster(nodes=named, model=model).to_spec()
    assert found.configured == bool(cluster or environment)
    assert found == resolve_cluster(cluster, model=model)


@pytest.mark.parametrize(
    "cluster",
    [
        "home",
        ["home", "http://gpu-box"],
        [],
        ["http://gpu-box", "http://gpu-box/"],
        "http://gpu-box?x=1",
        "ftp://gpu-box",
        object(),
    ],
)
def test_what_is_no_address_is_left_to_the_blocks(cluster: Any) -> None:
    assert cluster_by_address(cluster, MODELS[0]) is None
    assert cluster_by_address("http://gpu-box", "two words") is None


def test_a_wrong_variable_is_left_to_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "ftp://gpu-box")
    assert cluster_by_address(None, MODELS[0]) is None


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("./db", "db/documents"),
        ("/x/papers.lance", "/x/papers"),
        ("/papers.lance", "/papers"),
        (Path("db"), "db/documents"),
        ("file:///a%20b", "/a b/documents"),
        (".", "documents"),
        ("s3://bucket/db", "s3://bucket/db/documents"),
    ],
)
def test_texts_name_the_table_that_blocks_name(named: str | Path, place: str) -> None:
    uri, _, table = (place if "://" in place else str(Path(place).absolute())).rpartition("/")
    assert resolve_table(named) == LanceTable(uri=uri or "/", table=table).to_spec()


@pytest.mark.parametrize("named", ["s3://user@bucket/db", "no__good", "file://elsewhere/db", ""])
def test_other_texts_name_no_table(named: str) -> None:
    with pytest.raises(ConfigurationError):
        resolve_table(named)


HOME = """
import json, sys
from prefect_ollama.blocks.resolve import prefect_home
found = str(prefect_home())
asked = "prefect" in sys.modules
from prefect.settings import get_current_settings
print(json.dumps([found, asked, str(get_current_settings().home)]))
"""


@pytest.mark.parametrize(
    ("files", "environment", "asks"),
    [
        ({}, {}, False),
        ({}, {"PREFECT_HOME": "~/other"}, False),
        ({"prefect.toml": "home = '/from-toml'"}, {}, True),
        ({".env": "PREFECT_HOME=/from-env-file"}, {}, True),
        ({"pyproject.toml": "[tool.prefect]\nhome = '/from-project'"}, {}, True),
        (
            {"pyproject.toml": "[tool.prefect]\nhome = '/from-project'"},
            {"PREFECT_HOME": "/from-variable"},
            False,
        ),
        (
            {"home/.prefect/profiles.toml": "active = 'x'\n[profiles.x]\nPREFECT_HOME = '/from-profile'"},
            {},
            True,
        ),
        (
            {"home/.prefect/profiles.toml": "active = 'x'\n[profiles.x]\nPREFECT_API_URL = 'http://h/api'"},
            {},
            False,
        ),
    ],
)
@pytest.mark.slow
def test_the_home_is_the_one_that_prefect_has(
    files: dict[str, str], environment: dict[str, str], asks: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", HOME],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found, asked, home = json.loads(done.stdout.splitlines()[-1])
    assert (found, asked) == (home, asks)


def test_a_package_whose_names_load_late_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text("from late_package.inner import name\nloaded = True\n")
    (package / "inner.py").write_text("name = 'inner'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _import_lancedb.load_names_late("late_package")
    module = importlib.import_module("late_package")
    try:
        assert importlib.import_module("late_package.inner").name == "inner"
        assert not hasattr(module, "__wrapped__")
        assert "loaded" not in vars(module)
        with pytest.raises(AttributeError, match="no attribute 'missing'"):
            _ = module.missing
        assert module.loaded
        assert module.name == "inner"
    finally:
        del sys.modules["late_package"], sys.modules["late_package.inner"]


def test_lancedb_is_whole() -> None:
    lancedb = _import_lancedb.load()
    from lance_namespace_urllib3_client import TableApi

    assert TableApi.__module__ == "lance_namespace_urllib3_client.api.table_api"
    assert callable(lancedb.connect_async)
