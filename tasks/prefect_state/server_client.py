"""A client of Prefect's server for callers that must learn at once that it does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import SettingsContext, get_settings_context


@contextmanager
def quick_client(timeout_s: float) -> Iterator[SyncPrefectClient]:
    """Give a client of the current API that repeats no request. Its requests must be sent within the context.

    Args:
        timeout_s: Seconds that the server has to answer.
    """
    context = get_settings_context()
    # A copy. Prefect's `temporary_settings` reads the environment again, and fails if a value there became invalid.
    settings = context.settings.model_copy(
        update={"client": context.settings.client.model_copy(update={"max_retries": 0})}
    )
    with (
        SettingsContext(profile=context.profile, settings=settings),
        get_client(sync_client=True, httpx_settings={"timeout": httpx.Timeout(timeout_s)}) as client,
    ):
        yield client
