"""Servers with `/v1/embeddings`, simulated: real HTTP on loopback, in threads of the test's process.

    with OpenAIServer(kind="llama.cpp", key="k") as server:
        ...server.url...          # ends in /v1
        server.fail = 503

Texts have as many tokens as words, and one mark at each end, as `tests.nodes` counts them with `tokenizer="words"`.
"""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import orjson

from tests.nodes.vectors import expected_vector

Kind = Literal["llama.cpp", "vLLM", "TEI", "plain"]


def words(text: str) -> int:
    """Tokens of a text."""
    return len(text.split()) + 2


@dataclass
class OpenAIServer:
    """One server. All fields may be changed while it runs.

    Attributes:
        kind: Whose answers it gives: their metadata, and their words for a text that is too long.
        model: Name of its model; llama.cpp and TEI ignore the name that is asked for.
        dimension: Floats of a vector.
        weights: Names the embedding function; other names give other vectors.
        cosine: Between its vectors and those of the embedding function.
        context: Tokens of a text.
        batch: Physical batch of llama.cpp, which it does not tell.
        cuts: Whether it cuts what is too long.
        counts: Whether it counts tokens; "whole" counts those of a text before it cuts it.
        tells: Context that it reports, if it is another one.
        base64: Whether it knows `encoding_format: base64`: "no" ignores it, "refuses" answers 400.
        most_texts: Texts of a request.
        key: API key that it asks for.
        scale: Norm of its vectors.
        order: How the rows of an answer stand and are numbered.
        fail: Status that it answers embeddings with, and `words`, `retry_after` beside it; None embeds.
        fails: How often it fails so; None is for good.
        only_with: It fails only if a text contains this.
        dies_after: Requests after which it closes every connection without an answer.
        lists: Whether it has `/v1/models`.
        seconds_a_text: Time that a text takes.
        spoil: Changes the JSON of an answer.
        shared: Whether the requests that llama.cpp has at once share its context, four texts of each; where they do
            not fit it aborts them all.
        recorded: Status and body by path, given in place of its own answers.
    """

    kind: Kind = "plain"
    model: str = "nomic-embed-text"
    dimension: int = 16
    weights: str = "a"
    cosine: float = 1.0
    context: int = 512
    batch: int = 4096
    cuts: bool = False
    counts: bool | Literal["whole"] = True
    tells: int | None = None
    base64: Literal["yes", "no", "refuses"] = "yes"
    most_texts: int | None = None
    key: str = ""
    scale: float = 1.0
    order: Literal["right", "shuffled", "unnumbered", "without 0", "misnumbered"] = "right"
    fail: int | None = None
    words: str = "broken"
    retry_after: str = ""
    fails: int | None = None
    only_with: str = ""
    dies_after: int | None = None
    lists: bool = True
    seconds_a_text: float = 0.0
    spoil: Any = None
    shared: bool = False
    recorded: dict[str, tuple[int, Any]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.paths.append(self.path)
                self._send(*outer.get(self.path, self.headers.get("authorization", "")))

            def do_POST(self) -> None:
                outer.paths.append(self.path)
                body = self.rfile.read(int(self.headers["content-length"]))
                done = outer.post(self.path, orjson.loads(body), self.headers.get("authorization", ""))
                if done is None:
                    self.close_connection = True
                    return
                self._send(*done)

            def _send(self, status: int, answer: Any, **headers: str) -> None:
                data = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                if outer.retry_after and status in (429, 503):
                    self.send_header("retry-after", outer.retry_after)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._lock, self._in_hand, self._aborted = threading.Lock(), 0, 0
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Base URL, as clients of the API take it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def get(self, path: str, authorization: str) -> tuple[int, Any]:
        """What a GET is answered with."""
        if self._dead():
            return 500, {}
        if self.key and authorization != f"Bearer {self.key}":
            return 401, self._error(401, "Invalid API Key")
        if path in self.recorded:
            return self.recorded[path]
        match self.kind, path:
            case _, "/v1/models" if self.lists:
                return 200, {"object": "list", "data": [self._entry()]}
            case "llama.cpp", "/props":
                return 200, {
                    "default_generation_settings": {"n_ctx": self.context},
                    "build_info": "b6000-abc1234",
                }
            case "vLLM", "/version":
                return 200, {"version": "0.9.1"}
            case "TEI", "/info":
                return 200, {
                    "model_id": self.model,
                    "max_input_length": self.context,
                    "max_client_batch_size": self.most_texts or 32,
                    "auto_truncate": self.cuts,
                    "version": "1.7.2",
                }
        return 404, {"detail": "Not Found"}

    def post(self, path: str, asked: dict[str, Any], authorization: str) -> tuple[int, Any] | None:
        """What a POST is answered with; None closes the connection."""
        if path != "/v1/embeddings":
            return 404, {"detail": "Not Found"}
        if self._dead():
            return None
        self.requests.append(asked)
        if self.key and authorization != f"Bearer {self.key}":
            return 401, self._error(401, "Invalid API Key")
        if path in self.recorded:
            return self.recorded[path]
        texts: list[str] = asked["input"]
        strikes = not self.only_with or any(self.only_with in text for text in texts)
        if self.fail is not None and strikes and self.fails != 0:
            self.fails = None if self.fails is None else self.fails - 1
            return self.fail, self._error(self.fail, self.words)
        if self.kind in ("vLLM", "plain") and asked["model"] != self.model:
            return 404, self._error(404, f"The model `{asked['model']}` does not exist.")
        most = self.most_texts or (32 if self.kind == "TEI" else None)
        if most is not None and len(texts) > most:
            said = f"batch size {len(texts)} > maximum allowed batch size {most}"
            return (413 if self.kind == "TEI" else 400), self._error(413, said)
        if asked.get("encoding_format") == "base64" and self.base64 == "refuses":
            return 400, self._error(400, "encoding_format: value is not a valid enumeration member")
        longest = max(map(words, texts))
        if longest > self.batch and self.kind == "llama.cpp":
            return 500, self._error(
                500,
                f"input ({longest} tokens) is too large to process. increase the physical batch size "
                f"(current batch size: {self.batch})",
            )
        if longest > self.context and not self.cuts:
            return self._too_long(longest)
        read = [
            " ".join(text.split(" ")[: self.context - 2]) if words(text) > self.context else text
            for text in texts
        ]
        if not self._fits(texts):
            return 500, self._error(500, "Context size has been exceeded.")
        self.embedded += texts
        rows = [
            {"object": "embedding", "index": at, "embedding": self._vector(text, asked)}
            for at, text in enumerate(read)
        ]
        if self.order == "shuffled":
            rows = rows[::-1]
        elif self.order == "unnumbered":
            rows = [{"embedding": row["embedding"]} for row in rows]
        elif self.order == "without 0":
            rows[0].pop("index")
        elif self.order == "misnumbered":
            rows = [row | {"index": 0} for row in rows]
        answer: dict[str, Any] = {"object": "list", "data": rows, "model": self.model}
        if self.counts:
            tokens = sum(map(words, texts if self.counts == "whole" else read))
            answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        if self.spoil is not None:
            answer = self.spoil(answer)
        return 200, answer

    def _fits(self, texts: list[str]) -> bool:
        """Spend the time that the texts take; False where they were aborted meanwhile."""
        tokens = sum(sorted(map(words, texts))[-4:]) if self.shared else 0
        with self._lock:
            before = self._aborted
            self._in_hand += tokens
            self._aborted += self._in_hand > self.context
        time.sleep(self.seconds_a_text * len(texts))
        with self._lock:
            self._in_hand -= tokens
            return self._aborted == before

    def _vector(self, text: str, asked: dict[str, Any]) -> Any:
        vector = (
            self.scale * expected_vector(text, self.dimension, self.weights, cosine=self.cosine)
        ).astype("<f4")
        if asked.get("encoding_format") == "base64" and self.base64 == "yes":
            return base64.b64encode(vector.tobytes()).decode()
        return np.asarray(vector)

    def _dead(self) -> bool:
        return self.dies_after is not None and len(self.requests) >= self.dies_after

    def _entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"id": self.model, "object": "model", "created": 1}
        match self.kind:
            case "llama.cpp":
                return entry | {"owned_by": "llamacpp", "meta": {"n_ctx_train": 2048, "ftype": "F16"}}
            case "vLLM":
                return entry | {"owned_by": "vllm", "max_model_len": self.context}
        told = {} if self.tells is None else {"max_model_len": self.tells}
        return entry | {"owned_by": "organization_owner"} | told

    def _error(self, status: int, said: str) -> dict[str, Any]:
        match self.kind:
            case "vLLM":  # as it was before 0.10
                return {"object": "error", "message": said, "type": "BadRequestError", "code": status}
            case "TEI":
                return {"message": said, "code": status, "type": "Validation"}
        return {"error": {"code": status, "message": said, "type": "server_error"}}

    def _too_long(self, tokens: int) -> tuple[int, Any]:
        match self.kind:
            case "llama.cpp":
                return 400, self._error(
                    400,
                    f"input ({tokens} tokens) is larger than the max context size ({self.context} tokens). skipping",
                )
            case "TEI":
                said = f"Input validation error: `inputs` must have less than {self.context} tokens. Given: {tokens}"
                return 413, self._error(413, said)
        said = (
            f"This model's maximum context length is {self.context} tokens. However, you requested {tokens} tokens "
            "in the input for embedding generation. Please reduce the length of the input."
        )
        return 400, self._error(400, said)
