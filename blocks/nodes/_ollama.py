"""Ollama's API: one node and one model. Answers are complete and checked, or an error names the cause.

Source of the calls: https://docs.ollama.com/api.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from prefect_ollama.blocks.errors import NodeAnswerError, NodeFailed, NodeRefused, NodeUnreachable
from prefect_ollama.blocks.nodes._body import (
    LIST_BOUNDS,
    SHOW_BOUNDS,
    VERSION_BOUNDS,
    Bounds,
    checked,
    embed_bounds,
    json_lines,
    member,
)
from prefect_ollama.blocks.nodes._dialects import OLLAMA, Dialect
from prefect_ollama.blocks.nodes._model_info import (
    PullStep,
    loaded_models,
    other_models,
    read_model_info,
    read_models,
    read_step,
)
from prefect_ollama.blocks.nodes._transport import Transport, without_context
from prefect_ollama.blocks.nodes.embed_response import Answer, read_answer
from prefect_ollama.blocks.nodes.endpoint import (
    DESCRIPTION_TIMEOUT_S,
    Endpoint,
    Inventory,
    LoadedModel,
    NodeModel,
    Progress,
)
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec, full_name

# Seconds without progress after which a pull ends: a registry may be slow, and a stopped one sends nothing.
PULL_SILENCE_S: Final = 300.0

# Seconds for a whole pull: a model of 100 GB over a line of 10 Mbit/s.
PULL_TIMEOUT_S: Final = 24 * 3600.0

T = TypeVar("T")


class OllamaEndpoint(Endpoint):
    """Speaks Ollama's API with one node. Use it in one event loop, and close it there."""

    dialect: ClassVar[Dialect] = OLLAMA

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        self.node = node
        self.model = model
        self._transport = Transport(node, self.dialect, model.name)
        self.disclosure = self._transport.disclosure

    async def identify(self, *, pull: bool = False, progress: Progress | None = None) -> NodeModel:
        version = await self.version()
        models = await self.models()
        digest = self._digest(models)
        if digest is None:
            if not pull:
                raise self._no_model(models)
            await self.pull(progress)
            digest = self._digest(await self.models()) or ""
        shown = await self.show()
        self._check_use(shown)
        return replace(shown, version=version, digest=digest)

    async def build(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> NodeModel:
        """Return digest and version alone; see `Endpoint.build`."""
        models = await self.models(timeout=timeout)
        digest = self._digest(models)
        if digest is None:
            raise self._no_model(models)
        return NodeModel(await self.version(timeout=timeout), digest)

    async def inventory(self) -> Inventory:
        version = await self.version()
        if not version:
            raise NodeAnswerError(
                "answers, but not as Ollama does: it gives no version.",
                node=self.node.name,
                remedy="Check the URL and its path prefix.",
            )
        loop = asyncio.get_running_loop()
        start = loop.time()
        models = await self.models()
        latency = loop.time() - start
        return Inventory(version, tuple(sorted(self.disclosure.names(models))), latency)

    async def running(self) -> tuple[LoadedModel, ...]:
        """Return the models in memory whose names may be shown; see `Endpoint.running`."""
        models = loaded_models(await self.loaded())
        shown = self.disclosure.names(model.name for model in models)
        return tuple(model for model in models if model.name in shown)

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        # Without `truncate: false` Ollama cuts long texts silently.
        payload: dict[str, Any] = {
            "model": self.model.name,
            "input": list(texts),
            "truncate": False,
            "keep_alive": self.model.keep_alive,
        }
        # Each request has the same options, because Ollama loads the model again when options change.
        if self.model.options:
            payload["options"] = self.model.options
        if self.model.dimensions:
            payload["dimensions"] = self.model.dimensions
        limit = embed_bounds(len(texts), dimension).size
        body = await self._transport.call("api/embed", payload, timeout=timeout, limit=limit)
        return read_answer(body, texts, dimension=dimension, node=self.node.name, disclosure=self.disclosure)

    async def version(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> str:
        """Return the version that the node reports; empty if it reports none."""
        version = await self._read(
            lambda data: member(data, "version", str, ""), "api/version", VERSION_BOUNDS, timeout=timeout
        )
        return self.disclosure.version(version)

    async def models(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> dict[str, str]:
        """Return the SHA-256 digest of each of its models, by name; show only names that `disclosure.names` returns."""
        return await self._read(read_models, "api/tags", LIST_BOUNDS, timeout=timeout)

    async def loaded(self) -> list[Any]:
        """Return the models in memory, as `/api/ps` lists them (`size_vram`, `expires_at`, …)."""
        return await self._read(lambda data: member(data, "models", list, []), "api/ps", LIST_BOUNDS)

    async def show(self) -> NodeModel:
        return await self._read(read_model_info, "api/show", SHOW_BOUNDS, {"model": self.model.name})

    async def pull(self, progress: Progress | None = None) -> None:
        """Let the node download the model.

        Args:
            progress: Called with each step; its bytes are 0 if the node does not report them.

        Raises:
            NodeError: The download failed, or made no progress for five minutes. The node keeps its other models.
        """
        payload = {"model": self.model.name, "stream": True}
        read = partial(read_step, node=self.node.name, model=self.model.name, disclosure=self.disclosure)
        done = False
        last: PullStep | None = None
        loop = asyncio.get_running_loop()
        end = loop.time() + PULL_TIMEOUT_S
        try:
            with without_context():
                async with (
                    timeout_while_running(PULL_SILENCE_S) as restart,
                    self._transport.open("api/pull", payload) as response,
                ):
                    async for line in json_lines(response, self.node.name, "while it pulled the model"):
                        step = checked(read, line, node=self.node.name, call="/api/pull")
                        if step != last:
                            restart(PULL_SILENCE_S)
                            last = step
                        if loop.time() > end:
                            raise TimeoutError
                        done = done or step.what == "success"
                        if progress:
                            progress(self.node.name, step.what, step.done, step.total)
        except TimeoutError:
            raise NodeUnreachable(
                f"made no progress while it pulled {self.model.name!r}.",
                node=self.node.name,
                remedy=f"Run 'ollama pull {self.model.name}' there, then run again.",
            ) from None
        if not done:
            raise NodeFailed(
                f"broke off while pulling {self.model.name!r}.", node=self.node.name, remedy="Try again."
            )

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _read(
        self,
        read: Callable[[dict[str, Any]], T],
        path: str,
        bounds: Bounds,
        payload: dict[str, Any] | None = None,
        *,
        timeout: float = DESCRIPTION_TIMEOUT_S,
    ) -> T:
        data = await self._transport.object(path, bounds, payload, timeout=timeout)
        return checked(read, data, node=self.node.name, call=f"/{path}")

    def _check_use(self, shown: NodeModel) -> None:
        """Refuse a model that cannot do what this endpoint asks of it."""
        can = shown.capabilities
        if can and "embedding" not in can:
            raise NodeRefused(
                f"has {self.model.name!r}, which is no embedding model (it can do {', '.join(can)}).",
                node=self.node.name,
                remedy="Name an embedding model, for example nomic-embed-text or all-minilm.",
            )

    def _digest(self, models: Mapping[str, str]) -> str | None:
        wanted = full_name(self.model.name)
        return next((digest for name, digest in models.items() if full_name(name) == wanted), None)

    def _no_model(self, models: Iterable[str]) -> NodeRefused:
        """Return the error of a node that has these models, and not the wanted one."""
        name = self.model.name
        others = other_models(self.disclosure.names(models))
        remedy = self.dialect.no_model_remedy.format(model=name)
        return NodeRefused(
            f"does not have the model {name!r}. {others}".rstrip(),
            node=self.node.name,
            status=404,
            remedy=f"{remedy[:-1]}, or use a model that it has ({self.dialect.model_option} on the command line)."
            if others
            else remedy,
        )
