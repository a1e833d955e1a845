"""The output of a command: its result on stdout; on stderr errors and the flows' own log lines, without Prefect's.

Guarantees: what comes from outside is printable, whichever way it takes (`prefect_ollama.blocks.printable`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from prefect_ollama.blocks.errors import ConfigurationError, PrefectOllamaError, ServerLost
from prefect_ollama.blocks.printable import MAX_CHARACTERS, escape_json, printable
from prefect_ollama.options import PRINT, PrintOptions
from prefect_ollama.stopping import stopping

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

P = ParamSpec("P")

# Exit statuses.
OK, INCOMPLETE, USAGE = 0, 1, 2

# Importing Prefect takes a second or two, so this line comes first.
STARTING: Final = "Starting Prefect…"

# Seconds to send logs and states to Prefect's server after an interruption.
DRAIN_S: Final = 1.0

# Shown after an interruption, so that users know that the work done is kept.
KEPT: Final = "Stored documents are kept. Run again to continue."

_SERVER_AGAIN = "Start it, then run again; what was stored is kept."


def show(what: Any, rendered: RenderableType, out: PrintOptions) -> None:
    """Print a result on stdout: as JSON, or rendered."""
    # Imported here, because the import would delay the first line.
    from rich.console import Console

    if out.json:
        _show_json(what)
    else:
        with _written():
            Console().print(rendered)


def show_text(text: str) -> None:
    """Print a text on stdout in UTF-8, because the encoding of a terminal may lack characters of a document."""
    with _written():
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()


def _show_json(what: Any) -> None:
    import orjson

    document = orjson.dumps(_plain(what), option=orjson.OPT_INDENT_2, default=str).decode()
    show_text(f"{escape_json(document)}\n")


@contextmanager
def _written() -> Iterator[None]:
    """Report a failure to write to stdout: silently if its reader ended, such as `head`, otherwise as an error."""
    try:
        yield
    except OSError as error:
        # What is still in the buffer would fail again at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(INCOMPLETE) from None
        raise ConfigurationError(
            f"The output cannot be written: {error.strerror or error}.",
            state="The work is done, and its result is not shown.",
            remedy="Send the output to a place with free space, and run it again.",
        ) from None


def line(text: object, style: str = "", *, longest: int = MAX_CHARACTERS) -> Text:
    """Return a text as a foldable line or cell, in which Rich reads no markup."""
    from rich.text import Text

    return Text(printable(text, longest=longest), style=style, overflow="fold")


def _plain(value: Any) -> Any:
    """Return plain values whose texts are Unicode; an argument of a command need not be."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_plain(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value


def confirm(preview: RenderableType, *, yes: bool) -> bool:
    """Show on stderr what a command will do, and return whether to go on; with `yes` nothing is shown or asked.

    Raises:
        ConfigurationError: No terminal is there for the question.
    """
    if yes:
        return True
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(preview)
    # In a script no user would answer, and the command would wait for ever.
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigurationError(
            "This changes the table, and there is no terminal to ask at.",
            state="Nothing was changed.",
            remedy="To do what is shown above, run it again with --yes.",
        )
    console.print("Go on? [y/N] ", end="", markup=False)
    sys.stderr.flush()
    # Any other answer means no, also the end of the input.
    agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not agreed:
        console.print("Nothing was changed.")
    return agreed


def guarded(
    *, first: str = STARTING, kept: str = "", prefect: bool = True, out: PrintOptions = PRINT
) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Return a decorator of commands: errors of ours are shown as text, without a traceback, with an exit status.

    It reads the options `out` and `track` of the command, as far as the command has them. With `track` the command runs
    a flow.

    Args:
        first: Line to show at once, before what takes long is imported.
        kept: What an interrupted command leaves behind.
        prefect: Whether it runs flows. One that does not should not import Prefect, which takes a second.
        out: What a command prints that has no options for it.
    """

    def decorate(command: Callable[P, int]) -> Callable[P, int]:
        @wraps(command)
        def run(*args: P.args, **options: P.kwargs) -> int:
            named: dict[str, Any] = {"out": out, "track": False, **options}
            how, track = named["out"], named["track"]
            try:
                if not how.quiet:
                    print(STARTING if track else first, file=sys.stderr, flush=True)
                work = partial(command, *args, **options)
                return _with_errors_shown(work, how, prefect=prefect or track)
            except BaseException:
                # Any error after an interruption is its consequence, so the user sees no traceback.
                if stopping.status is None:
                    raise
                stopping.wait_until_announced()
                _tell("Interrupted.", kept, "")
                _drain()
                return stopping.status

        return run

    return decorate


def _drain() -> None:
    """Send what Prefect has not yet sent of logs and events, while its server is still there."""
    for module, name in (
        ("prefect.logging.handlers", "APILogWorker"),
        ("prefect.events.worker", "EventsWorker"),
    ):
        # Not imported here: a command that ran no flow has nothing to send, and would wait for the import.
        if (loaded := sys.modules.get(module)) is not None:
            getattr(loaded, name).drain_all(timeout=DRAIN_S)


def _with_errors_shown(run: Callable[[], int], out: PrintOptions, *, prefect: bool) -> int:
    """Run a command, and show its errors on stderr."""
    # Its import takes a moment, and the first line comes before.
    from prefect_ollama.log_lines import show_lines

    try:
        show_lines(out, prefect=prefect)
        return run()
    except PrefectOllamaError as error:
        if stopping.status is not None:
            raise
        _tell(error.cause, error.state, error.remedy)
        if out.json:
            _show_json({"error": type(error).__name__, "cause": error.cause, "remedy": error.remedy})
        # A script can try again after a failure; wrong usage fails again.
        return USAGE if isinstance(error, ConfigurationError) else INCOMPLETE
    except Exception as error:
        if stopping.status is not None:
            raise
        # Imported only here, because a command that succeeds does not need these modules.
        import httpx
        from prefect.exceptions import ParameterTypeError
        from pydantic import ValidationError

        from prefect_ollama.blocks.base import field_errors

        if isinstance(error, ParameterTypeError | ValidationError):
            _tell(field_errors(error) if isinstance(error, ValidationError) else str(error), "", "")
            return USAGE
        if isinstance(error, httpx.TransportError):
            # Prefect's engine could not record how the flow ended; the flow's own error is the context of this one.
            lost = error.__context__
            while lost is not None and not isinstance(lost, PrefectOllamaError):
                lost = lost.__context__
            known = lost or ServerLost(f"Prefect's server does not answer: {error}.", remedy=_SERVER_AGAIN)
            _tell(known.cause, known.state, known.remedy)
            return INCOMPLETE
        raise


def tell_note(text: str) -> None:
    """Print a note on stderr for the reader of the result."""
    _print(text, style="yellow")


def _tell(cause: str, state: str, remedy: str) -> None:
    _print("\n".join(part for part in (cause, state, remedy) if part), style="red")


def _print(text: str, *, style: str) -> None:
    from rich.console import Console

    # An error may list files or hold the output of a process, so it may be longer than a cell.
    shown = printable(text, lines=True, longest=20 * MAX_CHARACTERS)
    # Without highlights and folds, so that paths and commands can be copied from it.
    Console(stderr=True, highlight=False).print(shown, style=style, markup=False, soft_wrap=True)
