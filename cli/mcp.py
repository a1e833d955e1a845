"""`prefect-ollama mcp`: serve a table to AI assistants by the Model Context Protocol."""

import logging
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.console import OK, guarded
from prefect_ollama.node_options import CHAT, ChatOptions
from prefect_ollama.options import TABLE, PrintOptions, TableOptions, flag
from prefect_ollama.reading_options import PASSWORDS, PasswordOptions, ReadingOptions


# Over stdio, stdout belongs to the protocol, and most clients show stderr as errors.
@guarded(out=PrintOptions(quiet=True), prefect=False)
def mcp(
    *,
    nodes: ChatOptions = CHAT,
    table: TableOptions = TABLE,
    passwords: PasswordOptions = PASSWORDS,
    http: Annotated[
        bool, flag("Serve over HTTP on loopback, at /mcp, in place of stdin and stdout.")
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
        from prefect_ollama import mcp_http
        from prefect_ollama.mcp_reader import TableReader
        from prefect_ollama.mcp_server import create_server
        from prefect_ollama.tasks.prefect_state import OUTSIDE
    # The package `mcp` is optional, because few users need the server.
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError(
            "The package `mcp` is not installed.",
            state="Nothing was started.",
            remedy="Install this package with its extra, from its clone: pip install 'path/to/the/clone[mcp]'.",
        ) from None

    if not http and Path("-") in passwords.password_file:
        raise ConfigurationError(
            "--password-file=- reads passwords from stdin, which belongs to the client.",
            state="Nothing was started.",
            remedy="Name a file, or serve with --http.",
        )
    reading = ReadingOptions(passwords=passwords).options()
    with TableReader(table.place(), nodes.named(), reading=reading, **nodes.models()) as reader:
        server = create_server(reader)
        # `MCPServer` adds a handler of its own to the root logger, which would write lines of level INFO to stderr.
        logging.getLogger(OUTSIDE).setLevel(logging.WARNING)
        if not http:
            server.run("stdio")
            return OK
        import uvicorn

        token = mcp_http.token_of(token_file or mcp_http.home_file())
        # Listens before the server starts, so that a port in use is an error of ours, with a next step.
        with mcp_http.listen(port) as listener:
            bound = listener.getsockname()[1]
            # No log of requests, because all have the same path.
            config = uvicorn.Config(
                mcp_http.http_app(server, token, bound), log_level="warning", access_log=False
            )
            print(
                f"Serving http://{mcp_http.LOOPBACK}:{bound}/mcp; end with Ctrl-C",
                file=sys.stderr,
                flush=True,
            )
            uvicorn.Server(config).run(sockets=[listener])
    return OK
