"""The parts of a node's answers that errors and logs may quote.

A node that got a secret can return it in any form: encoded, reversed, in pieces. No filter finds every form. So an
error quotes such a node only if its words are in Ollama's source, or have a form that cannot hold a secret.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import quote

from prefect_ollama.blocks.nodes.fingerprint import EMBEDDED
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.secrets import without_secrets

# Maximum number of characters of a node's words that are shown.
MAX_QUOTE_CHARACTERS = 200

# Shown instead of a version that may hold a secret.
UNKNOWN_VERSION: Final = "unknown"

# Words of the sources of Ollama (server/routes.go, llm/server.go, runner), llama-server, vLLM and TEI, shown as they
# stand here.
_OLLAMAS_WORDS: Final = (
    "invalid input type",
    "input content cannot be empty",
    "the input length exceeds the context length",
    "is too large to process",
    "is larger than the max context size",
    "exceeds the available context size",
    "context size has been exceeded",
    "is not OAI compatible",
    "maximum allowed batch size",
    "model is overloaded",
    "loading model",
    "invalid api key",
    "server busy, please try again.",
    "embedding contains NaN or Inf values",
    "failed to encode response",
    "does not support embeddings",
    "try pulling it first",
    "invalid model name",
    "missing request body",
    "llama runner process no longer running",
    "llama-server process no longer running",
    "llama runner process has terminated",
    "unexpected server status",
    "model requires more system memory",
    "no space left on device",
    "file does not exist",
    "too many requests",
    "request canceled",
    "context canceled",
    "context deadline exceeded",
    "connection refused",
    "connection reset",
    "i/o timeout",
    "no such host",
    "no slots",
    "unauthorized",
    "bad gateway",
    "internal server error",
    "EOF",
)
# A version number has no room for a secret.
_PLAIN_VERSION: Final = re.compile(
    rf"v?((?:{re.escape(EMBEDDED)})?(\d{{1,3}}(?:\.\d{{1,3}}){{1,3}}(?:-rc\d{{1,2}})?))(?!\w|\.\d)"
)

# Characters of a secret, in any of its forms, that a name must not hold: fewer occur in words by chance.
_FRAGMENT: Final = 4


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Decides which messages of one node may be shown, by the secrets that were sent to it."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    _forms: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, node: NodeSpec) -> Self:
        """Return the rules for a node that gets the headers and the password of its block."""
        secrets = [value.get_secret_value() for _, value in node.headers]
        if node.password is not None:
            password = node.password.get_secret_value()
            secrets += [password, f"{node.username}:{password}"]
        secrets = list(filter(None, secrets))
        return cls(tuple(secrets), frozenset(form for secret in secrets for form in _forms(secret)))

    def words(self, said: str) -> str:
        """Return a message of the node, at most 200 characters; only known messages if it was sent a secret."""
        if not self.secrets:
            return without_secrets(said).strip()[:MAX_QUOTE_CHARACTERS]
        lowered = said.lower()
        return next((words for words in _OLLAMAS_WORDS if words.lower() in lowered), "")

    def version(self, said: str) -> str:
        """Return a version; if it was sent a secret, only numbers as in `0.33.0-rc2`, or `unknown`."""
        if not self.secrets or not said:
            return without_secrets(said).strip()[:64]
        plain = _PLAIN_VERSION.match(said)
        if plain is None or any(_normal(plain[2]) in form for form in self._forms):
            return UNKNOWN_VERSION
        return plain[1]

    def names(self, names: Iterable[str]) -> list[str]:
        """Return the names without a part of a secret; an empty list if all names together contain one."""
        given = [without_secrets(name)[:MAX_QUOTE_CHARACTERS] for name in names]
        if not self.secrets:
            return given
        shown = [name for name in given if not self._holds_secret(name)]
        return [] if len(shown) > 1 and self._holds_secret("".join(shown)) else shown

    def _holds_secret(self, text: str) -> bool:
        normal = _normal(text)
        pieces = {normal[at : at + _FRAGMENT] for at in range(max(1, len(normal) - _FRAGMENT + 1))}
        return any(piece in form for piece in pieces for form in self._forms)


# The rule for a node that was sent nothing secret.
OPEN: Final = Disclosure()


def _forms(secret: str) -> Iterator[str]:
    """Yield the forms in which a node may return a secret, letters and digits only, each also reversed."""
    data = secret.encode("utf-8", "surrogatepass")
    plain = [secret, secret.partition(" ")[2], quote(data, safe=""), data.hex()]
    # Base64 of a text depends on what stands before it: three alignments.
    plain += [base64.b64encode(b"\0" * shift + data).decode() for shift in range(3)]
    plain.append(base64.b32encode(data).decode())
    for form in map(_normal, plain):
        if form:
            yield form
            yield form[::-1]


def _normal(text: str) -> str:
    return "".join(each for each in text.casefold() if each.isalnum())
