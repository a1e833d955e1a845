"""The proxy of the environment for requests to a node, if any.

Requests to loopback and to this host's own addresses never use a proxy. For Prefect, and for every process that
inherits the environment, `NO_PROXY` says so (`keep_local_direct`).
"""

import functools
import ipaddress
import os
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes.address import LOOPBACK_NAMES

# Hosts that are asked directly, read by Python, curl and most other programs.
NO_PROXY: Final = "NO_PROXY"
# What `keep_local_direct` adds: `NO_PROXY` has no pattern for all of loopback.
_DIRECT: Final = ("localhost", "127.0.0.1", "::1")
# Schemes of proxies that the HTTP client supports.
_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment names.

    Attributes:
        url: Its URL, perhaps with a password: never show it.
        variable: The variable that names it.
        host: Host of the node that is asked through it.
    """

    url: str
    variable: str
    host: str

    def __repr__(self) -> str:
        return f"Proxy({self.variable})"

    @property
    def words(self) -> str:
        """Its name in messages."""
        return f"the proxy that {self.variable} names"

    @property
    def remedy(self) -> str:
        """The remedy for an error of the proxy."""
        return f"Add {self.host!r} to {NO_PROXY} to ask the node directly, or correct {self.variable}."


def proxy_of(url: str, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy for requests to this URL; None if they go directly.

    As with curl, `http_proxy` counts before `HTTP_PROXY`, and `all_proxy` if the URL's scheme has no proxy of its own
    (https://curl.se/docs/manpage.html, "Environment").

    Raises:
        ConfigurationError: The value of a variable is not a proxy.
    """
    parts = urlsplit(url)
    given, variable = _proxy_and_variable(parts.scheme, environ)
    host = parts.hostname or ""
    if not given or is_this_host(host) or _excepted(host, parts.port, environ):
        return None
    text = given if "://" in given else f"http://{given}"
    try:
        named = urlsplit(text)
        usable = named.scheme in _SCHEMES and bool(named.hostname) and (named.port is None or named.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{variable} names no proxy.",
            state="No request was sent to the nodes.",
            remedy=f"Write it as http://host:port, or unset {variable}.",
        )
    if named.password:
        # Imported here, because an embedded node's process has no secrets.
        from prefect_ollama.blocks.secrets import remember_to_hide

        remember_to_hide(named.password)
    return Proxy(text, variable, host)


def is_this_host(host: str) -> bool:
    """Return whether a host name or address is loopback or one of this host."""
    host = host.rstrip(".").lower().strip("[]").partition("%")[0]
    address = _address(host)
    if address is None:
        return (
            host in LOOPBACK_NAMES
            or host.endswith(".localhost")
            or host == socket.gethostname().lower() != ""
        )
    return address.is_loopback or address.is_unspecified or _is_own(address)


def keep_local_direct(*urls: str | None, environ: MutableMapping[str, str] = os.environ) -> None:
    """Add this host to `NO_PROXY`, if the environment names a proxy. Entries of the user stay.

    Prefect's HTTP and WebSocket clients read the variable, in this process and in those that it starts.

    Args:
        urls: URLs that are asked by others than endpoints; their hosts are added if they are this host.
        environ: The environment.
    """
    if not proxy_variables(environ):
        return
    hosts = [urlsplit(url).hostname or "" for url in urls if url]
    wanted = [*_DIRECT, socket.gethostname().lower(), *(host for host in hosts if is_this_host(host))]
    # Python reads the lower-case variable before the other one; other programs read only one of the two.
    for name in ("no_proxy", NO_PROXY):
        given = environ.get(name, environ.get(NO_PROXY, ""))
        if name == NO_PROXY or name in environ:
            entries = _entries(given)
            new = [each for each in dict.fromkeys(wanted) if each and each not in entries]
            environ[name] = ",".join([*entries, *new])


def proxy_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables of the environment that name a proxy for HTTP."""
    found = (_proxy_and_variable(scheme, environ)[1] for scheme in ("http", "https"))
    return [name for name in dict.fromkeys(found) if name]


@functools.lru_cache(maxsize=256)
def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an interface of this host has the address. Only then a socket can be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def proxy_hint(environ: Mapping[str, str] = os.environ) -> str:
    """Return a sentence for errors of Prefect's requests; empty if the environment names no proxy."""
    variables = proxy_variables(environ)
    if not variables:
        return ""
    return (
        f" {' and '.join(variables)} {'names' if len(variables) == 1 else 'name'} a proxy: "
        f"if the server can be asked directly, add its host to {NO_PROXY}."
    )


def _proxy_and_variable(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the proxy for a scheme, and the variable that names it; twice an empty text if there is none."""
    for prefix in (scheme, "all"):
        lower, upper = f"{prefix}_proxy", f"{prefix.upper()}_PROXY"
        name = lower if lower in environ else upper  # `http_proxy=` switches HTTP_PROXY off
        # A CGI program gets HTTP_PROXY from a request's header (https://httpoxy.org).
        if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            continue
        if text := environ.get(name, "").strip():
            return text, name
    return "", ""


def _excepted(host: str, port: int | None, environ: Mapping[str, str]) -> bool:
    text = environ.get("no_proxy", environ.get(NO_PROXY, ""))
    if not text.strip():
        return False
    target = f"[{host}]" if ":" in host else host
    # Python knows names and their suffixes. The library does not accept networks in `NO_PROXY`, although many programs
    # do.
    if proxy_bypass_environment(f"{target}:{port}" if port else target, {"no": text}):
        return True
    address = _address(host)
    return any(_in_network(address, entry) or entry.strip("[]") == host for entry in _entries(text))


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, entry: str) -> bool:
    if address is None or "/" not in entry:
        return False
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # `127.1` and `2130706433` are addresses too, to every resolver.
        if not host or not all(part.isalnum() and part[0].isdigit() for part in host.split(".") if part):
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
