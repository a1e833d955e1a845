"""Why a file is refused: a word for it, the reason, and what to do next."""

from typing import Final

# Files are also read one by one, where nothing can be excluded.
_OR_WITHOUT: Final = "or ingest without it, by *Exclude* (`--exclude`)."
_OR_PARTIAL: Final = "or use *Allow partial documents* (`--allow-partial`)."

MORE_OCR_TIME: Final = "Raise *OCR time* (`--ocr-seconds`), or lower *OCR resolution* (`--ocr-dpi`)."

# What to do next, for every kind of refusal: options by their label in the form and on the command line.
REMEDIES: Final = {
    "missing": "It is dropped from the table at the next run unless it comes back.",
    "not-a-file": f"Only regular files are read; move it out of the folder, {_OR_WITHOUT}",
    "outside": "Copy the file into the source, or name its own folder as a source.",
    "changed": "Run again when nothing writes to it any more.",
    "unreadable": "Give the user that runs the flow the right to read it.",
    "empty": "Copy or download the file again.",
    "not-a-pdf": f"Convert it to PDF, {_OR_WITHOUT}",
    "damaged": "Open and save it with a PDF viewer, or get a fresh copy.",
    "no-pages": "The file was probably cut off; get a fresh copy.",
    "no-picture": "Open the file itself.",
    "page": "The file has changed since it was ingested: ingest it again.",
    "encrypted": "Give its password: under Passwords in the form, as `passwords` in Python, by --password-file or "
    "--ask-password on the command line.",
    "too-large": "If the file is what it should be, raise *Max pages* (`--max-pages`) or *Max text* (`--output-mb`).",
    "memory": f"If the file is what it should be, raise *Memory* (`--memory-mb`), {_OR_PARTIAL}",
    "cpu-time": f"If the file is what it should be, raise *CPU time* (`--cpu-seconds`), {_OR_PARTIAL}",
    "wall-time": f"If the file is what it should be, raise *Wall time* (`--wall-seconds`), {_OR_PARTIAL}",
    "crashed": f"The file breaks the parser. Open and save it with a PDF viewer, {_OR_WITHOUT}",
    "parser": "Run `python -m prefect_ollama.tasks.parsing.sandbox.child prefect_ollama.tasks.parsing.pdf.worker` on "
    "this host to see why it does not start.",
}

# Kinds that stand for a limit that was reached; what was read before may be kept.
LIMITS: Final = frozenset({"memory", "cpu-time", "wall-time", "crashed", "too-large"})


class Stopped(Exception):
    """Reading came to an end before the last page."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)  # what `pickle` makes it from again: it crosses Dask as a cause
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason
