"""Ctrl-C and SIGTERM on the command line: a message at once, and the end of the process within seconds.

Python runs the handler of a signal only between two of its own instructions, and a call into a library may take long.
So a thread also reads the signal from a socket, shows the message, and ends the process if nothing else does.
"""

import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

# Exit status by signal: 128 and the signal's number, as a shell reports it.
STATUS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}

# Time for a command to end in good order after the first signal; the process is gone a second later at most.
GRACE_S: Final = 3.5

# Time for the live display to leave the screen before the first line is written.
DISPLAY_STOP_S: Final = 0.7

# Seconds until an interruption that Python could not raise is raised again.
RAISE_AGAIN_S: Final = 0.05

# Rich hides the cursor while it shows a display, and cannot show it again in a process that ends at once.
_SHOW_CURSOR: Final = b"\x1b[?25h"


class Stopping:
    """Handles the signals of one process; `install` it in the main thread.

    Attributes:
        status: The exit status of the first signal; None before it.
        at_stop: Called in a thread of its own at the first signal, before the message.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.at_stop: Callable[[], None] | None = None
        self._again, self._announced = threading.Event(), threading.Event()
        self._raised = self._over = False
        self._ours = 0  # signals that this sent itself and that have not been read
        self._sender: socket.socket | None = None

    def install(self) -> None:
        """Handle the signals from now on."""
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        for number in STATUS:
            signal.signal(number, self._interrupt)
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        # The object must outlive this call. The end of an earlier one ends the thread that reads its signals.
        before, self._sender = self._sender, sender
        if before is not None:
            before.close()
        threading.Thread(target=self._listen, args=(receiver,), name="signals", daemon=True).start()

    def note(self, number: int) -> None:
        """Remember the first signal that came."""
        if self.status is None:
            self.status = STATUS[signal.Signals(number)]

    def finish(self) -> None:
        """Raise nothing from now on, because the command is done; end the process if a signal came."""
        self._over = True
        if self.status is None:
            return
        self.wait_until_announced()
        # The interpreter's own end waits for threads and frees what libraries hold, which took ten seconds. What has to
        # be done at the end, such as to stop Prefect's server, is registered here.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(self.status)

    def wait_until_announced(self) -> None:
        """Wait until the message is shown."""
        self._announced.wait(2 * DISPLAY_STOP_S)

    def _interrupt(self, number: int, _: Any) -> None:
        self.note(number)
        if not self._raised and not self._over:
            self._raised = True
            _suppress_messages(self._raise_again)
            raise KeyboardInterrupt

    def _raise_again(self, what: Any) -> None:
        """Raise the interruption again that came where Python can raise nothing, as while it imports or frees."""
        main = threading.main_thread()
        if issubclass(what.exc_type, KeyboardInterrupt) and threading.current_thread() is main:
            self._raised = False
            self._ours += 1
            # Later and as a signal: raised in here it would crash Python, and a call may wait meanwhile.
            again = threading.Timer(
                RAISE_AGAIN_S, lambda: signal.pthread_kill(main.ident or 0, signal.SIGINT)
            )
            again.daemon = True
            again.start()

    def _listen(self, receiver: socket.socket) -> None:
        came = 0
        with receiver:
            while data := receiver.recv(16):
                for number in data:
                    # Python writes the numbers of all signals there that have a handler.
                    if number not in STATUS:
                        continue
                    if self._ours:
                        self._ours -= 1
                        continue
                    self.note(number)
                    came += 1
                    if came == 1:
                        threading.Thread(target=self._stop, name="stopping", daemon=True).start()
                    else:
                        self._again.set()

    def _stop(self) -> None:
        if self.at_stop is not None:
            hook = threading.Thread(target=self.at_stop, name="at stop", daemon=True)
            hook.start()
            hook.join(DISPLAY_STOP_S)
        _print_line("Stopping…")
        self._announced.set()
        if self._again.wait(GRACE_S):
            _print_line("Stopped at once; what was under way is left as it is.")
        self.end()

    def end(self) -> None:
        """End the process now, and what it started."""
        _kill_children()
        with suppress(OSError, ValueError):
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
        os._exit(self.status or 1)


def _print_line(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


def _suppress_messages(unraised: Callable[[Any], None]) -> None:
    """Suppress messages of threads and objects that the interruption ends: the user knows the cause."""
    threading.excepthook = lambda _: None
    sys.unraisablehook = unraised
    if (warnings := sys.modules.get("warnings")) is not None:
        warnings.simplefilter("ignore")
    if (logging := sys.modules.get("logging")) is not None:
        for name in ("asyncio", "concurrent.futures", "distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _kill_children() -> None:
    # Each module that starts processes has imported this one before.
    if (psutil := sys.modules.get("psutil")) is None:
        return
    with suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()


# The `Stopping` of this process.
stopping: Final = Stopping()
