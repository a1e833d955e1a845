"""The way of secrets to Dask workers: into their memory, apart from the tasks that need them.

Guarantees: a worker has a secret before it gets a task that holds its ticket, also one that starts later or anew; it
gets only secrets of tasks that run on its role, so that what reads PDFs knows no token of a node; workers that outlive
the runner forget them at its end.

Dask brings a plugin to every worker. A run's own workers have a key for their role, and what is in the plugin is
encrypted with it. Workers that somebody else started drop what is not for their role.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import distributed
from cryptography.fernet import Fernet

from prefect_ollama.blocks.secrets import Sealed, give, take_back


class WorkerSecrets:
    """Gives secrets to the workers of a client.

    Args:
        client: The client.
        name: Name that no other one has.
        roles: The roles that workers of the client offer.
        keys: By role, the keys that the workers have; none where others started them.
    """

    def __init__(
        self,
        client: distributed.Client,
        name: str,
        roles: Iterable[str] = (),
        keys: Mapping[str, bytes] | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._roles = tuple(roles)
        self._keys = keys or {}
        self._given: set[tuple[str | None, str]] = set()
        self._looked_at: dict[tuple[str | None, str], Any] = {}
        self._plugins: list[str] = []

    def of(self, arguments: Mapping[str, Any], role: str | None = None) -> None:
        """Give the workers of a role the secrets in a task's arguments, by name, which they will be sent next.

        Args:
            arguments: The arguments.
            role: Where the task runs; None for anywhere.
        """
        role = role if role in self._roles else None
        # Mapped tasks share some of their arguments, and to look for secrets costs a millisecond.
        others = {
            name: each for name, each in arguments.items() if self._looked_at.get((role, name)) is not each
        }
        self._looked_at |= {(role, name): each for name, each in others.items()}
        new = {
            ticket: secret
            for ticket, secret in _secrets_in(others).items()
            if (role, ticket) not in self._given
        }
        if not new:
            return
        for each in (role,) if role or not self._keys else self._keys:
            name = f"{self._name}-{len(self._plugins)}"
            self._client.register_plugin(_Secrets(name, each, new, self._keys.get(each or "")))
            self._plugins.append(name)
        self._given |= {(role, ticket) for ticket in new}

    def end(self) -> None:
        """Let the workers forget what they were given."""
        for name in self._plugins:
            with contextlib.suppress(OSError, TimeoutError):  # a scheduler that is gone has none to tell
                self._client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


class _Secrets(distributed.WorkerPlugin):
    """Holds secrets by ticket; Dask brings it to every worker, in its own connections and not in a task."""

    def __init__(self, name: str, role: str | None, secrets: dict[str, str], key: bytes | None) -> None:
        self.name = name
        self._role = role
        self._encrypted = key is not None
        data = json.dumps(secrets).encode()
        self._data = data if key is None else Fernet(key).encrypt(data)

    def setup(self, worker: distributed.Worker) -> None:
        if self._encrypted:
            role, key = getattr(worker, "role_key", (None, b""))
            if role == self._role:
                give(self.name, json.loads(Fernet(key).decrypt(self._data)))
        elif self._role is None or self._role in worker.state.total_resources:
            give(self.name, json.loads(self._data))
        else:
            self._data = b""

    def teardown(self, worker: distributed.Worker) -> None:
        take_back(self.name)


class _Collector(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that is used for what it sees."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: dict[str, str] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Sealed):
            self.found[obj.ticket] = obj.get_secret_value()
        elif isinstance(obj, distributed.Future):
            return str, ()  # what is in it is with the workers already
        return super().reducer_override(obj)


def _secrets_in(values: Any) -> dict[str, str]:
    """Secrets by ticket. What cannot be pickled holds none that a worker could get."""
    collector = _Collector()
    with contextlib.suppress(Exception):
        collector.dump(values)
    return collector.found
