"""Send secrets to the memory of Dask workers, apart from the tasks that need them.

Guarantees: a worker has a secret before it gets a task with the secret's ticket, even if the worker starts later or is
restarted. A worker receives only secrets of tasks for its role, so a process that reads PDFs has no token of a node.
Workers that outlive the runner drop the secrets at its end.

A Dask plugin carries the secrets, and Dask sends a plugin to every worker. A run's own workers have a key for their
role, and the plugin is encrypted with it. Workers that the run did not start drop secrets of other roles.
"""

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
        keys: The keys of the workers, by role; empty if the run did not start them.
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
        """Send the secrets in a task's arguments to the workers of its role (or to all), before the task itself."""
        role = role if role in self._roles else None
        # Mapped tasks share most of their arguments, and a search for secrets costs a millisecond.
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
        """Let the workers drop the secrets."""
        for name in self._plugins:
            with contextlib.suppress(OSError, TimeoutError):  # a scheduler that is gone has no workers left
                self._client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


class _Secrets(distributed.WorkerPlugin):
    """Holds secrets by ticket. Dask sends it to every worker, outside of task graphs."""

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
    """A pickler that collects the secrets which it meets; its output is dropped."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: dict[str, str] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Sealed):
            self.found[obj.ticket] = obj.get_secret_value()
        elif isinstance(obj, distributed.Future):
            return str, ()  # the workers have its result already
        return super().reducer_override(obj)


def _secrets_in(values: Any) -> dict[str, str]:
    """Return the secrets in values, by ticket. A value that cannot be pickled cannot reach a worker."""
    collector = _Collector()
    with contextlib.suppress(Exception):
        collector.dump(values)
    return collector.found
