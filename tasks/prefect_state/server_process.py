"""Prefect's server for the time of one process: `python -m prefect_ollama.tasks.prefect_state.server_process FD`.

It serves at the socket that it inherits and ends with the process that started it, however that ends: the pipe at its
stdin closes then, and it gets another parent.
"""

import os
import signal
import socket
import sys
import threading
import time

# Seconds for the server to finish its writes after its owner is gone.
GRACE_S = 5.0


def main(listener: int) -> None:
    """Serve until the owner ends.

    Args:
        listener: File descriptor of a TCP socket that listens.
    """
    owner = os.getppid()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # A process forked off the owner holds the pipe open; so its id is watched as well.
    threading.Thread(target=_end_with_process, args=(owner,), daemon=True).start()
    import uvicorn

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
    )
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=listener)])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0 if server.started else 3)  # without waiting for the threads above or for libraries


def _end_with_stdin() -> None:
    while os.read(0, 64):
        pass
    _end()


def _end_with_process(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(1)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
