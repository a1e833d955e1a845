"""Answers that real Ollama servers of two versions gave, and the requests that they were asked with.

`tests/data/ollama/VERSION.jsonl` holds a line for each request: status, kind of body, and the body's shape. Names,
words, errors and token counts are as recorded; of vectors the length is kept, of times, sizes and digests that they
were there. The model is all-minilm (F16, 512 tokens); `gemma3-270m` is one that chats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parent / "data" / "ollama"
VERSIONS = ("0.24.0", "0.33.0-rc2")
MODEL, CHAT = "all-minilm", "gemma3-270m"

# Text that is the same in every answer of this kind; other text is a date, a digest or a template.
_KEPT = frozenset(
    [
        "error",
        "message",
        "type",
        "param",
        "code",
        "model",
        "name",
        "object",
        "format",
        "role",
        "status",
        "version",
        "done_reason",
        "response",
    ]
)
_KEPT_NUMBERS = frozenset({"prompt_eval_count", "prompt_tokens", "total_tokens", "index", "context_length"})
_VECTOR = re.compile(r"<(\d+) floats, norm 1\.000000>")
_MORE = re.compile(r"… (\d+) in all")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer.

    Attributes:
        case: Name of the request.
        status: HTTP status; 0 where none came within two minutes.
        type: Content type, empty for none.
        chunked: Whether the body came in chunks, and not with its length.
        allow: The header `Allow`.
        body: Shape of the body, see `shape`.
    """

    case: str
    status: int
    type: str
    chunked: bool
    allow: str
    body: Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        path: Its path.
        body: JSON value, bytes as they are, or None for none.
        method: Its method.
        headers: Headers beside those that every request has.
    """

    path: str
    body: Any = None
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes | None:
        """The body as it is sent."""
        return self.body if isinstance(self.body, bytes | None) else orjson.dumps(self.body)


def recorded(version: str) -> list[Recorded]:
    """What a version answered, in the order in which it was asked."""
    lines = (FOLDER / f"{version}.jsonl").read_bytes().splitlines()
    return [Recorded(**orjson.loads(line)) for line in lines]


def shape(value: Any, name: str = "") -> Any:
    """What of a body is the same whenever the same thing is answered."""
    if isinstance(value, dict):
        generated = {"prompt_eval_count"} if "eval_count" in value else set()
        return {key: shape(each, "" if key in generated else key) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return sorted(value[0]) if name == "tensors" else _list(value)
    if isinstance(value, str):
        if vector := _VECTOR.fullmatch(value):
            return f"<{vector[1]} floats>"
        if name == "embedding":
            return "<base64>"
        return value if name in _KEPT and (name != "model" or "/" not in value) else "<text>"
    if isinstance(value, bool) or value is None:
        return value
    return value if name in _KEPT_NUMBERS else "<number>"


def _list(value: list[Any]) -> Any:
    if value and all(type(each) in (int, float) for each in value):
        return f"<{len(value)} floats>"
    more = [int(found[1]) for each in value if isinstance(each, str) and (found := _MORE.fullmatch(each))]
    shapes = [shape(each) for each in value if not isinstance(each, str) or not _MORE.fullmatch(each)]
    if shapes and all(each == shapes[0] for each in shapes):
        return [shapes[0], *(more or [len(value)])]
    return shapes


def requests() -> dict[str, Asked]:
    """The request of each case."""
    return dict(_requests())


def _embed(**more: Any) -> Asked:
    return Asked("/api/embed", {"model": MODEL, "input": "x"} | more)


def _words(count: int) -> str:
    return " ".join(["word"] * count)


def _requests() -> Iterator[tuple[str, Asked]]:
    yield "version", Asked("/api/version")
    yield "tags", Asked("/api/tags")
    for name in (
        "ps cold",
        "ps after []",
        "ps",
        "ps after -1",
        "ps after 0",
        "ps after [] 0",
        "ps after chat",
    ):
        yield name, Asked("/api/ps")
    yield "ps after unload", Asked("/api/ps")
    yield "show", Asked("/api/show", {"model": MODEL})
    yield "show missing", Asked("/api/show", {"model": "nope"})
    yield "show chat", Asked("/api/show", {"model": CHAT})
    yield "root", Asked("/")
    yield "HEAD root", Asked("/", method="HEAD")
    yield "GET embed", Asked("/api/embed", method="GET")
    yield "unknown path", Asked("/api/nothing")
    for name in ("[] cold", "[] warm"):
        yield name, _embed(input=[])
    yield "string", _embed(input="hello world")
    yield "list", _embed(input=["hello world", "good morning"])
    inputs: dict[str, Any] = {
        '""': "", '[""]': [""], '["a",""]': ["a", ""], '[" "]': [" "], '["\\n"]': ["\n"], "number": 5, "[5]": [5],
        "null": None, "[null]": [None], "object": {"a": 1}, "[['a']]": [["a"]], "mixed": ["a", 5], "true": True,
        "control characters": "\x01\x02\x7f", "NUL": ["a\0b", "\0", "a\0", "\0a", "a \0 b"],
        "C1, bidi, PUA, non-characters": "\x85\u202e\ue000\ufdd0", "emoji": "🙂", "Chinese": "港口" * 20,
    }  # fmt: skip
    for name, value in inputs.items():
        yield name, _embed(input=value)
    yield "no input key", Asked("/api/embed", {"model": MODEL})
    yield "no model key", Asked("/api/embed", {"input": "x"})
    yield "model empty", _embed(model="")
    yield "bad JSON", Asked("/api/embed", b'{"model": "all-minilm", "input": "x"')
    yield "bad JSON 2", Asked("/api/embed", b"not json")
    yield "no body", Asked("/api/embed", b"")
    yield "array", Asked("/api/embed", [])
    yield "no content-type", _embed()
    yield "unknown field", _embed(unknown=5)
    yield "missing model", _embed(model="nope")
    yield "invalid name", _embed(model="a b")
    yield "invalid name 2", _embed(model="/x")
    yield "tag :latest", _embed(model=f"{MODEL}:latest")
    yield "upper case", _embed(model="All-MiniLM")
    yield "missing tag", _embed(model=f"{MODEL}:33m")
    yield "long truncate default", _embed(input=_words(2000))
    yield "long truncate true", _embed(input=_words(2000), truncate=True)
    yield "long truncate false", _embed(input=_words(2000), truncate=False)
    yield "one long of 3, false", _embed(input=["a", _words(2000), "b"], truncate=False)
    for words in (250, 254, 255, 256, 300, 500, 509, 510, 511, 512):
        yield f"{words} words, truncate false, no options", _embed(input=_words(words), truncate=False)
    for context, counts in ((512, (509, 510, 511, 512)), (2048, (510, 511, 1000)), (64, (60, 62, 63, 100))):
        options = {"num_ctx": context, "num_batch": context}
        for words in counts:
            name = f"{words} words, truncate false, ctx/batch {context}"
            yield name, _embed(input=_words(words), truncate=False, options=options)
    for truncate in (False, True):
        options = {"num_ctx": 512, "num_batch": 64}
        name = f"100 words, ctx 512, batch 64, {str(truncate).lower()}"
        yield name, _embed(input=_words(100), truncate=truncate, options=options)
    for name in ("back to no options", "reload", "after 10 MB"):
        yield name, _embed()
    for dimensions in (10, 1000, 0, -1, "10"):
        yield f"dimensions {dimensions!r}", _embed(dimensions=dimensions)
    yield "unknown option", _embed(options={"unknown": 5})
    yield "option of wrong type", _embed(options={"num_ctx": "many"})
    yield "options null", _embed(options=None)
    yield "options list", _embed(options=[])
    for keep_alive in ("10m", "-1s", -1, 0, "0", "abc", "", "1h30m", 3600, 1.5, "30", True, None):
        yield f"keep_alive {keep_alive!r}", _embed(keep_alive=keep_alive)
    yield "[] keep_alive 0", _embed(input=[], keep_alive=0)
    bare = b'{"model": "all-minilm", "input": "%b"}'
    yield "lone surrogate escape", Asked("/api/embed", bare % rb"a\ud800b")
    yield "low surrogate", Asked("/api/embed", bare % rb"\udc00")
    yield "invalid UTF-8", Asked("/api/embed", bare % b"a\xffb")
    yield "10 MB true", _embed(input="word " * 2_000_000, truncate=True)
    yield "10 MB false", _embed(input="word " * 2_000_000, truncate=False)
    yield "1 MB one word true", _embed(input="a" * 1_000_000, truncate=True)
    yield "10000 texts", _embed(input=[f"text number {number}" for number in range(10_000)])
    yield "chat model", _embed(model=CHAT)
    v1: dict[str, dict[str, Any]] = {
        "v1 float": {"input": ["a", "b"], "encoding_format": "float"},
        "v1 base64": {"encoding_format": "base64"}, "v1 default": {}, "v1 dims": {"dimensions": 10},
        "v1 bad format": {"encoding_format": "x"}, "v1 []": {"input": []}, "v1 ''": {"input": ""},
        "v1 missing": {"model": "nope"}, "v1 long": {"input": _words(2000)}, "v1 tokens": {"input": [1, 2, 3]},
    }  # fmt: skip
    for name, more in v1.items():
        yield name, Asked("/v1/embeddings", {"model": MODEL, "input": "x"} | more)
    yield "old embeddings", Asked("/api/embeddings", {"model": MODEL, "prompt": "x"})
    yield "old embeddings empty", Asked("/api/embeddings", {"model": MODEL, "prompt": ""})
    yield "old embeddings long", Asked("/api/embeddings", {"model": MODEL, "prompt": _words(2000)})
    talk = {"model": CHAT, "messages": [{"role": "user", "content": "Ask two questions."}], "format": "json"}
    yield "chat format stream", Asked("/api/chat", talk)
    yield "chat format no stream", Asked("/api/chat", talk | {"stream": False})
    yield "chat embed model", Asked("/api/chat", talk | {"model": MODEL})
    yield "generate embed model", Asked("/api/generate", {"model": MODEL, "prompt": "x"})
    yield "generate unload", Asked("/api/generate", {"model": MODEL, "keep_alive": 0})
    yield "foreign host", Asked("/api/version", headers={"Host": "example.com"})
    yield "host localhost", Asked("/api/version", headers={"Host": "localhost:11434"})
    yield "host ip", Asked("/api/version", headers={"Host": "127.0.0.1"})
    yield "origin foreign", Asked("/api/version", headers={"Origin": "http://example.com"})
    yield "pull without a way to the registry (HTTPS_PROXY dead)", Asked("/api/pull", {"model": "nope-nope"})
