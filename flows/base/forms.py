"""Groups of parameters, which Prefect's form shows as blocks of fields, and which flows take as one value.

A form takes title, help, default and bounds of each field from the options that it inherits. An error in two values
of one group is reported before the flow starts.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, ClassVar, Self

from prefect.blocks.system import Secret
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.dataclasses import dataclass

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.option import option, values_of
from prefect_ollama.blocks.secrets import seal
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parsing import FilePassword, ParseOptions
from prefect_ollama.tasks.researching import Bounds
from prefect_ollama.tasks.searching import LAST_PAGE, Filter

# Without this a misspelled field would be dropped, and the run would start without it.
_FORM = ConfigDict(extra="forbid")


def _of_secret(value: Any) -> Any:
    # A Secret block may hold any JSON value, such as a number.
    return SecretStr(str(value.value.get_secret_value())) if isinstance(value, Secret) else value


class Password(BaseModel):
    """A password for encrypted files."""

    model_config = _FORM

    pattern: str = Field(
        "*",
        title="Pattern",
        description="Glob pattern of the files with this password, such as `bank/*.pdf`.",
    )
    # Sealed, so that it crosses Dask as a ticket and no task graph holds it.
    password: Annotated[
        SecretStr,
        BeforeValidator(_of_secret),
        AfterValidator(seal),
        # Prefect's form offers blocks where the schema has the slug of their type.
        WithJsonSchema(
            {
                "anyOf": [
                    {
                        "title": "Secret block",
                        "type": "object",
                        "block_type_slug": Secret.get_block_type_slug(),
                    },
                    {"title": "Written here", "type": "string", "format": "password"},
                ]
            }
        ),
    ] = Field(
        title="Password",
        description="It is tried on each encrypted file that matches the pattern. Everybody who can see the run in "
        "Prefect can read a password that is written here; a Secret block hides it.",
    )


# Forms inherit the fields of the options of a task; this adds the check that a form needs.
class _Form:
    _options: ClassVar[type[Any]]

    def __post_init__(self) -> None:
        # Here and not in the task, so that the form shows the error before the run starts.
        try:
            self.to_options()
        except ConfigurationError as error:
            raise ValueError(str(error)) from None

    def to_options(self) -> Any:
        """Return what tasks work with."""
        return self._options(**values_of(self))  # type: ignore[arg-type]  # dataclasses alone inherit it


@dataclass(frozen=True, config=_FORM)
class Reading(_Form, ParseOptions):
    """How files are read, and the limits of each file."""

    _options = ParseOptions
    # A password of a form may be that of a Secret block.
    passwords: Sequence[Password] = option((), "Passwords", "For encrypted files.")  # type: ignore[assignment]

    def to_options(self) -> ParseOptions:
        """Return the parser's options."""
        passwords = tuple(FilePassword(each.pattern, each.password) for each in self.passwords)
        return ParseOptions(**values_of(self) | {"passwords": passwords})


@dataclass(frozen=True, config=_FORM)
class Chunking(_Form, ChunkOptions):
    """Sizes of chunks, in the model's tokens. Other sizes need another table."""

    _options = ChunkOptions


@dataclass(frozen=True, config=_FORM)
class Limits(_Form, Bounds):
    """How much a research or a summary may take. Where a limit ends it, what was found until then is reported."""

    _options = Bounds


class Advanced(BaseModel):
    """Options that are rarely set."""

    model_config = _FORM

    remove_missing: bool = Field(
        True, title="Remove missing", description="Remove documents from the table whose file is gone."
    )
    allow_empty: bool = Field(
        False, title="Allow empty", description="Allow removing all documents of the source."
    )
    pull: bool = Field(
        False,
        title="Pull",
        description="Nodes without the model may download it, even if the cluster does not allow it.",
    )
    fail_if_files_fail: bool = Field(
        False,
        title="Fail if files fail",
        description="End the run as Failed if a file could not be read or is not stored whole. By default the run "
        "ends as Completed, and its message says how many files need attention. In both cases all other "
        "files are stored.",
    )
    use_cache: bool = Field(
        True,
        title="Use the cache",
        description="Keep vectors in the cache, so that no text is embedded twice.",
    )


class Only(BaseModel):
    """Conditions for the passages of a search; an empty one sets no condition."""

    model_config = _FORM

    documents: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        title="Documents",
        description="Paths (absolute, or within their source), file names, folders or glob patterns.",
    )
    # `None` has a title, so that the form shows it as a tab of its own.
    since: Annotated[date, Field(title="Day")] | Annotated[None, Field(title="Any day")] = Field(
        None, title="Since", description="Documents of this day or later, by their metadata or file."
    )
    until: Annotated[date, Field(title="Day")] | Annotated[None, Field(title="Any day")] = Field(
        None, title="Until", description="Documents of this day or earlier."
    )
    first_page: Annotated[int, Field(ge=1, title="Page")] | Annotated[None, Field(title="Any")] = Field(
        None, title="First page", description="Counted from 1."
    )
    last_page: Annotated[int, Field(ge=1, title="Page")] | Annotated[None, Field(title="Any")] = Field(
        None, title="Last page", description="Only passages on these pages are found."
    )
    title: str = Field("", title="Title", description="Documents with this text in their title.")
    author: str = Field("", title="Author", description="Documents with this text in their author.")

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        try:
            # Two days or pages in the wrong order are refused before the run starts.
            self.to_filter(None)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return self

    def to_filter(self, source: str | None) -> Filter:
        """Return the filter of a search, in this source alone if it is named."""
        # One of the two may be empty: from a page on, or up to a page.
        pages = (self.first_page or 1, self.last_page or LAST_PAGE)
        return Filter(
            source=source,
            documents=tuple(self.documents),
            since=self.since,
            until=self.until,
            pages=None if self.first_page is None and self.last_page is None else pages,
            title=self.title,
            author=self.author,
        )
