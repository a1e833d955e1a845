"""Questions on this machine that wait for nodes. Bulk work of other processes holds back while they do.

Nodes are FIFO, so a question that is sent at once waits for the requests that a node already has. A run that sees the
question sends the node no further request, and takes back those that wait there. So the question waits for one request
at most.

Guarantees: a killed process does not delay the runs. Without a usable folder, or without file locks, a question is sent
without telling other runs.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, Self

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.tasks.dispatch._late_requests import LateRequests
from prefect_ollama.tasks.dispatch._locked_file import CAN_LOCK, LockedFile, read_locked
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._queue import Queue
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch._usage import SLOT_TIMEOUT_S

logger = logging.getLogger(__name__)

# The suffix distinguishes files of questions from those of runs (`_shared_limits.SUFFIX`) in the shared folder.
SUFFIX: Final = ".question"
NONE: Final[frozenset[str]] = frozenset()

# Seconds until an idle node looks for late work again, and a node without a slot asks for one again. No event says
# either: a request becomes late by time alone, and other processes release slots without a message.
POLL_S: Final = 0.05


class Asking:
    """A question that is being asked: a context manager. Several threads of a process have one each.

    Args:
        folder: The folder that runs share (`resolve.limits_folder`); None for none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder if CAN_LOCK else None
        self._file: LockedFile | None = None

    def at(self, urls: Collection[str]) -> None:
        """Let bulk work hold back at these nodes until the question is answered."""
        if self._folder is None or not urls:
            return
        try:
            if self._file is None:
                self._file = LockedFile(self._folder, SUFFIX, sorted(urls))
            else:
                self._file.write(sorted(urls))
        except (OSError, FolderNotPrivate) as error:
            logger.debug(
                "Runs do not hold back for a question: the folder %s fails (%s).", self._folder, error
            )
            self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def asked_urls(folder: Path | None) -> frozenset[str]:
    """Return the URLs of the nodes that questions wait for, by the folder that runs share."""
    if folder is None or not CAN_LOCK:
        return NONE
    found = (each for each in read_locked(folder, SUFFIX) if isinstance(each, list))
    return frozenset(url for urls in found for url in urls if isinstance(url, str))


class ForeignQuestions:
    """Holds bulk work back for questions of other processes. Used in one event loop.

    Args:
        limits: The shared limits, whose folder holds the questions.
        changed: Called some time after a question was seen, and when there is a new one.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        queue: Queue,
        late: LateRequests,
        limits: SharedLimits,
        changed: Callable[[], None],
    ) -> None:
        self._nodes, self._queue, self._late = nodes, queue, late
        self._limits, self._changed = limits, changed
        self._asked_since: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hold_back(self, now: float) -> None:
        """Send nothing to nodes that a question waits for, and take back what waits there.

        If questions never end, or their process is stopped, bulk work gets one request at a time.
        """
        asked = asked_urls(self._limits.folder)
        self._asked_since = {url: self._asked_since.get(url, now) for url in asked}
        head = self._queue.head()
        # A question whose requests have failed once waits in quarantine; it must not hold itself back.
        waiting = (*self._queue.quarantine, *([] if head is None else [head]))
        own = any(item.job.urgent for item in waiting)
        for node in self._nodes:
            since = self._asked_since.get(node.client.node.server)
            if since is not None:
                self._late.take_back_bulk(node, front=not own)
            for_too_long = since is not None and now - since > SLOT_TIMEOUT_S and not node.requests
            node.held_back = since is not None and not own and not for_too_long
        if self._timer is None and self._limits.folder is not None:
            self._poll_later()

    def stop(self) -> None:
        """Stop looking until work is held back again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        self._timer = None
        if self._asked_since or asked_urls(self._limits.folder):
            self._changed()
        else:
            self._poll_later()
