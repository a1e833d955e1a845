"""Options of commands that read files: limits of a file, passwords, OCR, and the sizes of chunks."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.options import lines_of

if TYPE_CHECKING:
    from prefect_ollama.flows import Chunking, Reading
    from prefect_ollama.tasks.parsing import ParseOptions

# Of the settings of this project (`blocks/settings.py`); errors and help name it.
PASSWORD_VARIABLE = "PREFECT_INTEGRATIONS_OLLAMA_PASSWORD"


@Parameter(name="*", help="Passwords of encrypted files.")
@dataclass(frozen=True, slots=True)
class PasswordOptions:
    """Where passwords of encrypted files come from. None is ever on the command line, which other users can see."""

    password_file: Annotated[
        tuple[Path, ...],
        Parameter(
            show_default=False,
            help="File with passwords of encrypted files, one a line; each is tried on each of these files. May be "
            "given several times; `--password-file=-` reads stdin. The environment variable "
            "PREFECT_INTEGRATIONS_OLLAMA_PASSWORD may hold one more.",
        ),
    ] = ()
    ask_password: Annotated[
        bool, Parameter(negative="", help="Ask for a password of encrypted files, and do not show it.")
    ] = False

    def found(self) -> list[str]:
        """Return the passwords in the files, in the environment, and from the user.

        Raises:
            ConfigurationError: A file or a setting cannot be read, or there is no terminal to ask at.
        """
        from prefect_ollama.blocks.setting_files import extra_password

        found = [each for file in self.password_file for each in lines_of(file, "password")]
        if (named := extra_password()) is not None:
            found.append(named)
        if self.ask_password:
            if not sys.stdin.isatty():
                raise ConfigurationError(
                    "--ask-password needs a terminal.",
                    state="Nothing was started.",
                    remedy=f"Use --password-file, or set {PASSWORD_VARIABLE}.",
                )
            found.append(getpass("Password of encrypted files: "))
        return [each for each in dict.fromkeys(found) if each]


PASSWORDS = PasswordOptions()


# Every limit of this kind must let something through.
ABOVE_0 = Number(gt=0)


@Parameter(name="*", help="Limits of one file.")
@dataclass(frozen=True, slots=True)
class FileLimits:
    """Limits of one file. None leaves the default, which the field of the same name in the form `Reading` has."""

    max_pages: Annotated[int | None, Parameter(help="Pages that one file may have.", validator=ABOVE_0)] = (
        None
    )
    output_mb: Annotated[
        int | None,
        Parameter(help="MiB of text with its positions that one file may yield.", validator=ABOVE_0),
    ] = None
    memory_mb: Annotated[int | None, Parameter(help="MiB of memory for one file.", validator=ABOVE_0)] = None
    cpu_seconds: Annotated[
        float | None, Parameter(help="Seconds of CPU time for one file, without OCR.", validator=ABOVE_0)
    ] = None
    wall_seconds: Annotated[
        float | None, Parameter(help="Seconds by the clock for one file, without OCR.", validator=ABOVE_0)
    ] = None
    ocr_max_pages: Annotated[
        int | None,
        Parameter(help="Pages of one file that are read by OCR at most.", validator=Number(gte=0)),
    ] = None
    ocr_seconds: Annotated[
        float | None, Parameter(help="Seconds of OCR for one file.", validator=ABOVE_0)
    ] = None
    ocr_dpi: Annotated[
        int | None, Parameter(help="Dots per inch for OCR.", validator=Number(gte=50, lte=600))
    ] = None

    def given(self) -> dict[str, Any]:
        """Return the limits that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NO_LIMITS = FileLimits()


@Parameter(name="*", help="How files are read.")
@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How files are read."""

    allow_partial: Annotated[
        bool, Parameter(negative="", help="Keep the pages read before a limit stopped the parser.")
    ] = False
    ocr: Annotated[bool, Parameter(help="Read pages that are pictures of text.")] = True
    ocr_language: Annotated[tuple[str, ...], Parameter(help="Tesseract's name of a language on them.")] = (
        "eng",
    )
    running_heads: Annotated[
        Literal["drop", "keep"],
        Parameter(
            help="Running heads, feet and page numbers that repeat: `drop` lists them in the report, `keep` stores "
            "them."
        ),
    ] = "drop"
    # Groups within this group, so that a command can also have one of them alone.
    limits: FileLimits = NO_LIMITS
    secrets: PasswordOptions = PASSWORDS

    def _given(self) -> dict[str, Any]:
        ocr: dict[str, Any] = {"ocr": "auto" if self.ocr else "off", "ocr_languages": self.ocr_language}
        kept = {"allow_partial": self.allow_partial, "running_heads": self.running_heads}
        return ocr | kept | self.limits.given()

    def form(self) -> Reading:
        """Return the options as flows take them.

        Raises:
            ConfigurationError: A file of passwords cannot be read, or there is no terminal to ask at.
        """
        from pydantic import SecretStr

        from prefect_ollama.flows import Password, Reading

        found = [Password(password=SecretStr(each)) for each in self.secrets.found()]
        return Reading(**self._given() | {"ocr_languages": list(self.ocr_language)}, passwords=found)

    def options(self) -> ParseOptions:
        """Return the options of the parser, for a command that runs no flow.

        Raises:
            ConfigurationError: A file of passwords cannot be read, or there is no terminal to ask at.
        """
        from pydantic import SecretStr

        from prefect_ollama.tasks.parsing import ParseOptions

        found = tuple(("*", SecretStr(each)) for each in self.secrets.found())
        return ParseOptions(**self._given(), passwords=found)


@Parameter(name="*", help="Sizes of chunks.")
@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Sizes of chunks, in tokens. None leaves the default of the flow."""

    target_tokens: Annotated[
        int | None,
        Parameter(help="Tokens that a chunk has on average; 200 otherwise.", validator=Number(gte=16)),
    ] = None
    max_tokens: Annotated[
        int | None, Parameter(help="Tokens that no chunk exceeds; 256 otherwise.", validator=Number(gte=16))
    ] = None
    overlap_tokens: Annotated[
        int | None,
        Parameter(
            help="Tokens of the last sentences that the next chunk repeats, at most; 30 otherwise.",
            validator=Number(gte=0),
        ),
    ] = None
    min_tokens: Annotated[
        int | None,
        Parameter(
            help="Tokens below which a chunk is joined to its neighbour; 40 otherwise.",
            validator=Number(gte=0),
        ),
    ] = None
    context_tokens: Annotated[
        int | None,
        Parameter(
            help="Tokens, on top of the max, of title, running heads and headings that are embedded before a chunk and "
            "not shown, 0 for none; 48 otherwise. A table keeps that of its chunks until re-embed.",
            validator=Number(gte=0),
        ),
    ] = None

    def form(self) -> Chunking:
        """Return the sizes as flows take them.

        Raises:
            ConfigurationError: They do not fit together.
        """
        from pydantic import ValidationError

        from prefect_ollama.blocks.base import field_errors
        from prefect_ollama.flows import Chunking

        try:
            return Chunking(**{name: size for name, size in asdict(self).items() if size is not None})
        except ValidationError as error:
            sizes = ", ".join(
                f"--{name.replace('_', '-')} {tokens}" for name, tokens in Chunking().model_dump().items()
            )
            raise ConfigurationError(
                f"Chunks cannot have these sizes: {field_errors(error)}.",
                state="Nothing was started.",
                remedy=f"Without options they are {sizes}; give all that have to change.",
            ) from None


READING, SIZES = ReadingOptions(), ChunkSizes()
