"""Options that several commands take, and what they mean to the flows."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_ollama.blocks.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect_ollama.blocks.lance import StoreSpec
    from prefect_ollama.blocks.table import LanceTable
    from prefect_ollama.flows import Chunking, Reading
    from prefect_ollama.tasks.parsing import ParseOptions

ChatModelOption = Annotated[
    str | None,
    Parameter(help="Model that answers; the cluster's otherwise. Without one: sentences of the documents."),
]
JudgeModelOption = Annotated[
    str | None,
    Parameter(
        help="Model that judges whether quotes prove a sentence; it may be the chat model. The cluster's "
        "otherwise; without one, shared words and embeddings decide."
    ),
]
ExcludeOption = Annotated[
    tuple[str, ...],
    Parameter(
        show_default=False,
        help="Pattern of files or folders to leave out, as in a .gitignore (`drafts/`, `*-old.pdf`); may be given "
        "several times. Hidden files are left out in any case.",
    ),
]
YesOption = Annotated[
    bool,
    Parameter(
        name=["--yes", "-y"], negative="", help="Do it without asking. Needed where there is no terminal."
    ),
]
JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


@Parameter(name="*", help="How much the command says on stderr.")
@dataclass(frozen=True, slots=True)
class Loudness:
    """How much a command says on stderr.

    Attributes:
        quiet: Warnings and errors only, and no bar.
        verbose: Prefect's own log too.
    """

    quiet: Annotated[
        bool,
        Parameter(
            name=["--quiet", "-q"], negative="", help="Show warnings and errors only, besides the result."
        ),
    ] = False
    verbose: Annotated[
        bool, Parameter(name=["--verbose", "-v"], negative="", help="Show Prefect's own log too.")
    ] = False


NORMAL = Loudness()


@Parameter(name="*", help="The nodes and the model.")
@dataclass(frozen=True, slots=True)
class NodeOptions:
    """The nodes that a command uses, and their embedding model."""

    node: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--node", "-n"],
            show_default=False,
            help="URL of a node, or name of a saved node block; may be given several times. A URL that ends in /v1 "
            "names a server of the OpenAI API. "
            "Without: the node that OLLAMA_HOST names, else an Ollama on this host, else the embedded model.",
        ),
    ] = ()
    cluster: Annotated[str | None, Parameter(help="Name of a saved cluster block, in place of --node.")] = (
        None
    )
    model: Annotated[
        str | None,
        Parameter(name=["--model", "-m"], help="Embedding model; the table's or the cluster's otherwise."),
    ] = None

    def named(self) -> str | list[str] | None:
        """Return the nodes, as flows take them.

        Raises:
            ConfigurationError: The options name both nodes and a cluster.
        """
        if self.node and self.cluster:
            raise ConfigurationError("--node and --cluster are given both.", remedy="Give one of them.")
        return self.cluster or (list(self.node) or None)


@Parameter(name="*", help="The table.")
@dataclass(frozen=True, slots=True)
class TableOptions:
    """The table that a command uses."""

    uri: Annotated[
        str | None,
        Parameter(
            help="Folder or object store URL of the table's database; `lancedb` in Prefect's home otherwise."
        ),
    ] = None
    table: Annotated[
        str | None,
        Parameter(
            help="Name of a table in --uri (or in `lancedb` in Prefect's home); without --uri also a folder or URL "
            "(with a slash in it), or `block:NAME` for a saved table block. `documents` otherwise."
        ),
    ] = None
    block: Annotated[
        str | None, Parameter(help="Name of a saved table block, in place of --uri and --table.")
    ] = None

    def named(self) -> LanceTable:
        """Return the table.

        Raises:
            ConfigurationError: The options name it twice, it cannot be used, or there is no such block.
        """
        from prefect_ollama.blocks.by_address import DEFAULT_TABLE
        from prefect_ollama.blocks.lance import StoreSpec
        from prefect_ollama.blocks.resolve import table_of
        from prefect_ollama.blocks.table import LanceTable

        self._refuse_named_twice()
        if self.block is not None:
            return LanceTable.load_saved(self.block)
        if self.uri is None:
            return table_of(self.table)
        spec = StoreSpec(self.uri, self.table or DEFAULT_TABLE)
        return LanceTable.made(uri=spec.uri, table=spec.table)

    def place(self) -> StoreSpec:
        """Return the address of the table. Prefect, which takes a second to import, is imported only for a block.

        Raises:
            ConfigurationError: As for `named`.
        """
        from prefect_ollama.blocks.by_address import DEFAULT_TABLE, table_by_address
        from prefect_ollama.blocks.lance import StoreSpec

        self._refuse_named_twice()
        if self.uri is not None:
            spec = StoreSpec(self.uri, self.table or DEFAULT_TABLE)
            if not spec.remote:
                return spec
        elif self.block is None and (found := table_by_address(self.table)) is not None:
            return found
        return self.named().to_spec()

    def _refuse_named_twice(self) -> None:
        from prefect_ollama.blocks.by_address import BLOCK_PREFIX, is_place

        uri, table = self.uri, self.table
        if self.block is not None and (self.uri is not None or self.table is not None):
            raise ConfigurationError(
                "--block is given beside --uri or --table.", remedy="Give one or the other."
            )
        if uri is not None and table is not None and (is_place(table) or table.startswith(BLOCK_PREFIX)):
            raise ConfigurationError(
                f"--uri and --table both name a place: {uri!r} and {table!r}.",
                remedy="Give the place to --uri and a name to --table, or the place to --table alone.",
            )


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


NODES, TABLE, READING, SIZES = NodeOptions(), TableOptions(), ReadingOptions(), ChunkSizes()


def examples(*lines: str) -> str:
    """Return what a command's help ends in.

    Args:
        lines: Commands as they are typed.
    """
    return "\n".join(["Example:" if len(lines) == 1 else "Examples:", "", *(f"    {line}" for line in lines)])


def lines_of(file: Path, what: str) -> list[str]:
    """Return the lines of a text file, or of stdin for `-`.

    Args:
        file: The file.
        what: What each line holds, for an error ("password").

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The {what}s in {str(file)!r} cannot be read: {getattr(error, 'strerror', None) or error}.",
            state="Nothing was started.",
            remedy=f"Give a text file in UTF-8 with one {what} a line.",
        ) from None
    return text.splitlines()
