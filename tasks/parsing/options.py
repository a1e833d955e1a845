"""The options of parsing. With the defaults, the cost of each file is bounded."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.secrets import seal


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """Limits for each file, and how it is read.

    Attributes:
        memory_mb: Memory that the parser may use for one file, beyond its memory at rest, in MiB.
        cpu_seconds: CPU time for one file, in seconds, without OCR.
        wall_seconds: Time by the clock for one file, in seconds, without OCR.
        output_mb: Text with its positions that one file may yield, in MiB.
        max_pages: Pages that one file may have.
        passwords: Pairs of a glob pattern (matched with the whole path and with the file name) and a password, for
            encrypted files. Every password whose pattern matches is tried, in this order.
        allow_partial: Keep the pages that were read before a limit stopped the parser, and do not refuse the file. The
            missing pages are listed in `ParsedDocument.problems`.
        tables: Look for tables on pages that show a sign of one.
        running_heads: "drop" removes running heads and feet that repeat, and page numbers; "keep" keeps them.
        ocr: "auto" reads pages that are pictures of text; "off" only reports them.
        ocr_languages: Tesseract's names of the languages on the pages ("eng", "deu", …).
        ocr_dpi: Resolution at which a page is drawn for OCR. 150 reads 97.6 % of words; 100 reads 95 % in half the
            time.
        ocr_max_pages: Pages of one file that are read by OCR at most.
        ocr_seconds: Time for all OCR of one file, in seconds, in addition to the other limits.
        tessdata: Folder with Tesseract's language data; by default MuPDF finds it.
    """

    memory_mb: int = 1024
    cpu_seconds: float = 60.0
    wall_seconds: float = 180.0
    output_mb: int = 256
    max_pages: int = 50_000
    passwords: tuple[tuple[str, SecretStr], ...] = ()
    allow_partial: bool = False
    tables: bool = True
    running_heads: Literal["drop", "keep"] = "drop"
    ocr: Literal["auto", "off"] = "auto"
    ocr_languages: tuple[str, ...] = ("eng",)
    ocr_dpi: int = 150
    ocr_max_pages: int = 200
    ocr_seconds: float = 600.0
    tessdata: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "passwords", tuple((name, seal(secret)) for name, secret in self.passwords))
        for name in ("memory_mb", "cpu_seconds", "wall_seconds", "output_mb", "max_pages", "ocr_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(
                    f"ParseOptions.{name} is {getattr(self, name)!r}, and must be above 0.",
                    remedy="Give a limit, or leave the default.",
                )
        if not 50 <= self.ocr_dpi <= 600:
            raise ConfigurationError(
                f"ParseOptions.ocr_dpi is {self.ocr_dpi!r}, and must lie between 50 and 600.",
                remedy="150 suits most scans; small print needs 200 to 300.",
            )
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

    def passwords_for(self, path: Path) -> tuple[str, ...]:
        """Return the passwords whose pattern matches the path, in the order of `passwords`."""
        whole, name = path.as_posix(), path.name
        return tuple(
            secret.get_secret_value()
            for pattern, secret in self.passwords
            if fnmatch.fnmatchcase(whole, pattern) or fnmatch.fnmatchcase(name, pattern)
        )
