"""Numbers with their nouns: "1 text" and not "1 texts", in every text of the product."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_ollama.blocks.quantity import quantity

ROOT = Path(__file__).parent.parent

NOUNS = [
    "addresses",
    "answers",
    "characters",
    "chunks",
    "documents",
    "errors",
    "files",
    "findings",
    "nodes",
    "pages",
    "parts",
    "passages",
    "quotes",
    "requests",
    "rows",
    "runs",
    "scores",
    "sentences",
    "servers",
    "sources",
    "texts",
    "tokens",
    "vectors",
]

# A number in a text of the code: a field of an f-string (written as …), of `str.format`, or of a log line.
COUNTED = re.compile(rf"(?:…|%d|\{{[\w.]+\}}) (?:more )?(?:{'|'.join(NOUNS)})\b(?!/s)")

# Numbers that are never 1 where they are shown: sizes in bytes or characters, limits of thousands, numbers from 2 on,
# and wrong ones such as -1.
NEVER_ONE = {
    "blocks/embedded/_model.py",  # a text longer than the context
    "blocks/embedded/_request.py",  # the limit of texts in a request
    "blocks/lance/_indices.py",  # rows of a table that is large enough for an index
    "blocks/lance/_search.py",  # 0 or fewer chunks
    "blocks/lance/maintenance.py",  # dozens of files
    "blocks/lance/maintenance_process.py",
    "blocks/nodes/_connection_errors.py",  # a status
    "blocks/nodes/_errors.py",
    "blocks/nodes/_model_info.py",  # contexts in tokens
    "blocks/nodes/_openai.py",
    "blocks/nodes/chat_verification.py",
    "blocks/nodes/discovery.py",  # more addresses than the limit
    "cli/mcp_http.py",  # characters of a secret
    "flows/summarize.py",  # one document is named
    "tasks/dispatch/_answer_format.py",
    "tasks/dispatch/_embedding_kind.py",  # a text longer than the context
    "tasks/embedding/token_counter.py",  # a constant number of texts
    "tasks/parsing/pdf/_annotations.py",  # from 2 pages on
    "tasks/parsing/pdf/reader.py",  # more pages than the limit
    "tasks/searching/context.py",  # fewer than 0 passages
    "tasks/searching/filter.py",  # from 2 documents on
}


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 texts"), (1, "1 text"), (2, "2 texts"), (1200, "1,200 texts")]
)
def test_a_number_with_its_noun(number: int, expected: str) -> None:
    assert quantity(number, "text") == expected


def test_a_noun_with_another_plural() -> None:
    assert [quantity(number, "address", "addresses") for number in (1, 2)] == ["1 address", "2 addresses"]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a module that is no docstring, with … for fields of f-strings that have no format."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(_shown, node.values))


def _shown(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    # A rate or a time ("1.0 texts/s") has its own format, a name in capitals is a constant, and `quantity` has its
    # noun.
    spec = ast.unparse(part.format_spec) if isinstance(part, ast.FormattedValue) and part.format_spec else ""
    value = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
    return "?" if "f" in spec.strip("f'\"") or value.isupper() or value.startswith("quantity(") else "…"


def test_no_text_counts_with_a_plural_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for layer in ("blocks", "cli", "flows", "tasks")
        for path in sorted((ROOT / layer).rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in NEVER_ONE
        for line, text in texts(path)
        if COUNTED.search(text)
    ]
    assert found == []
