"""The way of secrets to Dask workers: into their memory, apart from the tasks that need them.

Guarantees: a worker has a secret before it gets a task that holds its ticket, also one that starts later or anew; it
gets those only that are in what this runner sends; workers that outlive the runner forget them at its end.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import distributed

from prefect_ollama.blocks.sealed import Sealed, give, take_back


class Handover:
    """Gives secrets to the workers of a client.

    Args:
        client: The client.
        name: Name that no other one has.
    """

    def __init__(self, client: distributed.Client, name: str) -> None:
        self._client = client
        self._name = name
        self._given: set[str] = set()
        self._looked_at: dict[str, Any] = {}
        self._plugins: list[str] = []

    def of(self, arguments: Mapping[str, Any]) -> None:
        """Give the workers the secrets in a task's arguments, by name, which they will be sent next."""
        # Mapped tasks share some of their arguments, and to look for secrets costs a millisecond.
        others = {name: each for name, each in arguments.items() if self._looked_at.get(name) is not each}
        self._looked_at |= others
        new = {ticket: secret for ticket, secret in _secrets_in(others).items() if ticket not in self._given}
        if not new:
            return
        name = f"{self._name}-{len(self._plugins)}"
        self._client.register_plugin(_Secrets(name, new))
        self._plugins.append(name)
        self._given |= new.keys()

    def end(self) -> None:
        """Let the workers forget what they were given."""
        for name in self._plugins:
            with contextlib.suppress(OSError, TimeoutError):  # a scheduler that is gone has none to tell
                self._client.unregister_worker_plugin(name)  # type: ignore[no-untyped-call]


class _Secrets(distributed.WorkerPlugin):
    """Holds secrets by ticket; Dask brings it to every worker, in its own connections and not in a task."""

    def __init__(self, name: str, secrets: dict[str, str]) -> None:
        self.name = name
        self._secrets = secrets

    def setup(self, worker: distributed.Worker) -> None:
        give(self.name, self._secrets)

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
