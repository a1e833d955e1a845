"""Reduce the messages of LanceDB and of the clients of object stores to their cause."""

import re
from typing import Final

from prefect_ollama.blocks.secrets import without_secrets

# Places in LanceDB's source code, and the names of its error types, which tell users nothing.
_RUST: Final = re.compile(
    r",?\s*/\S*\.rs:\d+(?::\d+)?|^(?:(?:lance|external) error: |lanceerror\(\w+\): )+", re.IGNORECASE
)
# The client of an object store nests its errors, the cause innermost: the answer of the store in XML, or a message in
# quotes (the last one, so `.*` is greedy), which ends before a value in Rust's notation (`Name(Name { …`).
_HOST: Final = re.compile(r"\buri: Some\((\w+://[^/?)]+)")
_ANSWER: Final = re.compile(r"<Code>([^<]+)</Code>(?:.*?<Message>([^<]+)</Message>)?")
_QUOTED: Final = re.compile(
    r'.*\b(?:message|error|source)\\?"?: (?:Some\()?\\?"((?:(?!: \w+\(\w+ \{)[^"\\]|\\[^"])+)'
)


def short(error: BaseException) -> str:
    """Return the message of an error in one line of bounded length, without secrets and places in LanceDB's source.

    The client of an object store writes its own messages, and some of them repeat the request.
    """
    text = without_source(_innermost(without_secrets(" ".join(str(error).split())))).rstrip(" .")
    text = text or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def without_source(text: str) -> str:
    """Return the message without places in LanceDB's source code and names of its types."""
    return _RUST.sub("", text)


def _innermost(text: str) -> str:
    """Return the host and the cause in a nested message of an object store; another message as it is."""
    if " { source: " not in text:
        return text
    if "BadScheme" in text:
        cause = "plain HTTP is not allowed (storage option allow_http = true, or AWS_ALLOW_HTTP=true)"
    elif found := _ANSWER.search(text) or _QUOTED.match(text):
        cause = ": ".join(filter(None, found.groups()))
    else:
        return text
    host = _HOST.search(text)
    return f"{host[1]}: {cause}" if host else cause
