"""The options of parsing. With the defaults, the cost of each file is bounded."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.option import check_bounds, option

if TYPE_CHECKING:
    from pydantic import SecretStr


class FilePassword(NamedTuple):
    """A password for encrypted files.

    Attributes:
        pattern: A glob pattern, matched with the whole path and with the file name.
        password: The password.
    """

    pattern: str
    password: SecretStr


# Largest value of each limit for a file. Greater ones, such as infinity, do not fit into the limits of operating
# systems, and then no file could be read.
_UPPER_BOUND: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """Limits for each file, and how it is read.

    Raises:
        ConfigurationError: A value is out of its bounds, or is not one of the possible values.
    """

    ocr: Literal["auto", "off"] = option(
        "auto", "OCR", "Read pages that are pictures of text: `auto`, or `off` to report them only."
    )
    ocr_languages: Sequence[str] = option(
        ("eng",), "OCR languages", "Tesseract's names of the languages on such pages."
    )
    # 150 reads 97.6 % of words; 100 reads 95 % in half the time.
    ocr_dpi: int = option(150, "OCR resolution", "Dots per inch for OCR.", ge=50, le=600)
    running_heads: Literal["drop", "keep"] = option(
        "drop",
        "Running heads",
        "Running heads, feet and page numbers that repeat from page to page: `drop` removes them and lists them in the "
        "report, `keep` stores them with every page.",
    )
    # All that match a file are tried, in this order.
    passwords: Sequence[FilePassword] = option((), "Passwords", "For encrypted files.")
    # The missing pages are in `ParsedDocument.problems`.
    allow_partial: bool = option(
        False, "Allow partial documents", "Keep the pages that were read before a limit stopped the parser."
    )
    # Beyond the memory of the parser at rest.
    memory_mb: int = option(1024, "Memory", "MiB of memory for one file.", gt=0, le=_UPPER_BOUND)
    cpu_seconds: float = option(
        60, "CPU time", "Seconds of CPU time for one file, without OCR.", gt=0, le=_UPPER_BOUND
    )
    wall_seconds: float = option(
        180, "Wall time", "Seconds by the clock for one file, without OCR.", gt=0, le=_UPPER_BOUND
    )
    max_pages: int = option(50_000, "Max pages", "Pages that one file may have.", gt=0, le=_UPPER_BOUND)
    output_mb: int = option(
        256, "Max text", "MiB of text with its positions that one file may yield.", gt=0, le=_UPPER_BOUND
    )
    ocr_max_pages: int = option(
        200, "OCR pages", "Pages of one file that are read by OCR at most.", ge=0, le=_UPPER_BOUND
    )
    ocr_seconds: float = option(600, "OCR time", "Seconds of OCR for one file.", gt=0, le=_UPPER_BOUND)
    tables: bool = option(True, "Tables", "Read tables as tables, and not as running text.")
    tessdata: str = option(
        "",
        "Tesseract data",
        "Folder with Tesseract's language data on the machines that parse. By default the usual places.",
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.running_heads not in ("drop", "keep"):
            raise ConfigurationError(
                f"ParseOptions.running_heads is {self.running_heads!r}, and must be 'drop' or 'keep'.",
                remedy="Use 'keep' to store running heads and page numbers on every page.",
            )
        if self.ocr not in ("auto", "off"):
            raise ConfigurationError(
                f"ParseOptions.ocr is {self.ocr!r}, and must be 'auto' or 'off'.",
                remedy="Use 'off' to leave scanned pages out; they are reported then.",
            )
        if not self.ocr_languages or not all(part.replace("_", "").isalnum() for part in self.ocr_languages):
            raise ConfigurationError(
                f"ParseOptions.ocr_languages is {self.ocr_languages!r}, and must hold Tesseract's names.",
                remedy="For example ('eng',) or ('deu', 'eng').",
            )
        if self.passwords:
            # Imported here, because commands read these options and pydantic takes a tenth of a second.
            from prefect_ollama.blocks.secrets import seal

            sealed = tuple(FilePassword(pattern, seal(password)) for pattern, password in self.passwords)
            object.__setattr__(self, "passwords", sealed)

    def passwords_for(self, path: Path) -> tuple[str, ...]:
        """Return the passwords whose pattern matches the path, in the order of `passwords`."""
        whole, name = path.as_posix(), path.name
        return tuple(
            secret.get_secret_value()
            for pattern, secret in self.passwords
            if fnmatch.fnmatchcase(whole, pattern) or fnmatch.fnmatchcase(name, pattern)
        )
