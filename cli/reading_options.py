"""Options of commands that read files: limits of a file, passwords, OCR, and the sizes of chunks."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.option import values_of
from prefect_ollama.options import flag, lines_of, option_of, with_bounds
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parsing import FilePassword, ParseOptions

if TYPE_CHECKING:
    from prefect_ollama.flows import Chunking, Reading

# Of the settings of this project (`blocks/settings.py`); errors and help name it.
PASSWORD_VARIABLE = "PREFECT_INTEGRATIONS_OLLAMA_PASSWORD"


@Parameter(name="*", help="Passwords of encrypted files.")
@dataclass(frozen=True, slots=True)
class PasswordOptions:
    """Sources of passwords for encrypted files. No password is on the command line, which other users can see."""

    password_file: Annotated[
        tuple[Path, ...],
        Parameter(
            show_default=False,
            help="File with passwords of encrypted files, one a line; each is tried on each of these files. May be "
            "given several times; `--password-file=-` reads stdin. The environment variable "
            "PREFECT_INTEGRATIONS_OLLAMA_PASSWORD may hold one more.",
        ),
    ] = ()
    ask_password: Annotated[bool, flag("Ask for a password of encrypted files, and do not show it.")] = False

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
            # In a script no user would answer, and the command would wait for ever.
            if not sys.stdin.isatty():
                raise ConfigurationError(
                    "--ask-password needs a terminal.",
                    state="Nothing was started.",
                    remedy=f"Use --password-file, or set {PASSWORD_VARIABLE}.",
                )
            found.append(getpass("Password of encrypted files: "))
        # Each password is tried on each encrypted file, so a second copy would cost time.
        return [each for each in dict.fromkeys(found) if each]


PASSWORDS = PasswordOptions()


@with_bounds
@Parameter(name="*", help="How files are read.")
@dataclass(frozen=True, slots=True)
class ReadingOptions(ParseOptions):
    """How files are read."""

    # The command line and the form write these values differently.
    ocr: Annotated[bool, Parameter(help="Read pages that are pictures of text.")] = True  # type: ignore[assignment]
    ocr_languages: Annotated[
        tuple[str, ...],
        Parameter(
            name="--ocr-language",
            show_default=", ".join,
            help="Tesseract's name of a language on such pages; may be given several times.",
        ),
    ] = ("eng",)
    allow_partial: Annotated[bool, option_of(ParseOptions, "allow_partial", negative="")] = False
    passwords: PasswordOptions = PASSWORDS  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Leave the checks to `form` and `options`, which run within the command."""

    def form(self) -> Reading:
        """Return the options as flows take them.

        Raises:
            ConfigurationError: A file of passwords cannot be read, or there is no terminal to ask at.
        """
        from pydantic import SecretStr

        from prefect_ollama.flows import Password, Reading

        found = [Password(password=SecretStr(each)) for each in self.passwords.found()]
        return Reading(**self._plain() | {"passwords": found})

    def options(self) -> ParseOptions:
        """Return the options of the parser, for a command that runs no flow.

        Raises:
            ConfigurationError: A file of passwords cannot be read, or there is no terminal to ask at.
        """
        from pydantic import SecretStr

        found = tuple(FilePassword("*", SecretStr(each)) for each in self.passwords.found())
        return ParseOptions(**self._plain() | {"passwords": found})

    def _plain(self) -> dict[str, Any]:
        return values_of(self) | {"ocr": "auto" if self.ocr else "off"}


@with_bounds
@Parameter(name="*", help="Sizes of chunks.")
@dataclass(frozen=True, slots=True)
class ChunkSizes(ChunkOptions):
    """Sizes of chunks, in tokens."""

    def __post_init__(self) -> None:
        """Leave the check whether they fit together to `form`, whose error names the options to give."""

    def form(self) -> Chunking:
        """Return the sizes as flows take them.

        Raises:
            ConfigurationError: They do not fit together.
        """
        from pydantic import ValidationError

        from prefect_ollama.blocks.base import field_errors
        from prefect_ollama.flows import Chunking

        try:
            return Chunking(**values_of(self))
        except ValidationError as error:
            sizes = ", ".join(f"--{each.name.replace('_', '-')} {each.default}" for each in fields(self))
            raise ConfigurationError(
                f"Chunks cannot have these sizes: {field_errors(error).rstrip('.')}.",
                state="Nothing was started.",
                remedy=f"Without options they are {sizes}; give all that have to change.",
            ) from None


READING, SIZES = ReadingOptions(), ChunkSizes()
