"""The base of all blocks. The base class keeps secrets out of errors and pickles."""

import re
from abc import ABC
from copy import deepcopy
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

import httpx
from prefect.blocks.core import Block, schema_extra
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import PrefectException
from prefect.types import SecretDict
from pydantic import (
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    SecretStr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import proxy_hint
from prefect_ollama.blocks.secrets import Sealed

# The names that Prefect allows for blocks.
BLOCK_NAME = re.compile(r"[a-z0-9-]+")


def _form(schema: dict[str, Any], model: type[Block]) -> None:
    """Complete the schema of a block's form, without the tab "None" of fields that may be empty.

    The form omits an empty field, so such a tab would only be a second way to leave a field empty.
    """
    schema_extra(schema, model)
    for position, field in enumerate(schema["properties"].values()):
        if field.get("default", ...) is None:
            del field["default"]
        for kind in field.pop("anyOf", []):
            field.update({} if kind == {"type": "null"} else kind)
        field["position"] = position


# Names and secret values; the form sends null for an empty field.
Secrets = Annotated[SecretDict, BeforeValidator(lambda value: {} if value is None else value)]


class StoredBlock(Block, ABC):
    """A block that is pickled as a reference, if it holds secrets and is unchanged since it was saved or loaded.

    The process that unpickles it (a Dask worker) loads it from the server again. A block that was never saved, or was
    changed since, is pickled with sealed secrets. So the pickle works only in this process, and in processes that were
    given the secrets.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True, json_schema_extra=_form)

    _as_saved: dict[str, Any] | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, values: Any) -> Any:
        # Prefect's base class keeps any further value, so a misspelled field would have no effect.
        for name in cls._unknown(values) if isinstance(values, dict) else ():
            near = get_close_matches(name, cls.model_fields, 1)
            hint = (
                f"the nearest one is {near[0]!r}" if near else f"its fields are {', '.join(cls.model_fields)}"
            )
            raise ValueError(f"there is no field {name!r}; {hint}")
        return values

    @classmethod
    def _unknown(cls, values: dict[str, Any]) -> list[str]:
        """Return the names that are neither fields nor Prefect's own."""
        own = ("block_type_slug", "_")
        return [name for name in values if name not in cls.model_fields and not name.startswith(own)]

    @property
    def name(self) -> str:
        """The name under which it is saved; empty if it is not saved."""
        return self._block_document_name or ""

    @property
    def unchanged(self) -> bool:
        """Whether the server has the same values, as far as this process knows."""
        return self._as_saved is not None and self._as_saved == self.__dict__

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_block_document_id":
            # Prefect sets this id when the block is loaded or saved, so these are the values on the server.
            self._as_saved = None if value is None else deepcopy(self.__dict__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The other process loads the block from the server, so the pickle needs no secret.
        if self.unchanged and any(_is_secret(value) for value in self.__dict__.values()):
            return type(self).load_saved, (self._block_document_id,)
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private = state["__pydantic_private__"]
        sealed = {name: _with_sealed_secrets(value) for name, value in state["__dict__"].items()}
        return {**state, "__dict__": sealed, "__pydantic_private__": {**(private or {}), "_as_saved": None}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        plain = {name: _with_plain_secrets(value) for name, value in state["__dict__"].items()}
        super().__setstate__({**state, "__dict__": plain})

    @model_serializer(mode="wrap")
    def ser_model(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """Omit empty secret dicts from the stored values.

        Prefect's API returns any secret dict as `"********"`, even an empty one. Its form then refuses to save the
        block again, because that is no object.
        """
        data = super().ser_model(handler, info)
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretDict) and not value.get_secret_value():
                data.pop(name, None)
        return data

    @classmethod
    def load_saved(cls, named: str | UUID, *, hint: str = "") -> Self:
        """Load a saved block by its name or id. The call blocks, also in async code.

        Args:
            named: Its name or id.
            hint: A further hint in the error if there is no such block.

        Raises:
            ConfigurationError: No block has this name, its values are invalid (the text names them), or the Prefect
                server cannot be reached.
        """
        block = cls.find(named)
        if block is None:
            kind = cls.get_block_type_name()
            raise ConfigurationError(
                f"There is no {kind} block {_name_or_id(named)}.",
                state="Nothing was started.",
                remedy=f"Make it in the Prefect UI (Blocks, +, {kind}), or in Python with "
                f"`{cls.__name__}(…).save(…)`.{hint}",
            )
        return block

    @classmethod
    def find(cls, named: str | UUID) -> Self | None:
        """Load a saved block by its name or id; return None if there is none of this type.

        Raises:
            ConfigurationError: Its values are invalid, or the Prefect server cannot be reached.
        """
        try:
            block: Self = cls._read(named)
        except ValueError as error:
            if "Unable to find" not in str(error):
                raise
            return None
        except (PrefectException, httpx.HTTPError, RuntimeError, OSError) as error:
            raise ConfigurationError(
                f"The {cls.get_block_type_name()} block {_name_or_id(named)} cannot be loaded from the Prefect server "
                f"({error}).",
                state="Nothing was started.",
                remedy="Check PREFECT_API_URL and that the server runs. Without a server, name nodes by URLs."
                + proxy_hint(),
            ) from error
        return block

    @classmethod
    def _read(cls, named: str | UUID) -> Any:
        if isinstance(named, UUID):
            return cls.load_from_ref({"block_document_id": str(named)}, _sync=True)  # type: ignore[call-arg]
        # Prefect puts the name into a URL path without escaping it, so `../` in it would request another resource.
        if not BLOCK_NAME.fullmatch(named):
            raise ValueError("Unable to find a block whose name no block can have.")
        return cls.load(named, _sync=True)  # type: ignore[call-arg]

    @classmethod
    def _load_from_block_document(cls, block_document: BlockDocument, validate: bool = True) -> Self:
        # Every method that loads a block calls this. The server accepts values that the block refuses, and Prefect's
        # own error does not name them. Prefect also does not check that a block has the requested type.
        kind = block_document.block_type
        if kind is not None and kind.slug != cls.get_block_type_slug():
            raise ValueError(f"Unable to find a block of the type {cls.get_block_type_slug()!r}.")
        # An earlier or later version may have saved fields that this one lacks.
        unknown = cls._unknown(block_document.data)
        data = {name: value for name, value in block_document.data.items() if name not in unknown}
        try:
            return super()._load_from_block_document(
                block_document.model_copy(update={"data": data}), validate=validate
            )
        except RuntimeError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            raise ConfigurationError(
                f"The {cls.get_block_type_name()} block named {block_document.name!r} cannot be used: "
                f"{field_errors(error.__cause__)}.",
                state="Nothing was started.",
                remedy="Correct it in the Prefect UI (Blocks).",
            ) from None


def field_errors(error: ValidationError) -> str:
    """Return the errors of each field in one line, without the values."""
    lines = []
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in each["loc"] if isinstance(part, int) or part.isidentifier())
        what = each["msg"].removeprefix("Value error, ")
        lines.append(f"field {where!r}: {what}" if where else what)
    return "; ".join(dict.fromkeys(lines))


def refuse_mask(secret: str) -> None:
    """Refuse the mask that Prefect's API shows in place of a secret, because a user may have copied it.

    Raises:
        ValueError: It consists of asterisks only.
    """
    if secret and not secret.strip("*"):
        raise ValueError("this is the mask that is shown in place of a secret; write the secret itself")


def _is_secret(value: Any) -> bool:
    return isinstance(value, SecretStr | SecretDict) and bool(value.get_secret_value())


def _with_sealed_secrets(value: Any) -> Any:
    if isinstance(value, SecretDict):
        return SecretDict({name: Sealed(secret) for name, secret in value.get_secret_value().items()})
    return Sealed(value) if isinstance(value, SecretStr) else value


def _with_plain_secrets(value: Any) -> Any:
    if isinstance(value, SecretDict):
        return SecretDict(
            {name: secret.get_secret_value() for name, secret in value.get_secret_value().items()}
        )
    return SecretStr(value.get_secret_value()) if isinstance(value, Sealed) else value


def _name_or_id(named: str | UUID) -> str:
    return f"with id {str(named)!r}" if isinstance(named, UUID) else f"named {named!r}"
