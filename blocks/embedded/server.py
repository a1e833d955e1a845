"""Run one node in this process, until a signal stops it."""

import errno
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from prefect_ollama.blocks.embedded._app import create_app
from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.errors import ConfigurationError

# Seconds until an idle connection is closed. Ollama never closes it, and clients may rely on that.
_KEEP_ALIVE_S = 24 * 3600
# Connections at the same time; the answer to a further one is 503.
_MAX_CONNECTIONS = 512
# Bytes of the headers of a request.
_MAX_HEAD_BYTES = 64 * 1024
# Seconds in which requests in progress may end after the signal.
_GRACE_S = 5


def serve(
    host: str = "127.0.0.1",
    port: int = 11434,
    threads: int = 1,
    model_dir: str | Path | None = None,
    ready: Callable[[str], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> None:
    """Serve the embedded model over Ollama's HTTP API, until SIGINT or SIGTERM.

    Args:
        host: Address or name to listen on. If it is not loopback, anyone who reaches it can use the node: like Ollama,
            it has no keys.
        port: TCP port; 0 for a free one.
        threads: Threads of one forward pass. To use more cores, run more nodes.
        model_dir: Folder of the model's files; None for the places of `_weights`.
        ready: Called with the node's URL as soon as it accepts requests.
        stopping: Called at the first signal, which is then not raised again at the end.

    Raises:
        ModelFilesError: The model's files are missing, or have other contents than expected.
        ConfigurationError: The port or the address cannot be used, or there is less than one thread.
    """
    with _listen(host, port) as listener:
        address, bound = listener.getsockname()[:2]
        loopback = ipaddress.ip_address(address).is_loopback
        app = create_app(EmbeddingModel(model_dir, threads=threads), loopback=loopback)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            http="h11",  # the implementation whose limit for headers can be set
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        if ready is not None:
            # The socket listens already. A request that comes now waits for the event loop, which starts next.
            ready(f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}")
        # uvicorn stops in order, and then raises the signal again.
        with suppress(KeyboardInterrupt):
            _Server(config, stopping).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that calls a function when it begins to stop."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stopping is None:
            super().handle_exit(sig, frame)
            return
        # uvicorn's own handler would raise the signal again at the end, after `_stopping` has handled it.
        if not self.should_exit:
            self.should_exit = True
            self._stopping()
        else:
            self.force_exit = True


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ConfigurationError(
            f"{port} is no port: ports go from 1 to 65535.",
            state="No node was started.",
            remedy="Choose one of these, or 0 for a free one.",
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        why = "another program listens there" if taken else getattr(error, "strerror", "it is no host name")
        raise ConfigurationError(
            f"Cannot listen on {host!r}, port {port}: {why}.",
            state="No node was started.",
            remedy="Choose another port (0 takes a free one; 11434 is that of Ollama, which may run here), or an "
            "address of this host (127.0.0.1, or 0.0.0.0 for all).",
        ) from error
