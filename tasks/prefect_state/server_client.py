"""A client of Prefect's server for callers that must learn at once that it does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import SettingsContext, get_settings_context


def changed_settings(context: SettingsContext, section: str, **values: Any) -> SettingsContext:
    """Return a copy of Prefect's settings with other values in a section, such as `client`.

    Prefect's `temporary_settings` reads the environment again, and fails if a value there became invalid.
    """
    changed = getattr(context.settings, section).model_copy(update=values)
    settings = context.settings.model_copy(update={section: changed})
    return SettingsContext(profile=context.profile, settings=settings)


@contextmanager
def quick_client(timeout_s: float) -> Iterator[SyncPrefectClient]:
    """Give a client of the current API that repeats no request. Its requests must be sent within the context.

    Args:
        timeout_s: Seconds that the server has to answer.
    """
    with (
        changed_settings(get_settings_context(), "client", max_retries=0),
        get_client(sync_client=True, httpx_settings={"timeout": httpx.Timeout(timeout_s)}) as client,
    ):
        yield client
