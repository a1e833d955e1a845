"""Sealed secrets, which are only in the memory of processes that need them.

Guarantees: a sealed secret is pickled as a ticket, from which it cannot be derived. So no task argument, persisted
result, log or cache holds it. Another process can open the ticket after it was given the secret (`give`); before that,
using it is an error. `without_secrets` removes the secrets of this process from any text.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from prefect_ollama.blocks.errors import ConfigurationError

# The same as pydantic's mask of a `SecretStr`.
MASK = "**********"

# Shortest secret that `without_secrets` looks for; a shorter one is part of too many words by chance.
MIN_HIDDEN_CHARACTERS = 4

# Tickets are keyed hashes with a random key, so nobody can test guesses of a secret against a ticket.
_KEY = secrets.token_bytes(32)
# Secrets by ticket: those of this process, those that others gave it, and those that texts must not show.
_known: dict[str, str] = {}
_given: dict[str, Mapping[str, str]] = {}
_to_hide: set[str] = set()


class Sealed(SecretStr):
    """A secret that is pickled as a ticket."""

    def __init__(self, secret: str | SecretStr) -> None:
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        super().__init__(value)
        data = value.encode("utf-8", "surrogatepass")
        self.ticket = hmac.new(_KEY, data, hashlib.sha256).hexdigest()
        _known[self.ticket] = value

    def get_secret_value(self) -> str:
        """Return the secret.

        Raises:
            ConfigurationError: It comes from another process, which did not give it to this one.
        """
        value = _find(self.ticket)
        if value is None:
            raise ConfigurationError(
                "A secret is missing: its block was pickled in another process, and secrets are not pickled.",
                remedy="Save the block and use its name; it is then loaded from the Prefect server.",
            )
        return value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sealed) and self.ticket == other.ticket:
            return True
        # Each process has its own key, so tickets of one secret may differ.
        return isinstance(other, SecretStr) and self.get_secret_value() == other.get_secret_value()

    def __hash__(self) -> int:
        return hash(self.get_secret_value())

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.ticket,)


def seal(secret: SecretStr) -> Sealed:
    """Return the secret sealed, and let `without_secrets` remove it from texts."""
    sealed = secret if isinstance(secret, Sealed) else Sealed(secret)
    remember_to_hide(sealed.get_secret_value())
    return sealed


def give(giver: str, values: Mapping[str, str]) -> None:
    """Store secrets that another process sealed.

    Args:
        giver: A name under which `take_back` removes them.
        values: The secrets, by ticket.
    """
    _given[giver] = dict(values)
    for value in values.values():
        remember_to_hide(value)


def take_back(giver: str) -> None:
    """Remove the secrets that were stored under a name."""
    _given.pop(giver, None)


def without_secrets(text: str) -> str:
    """Return the text with asterisks in place of every secret that this process hides."""
    for value in sorted(list(_to_hide), key=len, reverse=True):  # a copy: other threads add to it
        text = text.replace(value, MASK)
    return text


def safe_cause(error: BaseException) -> BaseException | None:
    """Return the error for use as a cause; None if its text holds a secret, which a traceback would show."""
    return error if without_secrets(str(error)) == str(error) else None


def remember_to_hide(secret: str) -> None:
    """Let `without_secrets` remove a secret from texts, with and without a scheme before it, such as `Bearer`."""
    _to_hide.update(each for each in (secret, secret.partition(" ")[2]) if len(each) >= MIN_HIDDEN_CHARACTERS)


def _find(ticket: str) -> str | None:
    if ticket in _known:
        return _known[ticket]
    return next((values[ticket] for values in list(_given.values()) if ticket in values), None)


def _unpickled(ticket: str) -> Sealed:
    sealed = Sealed.__new__(Sealed)
    sealed.ticket = ticket
    SecretStr.__init__(sealed, MASK)  # pydantic then shows the mask, even for an empty secret
    return sealed
