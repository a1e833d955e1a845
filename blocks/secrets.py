"""Secrets as the machinery holds them: they are in the memory of the processes that need them, and nowhere else.

Guarantees: a sealed secret is pickled as a ticket, which tells nothing of it, so neither a task's arguments nor
anything that is kept, logged or cached holds it; another process can open the ticket once it was given the secret
itself (`give`), and until then using it is an error that says so; `hidden` takes the secrets of this process out of
any text.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError

MASK = "**********"

# Characters of a secret that `hidden` looks for at least; a shorter one stands in too many words by chance.
SHORTEST = 4

_KEY = secrets.token_bytes(32)
_known: dict[str, str] = {}
_given: dict[str, Mapping[str, str]] = {}
_to_hide: set[str] = set()


class Sealed(SecretStr):
    """A secret that is pickled as a ticket.

    Args:
        secret: The secret.
    """

    def __init__(self, secret: str | SecretStr) -> None:
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        super().__init__(value)
        data = value.encode("utf-8", "surrogatepass")
        self.ticket = hmac.new(_KEY, data, hashlib.sha256).hexdigest()
        _known[self.ticket] = value

    def get_secret_value(self) -> str:
        """The secret.

        Raises:
            ConfigurationError: It comes from another process, which did not give it to this one.
        """
        value = _find(self.ticket)
        if value is None:
            raise ConfigurationError(
                "A secret did not come along: what holds it was pickled in another process, and secrets are not.",
                remedy="Save the block and name it; it is loaded from the Prefect server then.",
            )
        return value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sealed) and self.ticket == other.ticket:
            return True
        return isinstance(other, SecretStr) and self.get_secret_value() == other.get_secret_value()

    def __hash__(self) -> int:
        return hash(self.get_secret_value())

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.ticket,)


def seal(secret: SecretStr) -> Sealed:
    """The secret, sealed, and hidden in texts."""
    sealed = secret if isinstance(secret, Sealed) else Sealed(secret)
    hide(sealed.get_secret_value())
    return sealed


def give(giver: str, values: Mapping[str, str]) -> None:
    """Take in secrets that another process sealed.

    Args:
        giver: Who gives them; a name to `take_back` them by.
        values: By ticket.
    """
    _given[giver] = dict(values)
    for value in values.values():
        hide(value)


def take_back(giver: str) -> None:
    """Forget what was given."""
    _given.pop(giver, None)


def hidden(text: str) -> str:
    """The text with asterisks in place of every secret that this process hides."""
    for value in sorted(list(_to_hide), key=len, reverse=True):  # a copy: other threads add to it
        text = text.replace(value, MASK)
    return text


def harmless(error: BaseException) -> BaseException | None:
    """The error, as the cause of another one; None where its text holds a secret, which a traceback would show."""
    return error if hidden(str(error)) == str(error) else None


def hide(secret: str) -> None:
    """Let `hidden` take this out of texts, and what follows the name of a scheme in it, as in `Bearer …`."""
    _to_hide.update(each for each in (secret, secret.partition(" ")[2]) if len(each) >= SHORTEST)


def _find(ticket: str) -> str | None:
    if ticket in _known:
        return _known[ticket]
    return next((values[ticket] for values in list(_given.values()) if ticket in values), None)


def _unpickled(ticket: str) -> Sealed:
    sealed = Sealed.__new__(Sealed)
    sealed.ticket = ticket
    SecretStr.__init__(sealed, MASK)  # what pydantic shows, also of a secret that is empty
    return sealed
