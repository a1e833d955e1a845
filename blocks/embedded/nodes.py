"""Embedded nodes during a `with` block. Each is a process that listens on a loopback port.

The nodes end with the `with` block, and with this process, also after a kill.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from prefect_ollama.blocks.embedded._weights import find_model_files
from prefect_ollama.blocks.errors import ClusterError, ConfigurationError

# Maximum number of nodes by default: more nodes would only share the bandwidth of the memory.
_DEFAULT_MAX_NODES = 4
# Seconds in which all nodes together must become ready.
_READY_S = 60.0


class EmbeddedNodes:
    """Runs embedded nodes.

    Args:
        count: Number of nodes; None for one for each core that this process may use, at most four.
        model_dir: Folder of the model's files; None for the places of `_weights`.

    Attributes:
        urls: URL of each running node; empty outside the `with` block.

    Example:
        >>> with EmbeddedNodes(2) as nodes:
        ...     httpx.post(f"{nodes.urls[0]}/api/embed", json={"model": "all-minilm", "input": "hello"})
    """

    def __init__(self, count: int | None = None, *, model_dir: str | Path | None = None) -> None:
        if count is not None and count < 1:
            raise ConfigurationError(f"{count} embedded nodes were asked for.", remedy="Ask for one or more.")
        self._count = count or min(_usable_cores(), _DEFAULT_MAX_NODES)
        self._model_dir = model_dir
        self._processes: list[subprocess.Popen[bytes]] = []
        self.urls: tuple[str, ...] = ()

    def start(self) -> Self:
        """Start the nodes, and wait until all of them accept requests.

        Raises:
            ModelFilesError: The model's files are missing, or have other contents than expected.
            ClusterError: A node ended or was not ready in time. All nodes were ended.
        """
        # The files are fetched here, so that a download happens once, shows its progress, and raises its own error. The
        # nodes find the same files again, and check them.
        find_model_files(self._model_dir)
        readers = ThreadPoolExecutor(self._count)
        try:
            for _ in range(self._count):
                self._processes.append(self._spawn())
            # Each node prints its URL as its only line; a node that ends before closes the pipe.
            lines = readers.map(_first_line, self._processes, timeout=_READY_S)
            self.urls = tuple(map(self._url, self._processes, lines))
        except TimeoutError:
            self.stop()
            raise _not_ready(f"An embedded node was not ready within {_READY_S:g} s.") from None
        except BaseException:
            self.stop()
            raise
        finally:
            readers.shutdown(wait=False)
        return self

    def stop(self) -> None:
        """End the nodes, and wait for their end. Requests in progress are cut off."""
        self.urls = ()
        # A node has no state, so it needs no orderly end.
        for process in self._processes:
            with process:  # closes its pipe and waits
                process.kill()
        self._processes.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # -P: no file in the user's working folder may be imported in place of a module.
        command = [sys.executable, "-P", "-m", "prefect_ollama.blocks.embedded", str(os.getpid())]
        # Nodes have their own session, so that Ctrl-C reaches this process only, which then ends them in order.
        return subprocess.Popen(
            [*command, str(self._model_dir or "")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def _url(self, process: subprocess.Popen[bytes], line: str) -> str:
        if not line:
            raise _not_ready(f"An embedded node ended with status {process.wait()} before it was ready.")
        return line


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """Return the first line of a process; empty if it ends without a line."""
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def _not_ready(cause: str) -> ClusterError:
    return ClusterError(
        cause,
        state="None of the embedded nodes was left running.",
        remedy="See what it wrote to stderr, or run `python -m prefect_ollama node` to see it start.",
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
