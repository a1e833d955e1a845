"""The dispatcher's machinery depends on no kind of request."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from prefect_ollama.tasks import dispatch

FOLDER = Path(dispatch.__file__).parent
NEUTRAL = (
    "_answers",
    "_batch_size",
    "_breaker",
    "_engine",
    "_health",
    "_job",
    "_late_requests",
    "_locked_file",
    "_node",
    "_poison_texts",
    "_queue",
    "_rate_model",
    "_request",
    "_request_kind",
    "_scheduling",
    "_sender",
    "_shared_limits",
    "_slot_measurement",
    "_usage",
    "_waiting_questions",
    "stats",
)
OF_A_KIND = ("_checks", "_embedding_kind", "_verification", "embedding", "long_words")


@pytest.mark.parametrize("module", NEUTRAL)
def test_machinery_depends_on_no_kind_of_request(module: str) -> None:
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    used = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    names = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "prefect_ollama.blocks.nodes"
        for name in node.names
    }
    kinds = {f"{dispatch.__name__}.{each}" for each in OF_A_KIND}
    assert not used & (kinds | {"numpy"})
    assert not names & {"SHORT", "Answer", "Fingerprint", "Vectors"}
