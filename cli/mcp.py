"""`prefect-ollama mcp`: serve a table to AI assistants by the Model Context Protocol."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.console import OK, guarded
from prefect_ollama.options import (
    NODES,
    TABLE,
    ChatModelOption,
    JudgeModelOption,
    Loudness,
    NodeOptions,
    TableOptions,
)
from prefect_ollama.reading_options import PASSWORDS, PasswordOptions, ReadingOptions

# The server has no TLS, so only this machine may reach it.
LOOPBACK: Final = "127.0.0.1"

# Characters of a token: 16 of Base64 hold 96 bits.
MIN_TOKEN_CHARACTERS: Final = 16


# Over stdio, stdout belongs to the protocol, and most clients show stderr as errors.
@guarded(loud=Loudness(quiet=True), prefect=False)
def mcp(
    *,
    nodes: NodeOptions = NODES,
    chat_model: ChatModelOption = None,
    judge_model: JudgeModelOption = None,
    table: TableOptions = TABLE,
    passwords: PasswordOptions = PASSWORDS,
    http: Annotated[
        bool,
        Parameter(negative="", help="Serve over HTTP on loopback, at /mcp, in place of stdin and stdout."),
    ] = False,
    port: Annotated[int, Parameter(help="Port for --http, 1 to 65535; 0 takes a free one.")] = 8765,
    token_file: Annotated[
        Path | None,
        Parameter(
            help="File with the token that clients must send to --http as a bearer token. It is made, with a random "
            "token and readable to you alone, if it does not exist. Default: mcp-token in prefect-ollama in Prefect's "
            "home."
        ),
    ] = None,
) -> int:
    """Serve a table to AI assistants (Model Context Protocol), read-only: search, answers, documents, pages."""
    try:
        from prefect_ollama.mcp_server import TableReader, create_server, http_app
    # The package `mcp` is optional, because few users need the server.
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError(
            "The package `mcp` is not installed.",
            state="Nothing was started.",
            remedy="Install it: pip install 'prefect-ollama[mcp]'.",
        ) from None

    if not http and Path("-") in passwords.password_file:
        raise ConfigurationError(
            "--password-file=- reads passwords from stdin, which belongs to the client.",
            state="Nothing was started.",
            remedy="Name a file, or serve with --http.",
        )
    with TableReader(
        table.place(),
        nodes.named(),
        model=nodes.model,
        chat_model=chat_model,
        judge_model=judge_model,
        reading=ReadingOptions(passwords=passwords).options(),
    ) as reader:
        server = create_server(reader)
        if not http:
            server.run("stdio")
            return OK
        import uvicorn

        token = _token(token_file or _home_file())
        # Listens before the server starts, so that a port in use is an error of ours, with a next step.
        with _listen(port) as listener:
            bound = listener.getsockname()[1]
            # No log of requests, because all have the same path.
            config = uvicorn.Config(http_app(server, token, bound), log_level="warning", access_log=False)
            print(f"Serving http://{LOOPBACK}:{bound}/mcp; end with Ctrl-C", file=sys.stderr, flush=True)
            uvicorn.Server(config).run(sockets=[listener])
    return OK


def _home_file() -> Path:
    from prefect_ollama.blocks.private_files import private_folder
    from prefect_ollama.blocks.setting_files import prefect_home

    return private_folder(prefect_home() / "prefect-ollama") / "mcp-token"


def _token(file: Path) -> str:
    """Return the token in a file, which is made with a random one if it does not exist.

    Raises:
        ConfigurationError: It cannot be read or made, others can read it, or it holds no token.
    """
    from prefect_ollama.blocks.private_files import OTHERS, open_private

    file = file.expanduser()
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


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        why = "ports go from 1 to 65535" if isinstance(error, OverflowError) else error.strerror
        raise ConfigurationError(
            f"Cannot listen on port {port}: {why}.",
            state="Nothing was started.",
            remedy="Choose another one with --port, or 0 for a free one.",
        ) from None
