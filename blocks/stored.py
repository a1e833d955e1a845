"""What the blocks share: secrets stay out of errors and, once the block is saved, out of pickles."""

from __future__ import annotations

import logging
from abc import ABC
from copy import deepcopy
from typing import Any, ClassVar, Self
from uuid import UUID

from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from pydantic import ConfigDict, PrivateAttr, ValidationError
from pydantic.types import _SecretBase

from prefect_ollama.blocks.errors import ConfigurationError


class StoredBlock(Block, ABC):
    """A block that is pickled as a reference when it holds secrets and is on the server as it is here.

    Whoever unpickles it (a Dask worker) loads it from the server again. A block that was never saved, or
    was changed since, has no such place and is pickled with its secrets.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _as_saved: dict[str, Any] | None = PrivateAttr(None)

    @property
    def name(self) -> str:
        """Name it is saved under, empty where it is not."""
        return self._block_document_name or ""

    @property
    def logger(self) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
        """The run's logger inside a run, and one of this block's outside."""
        try:
            return get_run_logger()
        except MissingContextError:
            return get_logger(f"blocks.{self.get_block_type_slug()}")

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_block_document_id":
            # Prefect sets it when the block was loaded or saved: this is what the server has.
            self._as_saved = None if value is None else deepcopy(self.__dict__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        saved = self._block_document_id
        if saved is not None and self._as_saved == self.__dict__ and _holds_secret(self.__dict__):
            return _load_by_id, (type(self), saved)
        return super().__reduce_ex__(protocol)

    @classmethod
    def made(cls, **values: Any) -> Self:
        """Make a block that is not saved.

        Raises:
            ConfigurationError: A value is wrong; the text says which.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigurationError(
                f"This {cls.get_block_type_name()} cannot work: {field_errors(error)}.",
                state="Nothing was started.",
            ) from None

    @classmethod
    def load_named(cls, name: str) -> Self:
        """Load a saved block, from sync code or from a thread.

        Raises:
            ConfigurationError: There is none of this name, its values are wrong (the text says which), or the
                Prefect server can't be reached.
        """
        return cls._loaded(f"named {name!r}", lambda: cls.load(name, _sync=True))  # type: ignore[call-arg]

    @classmethod
    def load_by_id(cls, block_document_id: UUID) -> Self:
        """Load a saved block by its id; see `load_named`."""
        reference = {"block_document_id": str(block_document_id)}
        return cls._loaded(
            f"with id {block_document_id}",
            lambda: cls.load_from_ref(reference, _sync=True),  # type: ignore[call-arg]
        )

    @classmethod
    def _loaded(cls, which: str, load: Any) -> Self:
        kind = cls.get_block_type_name()
        try:
            block: Self = load()
        except ValueError as error:
            if "Unable to find" not in str(error):
                raise
            raise ConfigurationError(
                f"There is no {kind} block {which}.",
                state="Nothing was started.",
                remedy=f"Make it in the Prefect UI (Blocks, +, {kind}), or in Python with "
                f"`{cls.__name__}(…).save(…)`.",
            ) from None
        except RuntimeError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise _unreachable(kind, which, error) from error
            raise ConfigurationError(
                f"The {kind} block {which} cannot be used: {field_errors(error.__cause__)}.",
                state="Nothing was started.",
                remedy="Correct it in the Prefect UI (Blocks).",
            ) from None
        except Exception as error:
            raise _unreachable(kind, which, error) from error
        return block


def field_errors(error: ValidationError) -> str:
    """What is wrong, field by field, in one line and without the values."""
    lines = []
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(part) for part in each["loc"])
        what = each["msg"].removeprefix("Value error, ")
        lines.append(f"field {where!r}: {what}" if where else what)
    return "; ".join(lines)


def _unreachable(kind: str, which: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The {kind} block {which} cannot be loaded from the Prefect server ({error}).",
        state="Nothing was started.",
        remedy="Check PREFECT_API_URL and that the server runs; without a server, name nodes by their URLs.",
    )


def _holds_secret(values: dict[str, Any]) -> bool:
    return any(isinstance(value, _SecretBase) and value.get_secret_value() for value in values.values())


def _load_by_id(cls: type[StoredBlock], block_document_id: UUID) -> StoredBlock:
    return cls.load_by_id(block_document_id)
