"""The process of one embedded node. The node ends with the process that started it (`nodes.EmbeddedNodes`).

The process prints the URL of the node as one line.
"""

import os
import sys
import threading
import time

from prefect_ollama.blocks.embedded.server import serve


def main(owner: str, model_dir: str) -> None:
    """Serve on a free loopback port until the owner, a process id, ends or kills this process."""
    threading.Thread(target=_end_with_process, args=(int(owner),), daemon=True).start()
    serve(port=0, model_dir=model_dir, ready=lambda url: print(url, flush=True))


def _end_with_process(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(1)
    os._exit(0)  # an orderly end is not needed: there is no state, and no client waits for an answer


if __name__ == "__main__":
    main(*sys.argv[1:])
