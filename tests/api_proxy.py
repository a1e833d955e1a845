"""A proxy before a Prefect server that counts the calls of its API, and can lose or hold up those of some paths."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

_CALL = re.compile(rb"^(GET|POST|PUT|PATCH|DELETE) (/\S*) HTTP/1\.1\r$", re.MULTILINE)


class ApiProxy:
    """Passes everything on, websockets too.

    Attributes:
        url: Of the API behind it.
        calls: Method and path of each call so far.
        lost: Calls that hold this, such as `PATCH /api/artifacts/`, find their connection closed; empty for none.
        held: Calls that hold this get no answer; empty for none.
    """

    def __init__(self, api_url: str) -> None:
        self._target = urlsplit(api_url)
        self.calls: list[str] = []
        self.lost = self.held = ""
        self.url = ""

    def calls_of(self, part: str) -> list[str]:
        """The calls that hold a part."""
        return [call for call in self.calls if part in call]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            await asyncio.gather(
                self._forward(reader, back, counted=True), self._forward(there, writer, counted=False)
            )

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if counted:
                    for method, path in _CALL.findall(data):
                        call = f"{method.decode()} {path.decode()}"
                        self.calls.append(call)
                        if self.lost and self.lost in call:
                            return
                        if self.held and self.held in call:
                            await asyncio.sleep(3600)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@contextlib.contextmanager
def api_proxy(api_url: str) -> Iterator[ApiProxy]:
    """Run a proxy in a thread."""
    proxy = ApiProxy(api_url)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(proxy._serve, "127.0.0.1", 0), loop
    ).result()
    port = server.sockets[0].getsockname()[1]
    proxy.url = f"http://127.0.0.1:{port}{proxy._target.path}"
    try:
        yield proxy
    finally:
        # What is on its way goes first: Prefect would try for a minute to send it to nobody.
        proxy.lost = proxy.held = ""
        APILogWorker.drain_all()
        EventsWorker.drain_all()

        async def end() -> None:
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(240)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(240)
        loop.close()
