"""Convert the address of a node, as users write it, into one base URL, by the rules of Ollama's `OLLAMA_HOST`.

Rules of the variable: https://github.com/ollama/ollama/blob/main/envconfig/config.go (`Host`). Errors about an address
contain no password.
"""

import ipaddress
import logging
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

# Ollama's variable for the address of its server, which its clients read too.
HOST_VARIABLE = "OLLAMA_HOST"
DEFAULT_PORT = 11434

# Names of loopback in common `/etc/hosts` files.
LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")

# The default ports of the schemes.
_PORTS = {"http": 80, "https": 443}
# Addresses to listen on, with addresses that reach them.
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
# A host name, or an IPv6 address in brackets, perhaps with a zone.
_HOST = re.compile(r"[^\s/?#@\\:\[\]]+|\[[0-9a-fA-F:.]+(%[\w.-]+)?\]")
# Users copy the URL of a single call from examples. Its path would be appended twice.
_CALL = re.compile(r"/(api/[\w-]+|v1(/[\w-]+)?)$")
# The name of a block with its type before it.
_BLOCK = re.compile(r"(ollama-node|openai-compatible-node)/[a-z0-9-]+")
_OPENAI_CALL = re.compile(r"/(embeddings|models|chat/completions|completions|rerank)$")


def base_url(text: str) -> str:
    """Return the base URL of a node, without a trailing slash.

    Args:
        text: `http(s)://host`, with a port and a path prefix if needed; or `host` or `host:port`, which mean http and
            port 11434 by default. An address to listen on (`0.0.0.0`) becomes one to connect to (`127.0.0.1`).

    Raises:
        ValueError: It is no such address. The text says what to write, and quotes nothing that may be a secret.
    """
    return _join(*_parts(text))


# The end of addresses of OpenAI's API.
OPENAI_PATH = "/v1"


def is_openai_address(text: str) -> bool:
    """Return whether an address is of OpenAI's API and not of Ollama's: it ends in `/v1`."""
    return text.strip().strip("\"'").rstrip("/").endswith(OPENAI_PATH)


def openai_url(text: str) -> str:
    """Return the base URL of a server of OpenAI's API, as clients of that API expect it, without a trailing slash.

    Args:
        text: As for `base_url`; `/v1` is added if there is no path.

    Raises:
        ValueError: It is no such address.
    """
    text = text.strip().strip("\"'").rstrip("/")
    if call := _OPENAI_CALL.search(text):
        raise ValueError(f"{call[0]!r} belongs to a single call; write the address up to {OPENAI_PATH!r}")
    scheme, host, port, path = _parts(text.removesuffix(OPENAI_PATH))
    if "://" not in text and re.search(r":\d+$", text.removesuffix(OPENAI_PATH).partition("/")[0]) is None:
        port = None  # 11434 is Ollama's
    ends_in_v1 = text.endswith(OPENAI_PATH) or not path
    return _join(scheme, host, port, path) + (OPENAI_PATH if ends_in_v1 else "")


def node_url(text: str) -> str:
    """Return the base URL of a node of either API: `openai_url` of an address that ends in `/v1`, else `base_url`.

    Raises:
        ValueError: It is no address.
    """
    return openai_url(text) if is_openai_address(text) else base_url(text)


def server_url(url: str, *, localhost: str = "127.0.0.1") -> str:
    """Return one URL for all ways to write the base URL of one server: its default port, loopback, and both APIs.

    No name is resolved, so a name and its address stay two servers. 127.0.0.1 and ::1 are two servers, too: each may
    have its own.

    Args:
        localhost: The address of `localhost`; Ollama listens at 127.0.0.1 by default.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port
    if host in LOOPBACK_NAMES:
        host = "::1" if host.startswith("ip6-") else localhost
    if _is_ipv6(host):
        address = ipaddress.IPv6Address(host)
        host = str(address.ipv4_mapped or f"[{address}]")
    # Ollama serves OpenAI's API too, with the same model in the same slots.
    path = parts.path.removesuffix(OPENAI_PATH)
    return _join(parts.scheme, host, None if port in (None, _PORTS[parts.scheme]) else str(port), path)


def same_server(one: str, other: str) -> bool:
    """Return whether two base URLs name one server, or may: `localhost` is 127.0.0.1 or ::1; clients try both."""
    both = ("127.0.0.1", "::1")
    return any(server_url(one, localhost=each) == server_url(other, localhost=each) for each in both)


def url_from_environment(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the base URL that `OLLAMA_HOST` names; None if it is unset or empty.

    Raises:
        ValueError: It is no address. An invalid port becomes the default port, as in Ollama.
    """
    text = environ.get(HOST_VARIABLE, "").strip().strip("\"'")
    if not text:
        return None
    scheme, host, port, path = _parts(text, any_port=True)
    if port is not None and not _is_port(port):  # also port 0, to which no client can connect
        default = str(_PORTS[scheme] if "://" in text else DEFAULT_PORT)
        logger.warning("%s names the port %r; using %s.", HOST_VARIABLE, port, default)
        port = default
    return _join(scheme, host, port, path)


def looks_like_address(text: str) -> bool:
    """Return whether a text is an address, and not the name of a block (which has only a-z, 0-9 and -)."""
    if names_block(text):
        return False
    return any(mark in text for mark in ":/.[") or text.strip().lower() == "localhost"


def names_block(text: str) -> bool:
    """Return whether a text is the name of a node's block with its type: `openai-compatible-node/vllm-box`."""
    return _BLOCK.fullmatch(text.strip()) is not None


def short_name(url: str) -> str:
    """Return the default name of a node: its address without the scheme."""
    return url.split("://", 1)[-1]


def _parts(text: str, *, any_port: bool = False) -> tuple[str, str, str | None, str]:
    """Return scheme, host (IPv6 in brackets), port as written, and path without a trailing slash.

    Raises:
        ValueError: It is no address; or the port is no valid one, and `any_port` is False.
    """
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
        other = " (a server of OpenAI's API is an OpenAI Compatible Node)" if call[0] == OPENAI_PATH else ""
        raise ValueError(
            f"{call[0]!r} belongs to a single call; write the address that comes before it{other}"
        )
    if _is_ipv6(authority):
        authority = f"[{authority}]"
    host, colon, port = authority.rpartition(":") if not authority.endswith("]") else (authority, "", "")
    if not colon:
        host = authority
    if not (_HOST.fullmatch(host) if host else port):
        raise ValueError("the address names no host; write for example http://gpu-box:11434")
    if re.search(r"[\s\x00-\x1f\\]", path):
        raise ValueError("the path must have no blanks")
    if colon and not port and slash and not mark and not any_port:  # `htp:/box` would be the host `htp`
        raise ValueError("the address has ':' without a port; write for example http://gpu-box:11434/path")
    given = port if colon and port else None
    if given is None and not mark:
        given = str(DEFAULT_PORT)
    if given is not None and not any_port and not _is_port(given):
        raise ValueError(f"the port {given[:20]!r} is no number from 1 to 65535")
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
