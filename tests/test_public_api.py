"""The public names, and which layer may import which."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {
    "prefect_ollama.blocks": 0,
    "prefect_ollama.tasks": 1,
    "prefect_ollama.flows": 2,
    "prefect_ollama": 3,
}
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
PACKAGES = sorted(name for name in SETUPTOOLS["packages"] if name not in LAYERS)

# Packages, and modules of other ones, that work with Prefect or Dask. The rest works without both.
WITH_PREFECT = (
    "prefect_ollama.flows.base",
    "prefect_ollama.flows.ingestion",
    "prefect_ollama.flows.researching",
    "prefect_ollama.flows.runner",
    "prefect_ollama.tasks.embedding",
    "prefect_ollama.tasks.monitoring.events",
    "prefect_ollama.tasks.monitoring.live_artifacts",
    "prefect_ollama.tasks.monitoring.metrics",
    "prefect_ollama.tasks.monitoring.metrics_endpoint",
    "prefect_ollama.tasks.monitoring.stats_topic",
    "prefect_ollama.tasks.prefect_state",
    "prefect_ollama.tasks.reporting.markdown",
    "prefect_ollama.tasks.reporting.ingest_report",
)

PUBLIC = {
    "prefect_ollama": {"AskOptions", "CheckedAnswer", "Corpus", "Filter", "Found", "Hit", "open_corpus"},
    "prefect_ollama.flows": {
        "Advanced",
        "ChatUnfinished",
        "Chunk",
        "CheckedAnswer",
        "CheckedReport",
        "CheckedSentence",
        "Limits",
        "Quote",
        "ReportPart",
        "ReportStep",
        "research",
        "summarize",
        "ask",
        "DroppedLine",
        "Forgotten",
        "Hit",
        "Maintenance",
        "Place",
        "Point",
        "Region",
        "Run",
        "Tuning",
        "Undo",
        "Unfinished",
        "Chunking",
        "FileReport",
        "ForgetReport",
        "Found",
        "IngestReport",
        "NodeReport",
        "NodeStatus",
        "NodeTuning",
        "Only",
        "Password",
        "ReEmbedCost",
        "Reading",
        "forget",
        "forgettable",
        "preview_roll_back",
        "check_nodes",
        "discover_nodes",
        "ingest_pdfs",
        "maintain_table",
        "re_embed",
        "re_embed_cost",
        "roll_back",
        "runs",
        "search",
        "tune_nodes",
    },
    "prefect_ollama.blocks": {
        "ChatCheck",
        "ClusterCheck",
        "LanceTable",
        "LoadedModel",
        "NodeStatus",
        "OllamaCluster",
        "OllamaNode",
        "OpenAICompatibleNode",
        "TableCheck",
    },
    "prefect_ollama.blocks.types": {"LanceTable", "OllamaCluster", "OllamaNode", "OpenAICompatibleNode"},
}


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module of the project."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


def layer(module: str) -> int:
    return LAYERS[max((name for name in LAYERS if f"{module}.".startswith(f"{name}.")), key=len)]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            if not node.level and node.module in ("prefect_ollama", *LAYERS):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_no_module_imports_from_a_layer_above() -> None:
    names = {name for name, _ in modules()}
    above = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for name, path in modules()
        for line, imported in imports(path)
        # The version stands in the root package, which imports nothing of the project.
        if imported in names and imported != "prefect_ollama" and layer(imported) > layer(name)
    ]
    assert not above


def test_imports_name_the_package_in_full() -> None:
    """A relative import, or one of the folder's name, breaks on workers or finds the user's own folder."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for _, path in modules()
        for line, imported in imports(path)
        if imported.startswith(".")
        or imported.partition(".")[0] in (*FOLDERS.values(), "tests", "benchmarks")
    ]
    assert not wrong


def test_the_root_package_imports_the_rest_when_it_is_asked_for() -> None:
    """What imports `prefect_ollama` for its version, as every module below does first, pays for nothing else."""
    code = (
        "import json, sys, prefect_ollama\n"
        "before = [name for name in sys.modules if name.startswith('prefect_ollama.')]\n"
        "assert {*prefect_ollama.__all__, '__version__'} <= set(dir(prefect_ollama))\n"
        "from prefect_ollama import open_corpus\n"
        "print(json.dumps([before, callable(open_corpus), 'prefect' in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], True, False]


NODE_APIS = ("blocks/nodes/", "blocks/embedded/")
"""Where a node's API is known: its clients, and the embedded node, which serves it."""

CALLS = re.compile(
    r"(?<![\w.])/?(api|v1)/(embed|embeddings|tags|show|ps|pull|version|chat|generate|models|rerank|completions)\b"
)
FIELDS = {
    "prompt_eval_count", "load_duration", "size_vram", "expires_at", "context_length", "embedding_length",
    "quantization_level", "model_info", "keepalive", "encoding_format", "prompt_tokens", "max_model_len",
}  # fmt: skip


def node_api_literals(path: Path) -> list[str]:
    """Calls and fields of a node's API among the text constants of a module, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
        if (CALLS.search(node.value) and not node.value.startswith("https://docs.ollama.com/"))
        or node.value in FIELDS
    ]


def test_only_the_clients_of_an_api_know_its_calls_and_fields() -> None:
    known = {str(path.relative_to(ROOT)): node_api_literals(path) for _, path in modules()}
    inside = [name for name in known if name.startswith(NODE_APIS)]
    assert any(known[name] for name in inside), "the rule finds nothing where there is something"
    assert not {name: found for name, found in known.items() if found and name not in inside}


def test_packages_work_without_prefect_and_dask() -> None:
    assert len(PACKAGES) >= 7
    wanted = [
        name for name, _ in modules() if any(f"{name}.".startswith(f"{package}.") for package in PACKAGES)
    ]
    wanted = [name for name in wanted if not name.endswith(("__main__", ".child"))]  # these are programs
    wanted = [name for name in wanted if not any(f"{name}.".startswith(f"{each}.") for each in WITH_PREFECT)]
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "print(json.dumps(sorted(tops & {'prefect', 'prefect_dask', 'distributed', 'dask', 'cyclopts'})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*wanted, "prefect_ollama.node"])],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT / "samples",
    )
    assert done.returncode == 0, done.stderr
    # The command `node` parses its options with cyclopts, and the packages do without it.
    assert json.loads(done.stdout.splitlines()[-1]) == ["cyclopts"]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert set(names) == PUBLIC[module]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in PUBLIC for name in sorted(PUBLIC[module])]
)
def test_every_public_name_is_there_and_explained(module: str, name: str) -> None:
    assert inspect.getdoc(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_describe_themselves_and_have_the_names_that_they_list(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__
    assert all(hasattr(package, name) for name in getattr(package, "__all__", ()))


def test_blocks_say_what_is_wrong_with_a_name() -> None:
    blocks = importlib.import_module("prefect_ollama.blocks")
    assert set(dir(blocks)) >= PUBLIC["prefect_ollama.blocks"]
    with pytest.raises(AttributeError, match="has no attribute 'OllamaNodes'"):
        _ = blocks.OllamaNodes
