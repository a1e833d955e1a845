"""What a user writes for a node's address becomes one base URL, by the rules of Ollama's own `OLLAMA_HOST`.

Rules of the variable: https://github.com/ollama/ollama/blob/main/envconfig/config.go (`Host`). What can't be
a node's address is refused in words that hold no password.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Mapping

logger = logging.getLogger(__name__)

HOST_VARIABLE = "OLLAMA_HOST"
DEFAULT_PORT = 11434

_PORTS = {"http": 80, "https": 443}
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
_HOST = re.compile(r"[^\s/?#@\\:\[\]]+|\[[0-9a-fA-F:.]+(%[\w.-]+)?\]")
_CALL = re.compile(r"/(api/[\w-]+|v1(/[\w-]+)?)$")


def base_url(text: str) -> str:
    """Return the base URL of a node, without a trailing slash.

    Args:
        text: `http(s)://host`, with a port and a path prefix if need be; or `host` or `host:port`, which
            mean http and, where there is no port, 11434. An address a server listens on (`0.0.0.0`)
            becomes the one it can be reached at (`127.0.0.1`).

    Raises:
        ValueError: It is no such address. The text says what to write, and repeats nothing that may be a
            secret.
    """
    scheme, host, port, path = _parts(text)
    if port is not None and not _is_port(port):
        raise ValueError(f"the port {port[:20]!r} is no number from 1 to 65535")
    return _join(scheme, host, port, path)


def url_from_environment(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the base URL that `OLLAMA_HOST` names, or None where it is unset or empty.

    Raises:
        ValueError: It holds no address. A port that is none becomes the default one, as with Ollama itself.
    """
    text = environ.get(HOST_VARIABLE, "").strip().strip("\"'")
    if not text:
        return None
    scheme, host, port, path = _parts(text)
    if port is not None and not _is_port(port):  # nobody can be reached at port 0 either
        default = str(_PORTS[scheme] if "://" in text else DEFAULT_PORT)
        logger.warning("%s names the port %r; using %s.", HOST_VARIABLE, port, default)
        port = default
    return _join(scheme, host, port, path)


def looks_like_address(text: str) -> bool:
    """Whether a text is meant as an address and not as the name of a block (which has only a-z, 0-9 and -)."""
    return any(mark in text for mark in ":/.[") or text.strip().lower() == "localhost"


def short_name(url: str) -> str:
    """Return a name for a node that has none: its address without the scheme."""
    return url.split("://", 1)[-1]


def _parts(text: str) -> tuple[str, str, str | None, str]:
    """Scheme, host (IPv6 in brackets), port as written, path without a trailing slash."""
    text = text.strip().strip("\"'")
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in _PORTS:
        raise ValueError("the address must begin with http:// or https://")
    if "?" in rest or "#" in rest:
        raise ValueError("the address must have no '?' and no '#'; write it up to the path only")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ValueError(
            "the address must hold no user name or password; they have fields of their own in an OllamaNode"
        )
    path = f"{slash}{path}".rstrip("/")
    if call := _CALL.search(path):
        raise ValueError(f"{call[0]!r} belongs to a single call; write the address that comes before it")
    if _is_ipv6(authority):
        authority = f"[{authority}]"
    host, colon, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
    if not colon:
        host = authority
    if not (_HOST.fullmatch(host) if host else port):
        raise ValueError("the address names no host; write for example http://gpu-box:11434")
    if re.search(r"[\s\x00-\x1f\\]", path):
        raise ValueError("the path must have no blanks")
    given = port if colon and port else None
    if given is None and not mark:
        given = str(DEFAULT_PORT)
    return scheme, host, given, path


def _join(scheme: str, host: str, port: str | None, path: str) -> str:
    host = _HERE.get(host, host).lower()
    return f"{scheme}://{host}{'' if port is None else f':{int(port)}'}{path}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
