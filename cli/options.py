"""Options of commands: how they are made, and those for the table and the output, which most commands take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

from cyclopts import UNSET, App, ArgumentCollection, CoercionError, Parameter
from cyclopts.validators import Number

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.user_path import with_home

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from prefect_ollama.blocks.lance import StoreSpec

T = TypeVar("T")


def flag(text: str, **more: Any) -> Parameter:
    """Return an option that its name alone switches on; `more` is as for `cyclopts.Parameter`."""
    # Cyclopts would add `--no-…`, which says nothing where an option is off anyway.
    return Parameter(negative="", help=text, **more)


def bounded(text: str, *, name: Sequence[str] | None = None, **bounds: float) -> Parameter:
    """Return an option for a number; bounds are as for `cyclopts.validators.Number`."""
    return Parameter(name=name, help=text, validator=Number(**bounds))


def refuse_ambiguous_values(_app: App, _names: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse values that commands would take for others. An app of Cyclopts takes it as `config`.

    An empty value would be the default, or a folder: usually it is a variable of a script that is not set. Cyclopts
    would round a fraction for a whole number.

    Raises:
        CoercionError: A value is empty, or an option for whole numbers has a value with a decimal point.
    """
    for argument in arguments:
        # The type of a number that may be absent or repeated is an argument of the option's type.
        whole = int in (argument.hint, *get_args(argument.hint))
        for token in argument.tokens:
            # An option that its name alone switches on has no text.
            if not token.value.strip() and token.implicit_value is UNSET:
                empty = "it is empty. Write a value, or leave it out."
                raise CoercionError(msg=empty, argument=argument, token=token)
            if whole and "." in token.value:
                raise CoercionError(argument=argument, token=token, target_type=int)


ExcludeOption = Annotated[
    tuple[str, ...],
    Parameter(
        show_default=False,
        help="Pattern of files or folders to leave out, as in a .gitignore (`drafts/`, `*-old.pdf`); may be given "
        "several times. Hidden files are left out in any case.",
    ),
]
YesOption = Annotated[
    bool, flag("Do it without asking. Needed where there is no terminal.", name=["--yes", "-y"])
]


@Parameter(name="*", help="What the command prints.")
@dataclass(frozen=True, slots=True)
class PrintOptions:
    """What a command prints: its result, and how much it says on stderr.

    Attributes:
        json: The result as JSON.
        quiet: Warnings and errors only, and no bar.
        verbose: Prefect's own log too.
    """

    json: Annotated[bool, flag("Print JSON for programs.", name="--json")] = False
    quiet: Annotated[
        bool, flag("Show warnings and errors only, besides the result.", name=["--quiet", "-q"])
    ] = False
    verbose: Annotated[bool, flag("Show Prefect's own log too.", name=["--verbose", "-v"])] = False


@Parameter(name="*", help="The table.")
@dataclass(frozen=True, slots=True)
class TableOptions:
    """The table that a command uses."""

    uri: Annotated[
        str | None,
        Parameter(
            help="Folder or object store URL of the table's database. By default `lancedb` in Prefect's home."
        ),
    ] = None
    table: Annotated[
        str | None,
        Parameter(
            help="Name of the table. By default `documents`. Without --uri it may also be a path or URL with a slash "
            "in it, of a database or of a table (`/data/papers.lance`), or `block:NAME` for a saved table block."
        ),
    ] = None
    block: Annotated[
        str | None, Parameter(help="Name of a saved table block, in place of --uri and --table.")
    ] = None

    def named(self) -> str | None:
        """Return the table, as flows take it.

        Raises:
            ConfigurationError: The options name it twice.
        """
        from prefect_ollama.blocks.resolve import BLOCK_PREFIX, DEFAULT_TABLE, is_place

        uri, table = self.uri, self.table
        if self.block is not None:
            if uri is not None or table is not None:
                raise ConfigurationError(
                    "--block is given beside --uri or --table.", remedy="Give one or the other."
                )
            return f"{BLOCK_PREFIX}{self.block}"
        if uri is None:
            return table
        if table is not None and (is_place(table) or table.startswith(BLOCK_PREFIX)):
            raise ConfigurationError(
                f"--uri and --table both name a place: {uri!r} and {table!r}.",
                remedy="Give the place to --uri and a name to --table, or the place to --table alone.",
            )
        return f"{uri.rstrip('/')}/{table or DEFAULT_TABLE}.lance"

    def place(self) -> StoreSpec:
        """Return the address of the table. Prefect, which takes a second to import, is imported only for a block.

        Raises:
            ConfigurationError: As for `named`; or it cannot be used, or there is no such block.
        """
        from prefect_ollama.blocks.resolve import resolve_table

        return resolve_table(self.named())


# Defaults of parameters, which may not be calls.
TABLE, PRINT = TableOptions(), PrintOptions()


def option_of(options: type[DataclassInstance], name: str, **more: Any) -> Parameter:
    """Return the command-line option for a field of options (`prefect_ollama.blocks.option`)."""
    (field,) = (each for each in fields(options) if each.name == name)
    return Parameter(help=field.metadata["help"], validator=_bounds(field), **more)


def with_bounds(options: type[T]) -> type[T]:
    """Let Cyclopts check the bounds of inherited fields, so that an error names the command-line option."""
    hints = get_type_hints(options, include_extras=True)
    for each in fields(options):  # type: ignore[arg-type]
        if each.metadata:
            # An empty default would show as two quotes; its help says what happens then.
            shown = None if each.default != "" else False
            parameter = Parameter(validator=_bounds(each), show_default=shown)
            hints[each.name] = Annotated[hints[each.name], parameter]
    # Cyclopts would look names of inherited annotations up in the module of the class that inherits them.
    options.__annotations__ = options.__init__.__annotations__ = hints
    return options


def _bounds(field: Field[Any]) -> Number | None:
    # Pydantic and Cyclopts name the same bounds differently.
    names = {"gt": "gt", "ge": "gte", "le": "lte"}
    bounds = {names[key]: value for key, value in field.metadata.items() if key in names}
    return Number(**bounds) if bounds else None


def examples(*lines: str) -> str:
    """Return the examples at the end of a command's help."""
    return "\n".join(["Example:" if len(lines) == 1 else "Examples:", "", *(f"    {line}" for line in lines)])


def lines_of(file: Path, what: str) -> list[str]:
    """Return the lines of a text file, or of stdin for `-`.

    Args:
        what: What each line holds, for an error ("password").

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else with_home(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The {what}s in {str(file)!r} cannot be read: {getattr(error, 'strerror', None) or error}.",
            state="Nothing was started.",
            remedy=f"Give a text file in UTF-8 with one {what} a line.",
        ) from None
    # Notepad writes a byte order mark.
    return text.removeprefix("\ufeff").splitlines()
