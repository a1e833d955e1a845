"""The MCP server over HTTP: a port on loopback, a token, and the check of each request.

Guarantees: a request without the token gets no answer but 401, and no page in a browser reaches the server.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.private_files import OTHERS, open_private, private_folder
from prefect_ollama.blocks.setting_files import prefect_home
from prefect_ollama.blocks.user_path import with_home

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# The server has no TLS, so only this machine may reach it.
LOOPBACK: Final = "127.0.0.1"

# Characters of a token: 16 of Base64 hold 96 bits.
MIN_TOKEN_CHARACTERS: Final = 16


def home_file() -> Path:
    """Return the default file of the token."""
    return private_folder(prefect_home() / "prefect-ollama") / "mcp-token"


def token_of(file: Path) -> str:
    """Return the token in a file, which is made with a random one if it does not exist.

    Raises:
        ConfigurationError: It cannot be read or made, others can read it, or it holds no token.
    """
    file = with_home(file)
    try:
        if not file.exists():
            with os.fdopen(open_private(file), "w", encoding="ascii") as made:
                # 256 bits, which no program on this machine can guess, however many requests it sends.
                made.write(f"{secrets.token_urlsafe(32)}\n")
            print(f"The token is in {str(file)!r}.", file=sys.stderr, flush=True)
        # Who can read the token can read all documents of the table.
        if os.name == "posix" and file.stat().st_mode & OTHERS:
            raise ConfigurationError(
                f"{str(file)!r} can be read by others.",
                state="Nothing was started.",
                remedy=f"Make it yours alone: chmod 600 {str(file)!r}.",
            )
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds other characters than ASCII"
        raise ConfigurationError(
            f"The token file {str(file)!r} cannot be used: {why}.",
            state="Nothing was started.",
            remedy="Name another file with --token-file.",
        ) from None
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"{str(file)!r} holds no token of at least {MIN_TOKEN_CHARACTERS} characters without spaces.",
            state="Nothing was started.",
            remedy="Remove the file to have one made, or write a longer one.",
        )
    return token


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback.

    Raises:
        ConfigurationError: The port is in use, or is not a valid port.
    """
    try:
        return socket.create_server((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        why = "ports go from 1 to 65535" if isinstance(error, OverflowError) else error.strerror
        raise ConfigurationError(
            f"Cannot listen on port {port}: {why}.",
            state="Nothing was started.",
            remedy="Choose another one with --port, or 0 for a free one.",
        ) from None


class TokenRequired:
    """ASGI middleware that answers 401 to a request without the right bearer token (RFC 6750)."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._wanted = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse a request."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            # In constant time, so that the time of the answer reveals nothing about the token.
            if not hmac.compare_digest(given, self._wanted):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await self._app(scope, receive, send)


def http_app(server: MCPServer, token: str, port: int) -> ASGIApp:
    """Return the server as an application at `/mcp`, for loopback.

    Args:
        port: Where it listens. Requests with another `Host`, or with an `Origin` of a web page, are refused, so that no
            page in a browser reaches it by rebinding its name.
    """
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[])
    return TokenRequired(server.streamable_http_app(transport_security=security), token)
