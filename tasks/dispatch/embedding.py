"""The texts of one caller, and their vectors or errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prefect_ollama.blocks.errors import ClusterError, TextError
from prefect_ollama.blocks.nodes import Vectors
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch._job import BYTES_A_TOKEN, DECODE_AGAIN, Job, unicode_fault


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The results of a list of texts.

    Attributes:
        vectors: float32 of shape (texts, dimension), in the order of the texts. The rows of failed texts
            are NaN; `failures` names them.
        failures: By place in the list, why a text has no vector. Empty when all went well.
        nodes: Name of the node that embedded each text, empty for one without a vector.
        node_seconds: Seconds of node time that went into the texts' vectors.
        tokens: Tokens that the nodes counted; 0 if they do not report them.
    """

    vectors: Vectors
    failures: dict[int, TextError]
    nodes: tuple[str, ...]
    node_seconds: float
    tokens: int


class Unfinished(ClusterError):
    """The nodes could not finish a list of texts.

    Args:
        embedded: The results so far, for the caller to keep. Texts with neither vector nor failure are
            those that are left.

    Examples:
        >>> import asyncio
        >>> from prefect_ollama.blocks import OllamaCluster
        >>> from prefect_ollama.blocks.nodes import verify_cluster
        >>> from prefect_ollama.tasks.dispatch import Dispatcher, Unfinished
        >>> cluster = OllamaCluster(nodes=["http://dying-box:11434"], give_up_after=1).to_spec()
        >>> with Dispatcher(asyncio.run(verify_cluster(cluster))) as dispatcher:
        ...     try:
        ...         dispatcher.embed([f"text {number}" for number in range(2_000)])
        ...     except Unfinished as error:
        ...         print(error.left > 0, len(error.embedded.vectors))
        True 2000
    """

    def __init__(self, cause: str, *, left: int, embedded: Embedded, remedy: str) -> None:
        super().__init__(
            cause, left=left, state=f"{quantity(left, 'text is', 'texts are')} left.", remedy=remedy
        )
        self.embedded = embedded


class EmbeddingJob(Job[Embedded]):
    """The texts of one caller, and their vectors and errors so far.

    Args:
        prefix: Put before each text when it is sent.
        prepare: Makes the sent text from prefix and text; the same function for all jobs of a dispatcher.
    """

    def __init__(
        self,
        texts: Sequence[str],
        dimension: int,
        *,
        prefix: str,
        urgent: bool,
        limit: int,
        prepare: Callable[[str], str] = str,
    ) -> None:
        self._prefix = prefix
        self._prepare = prepare
        self._vectors = np.full((len(texts), dimension), np.nan, dtype=np.float32)
        self._nodes = [""] * len(texts)
        super().__init__(texts, urgent=urgent, limit=limit)
        for item in self.items:
            if why := unicode_fault(item.payload):
                shown = item.payload.encode("utf-8", "backslashreplace").decode()
                error = TextError(why, text=shown, state="It was not sent.", remedy=DECODE_AGAIN)
                self.refuse(item, error)

    def cost(self, payload: str) -> float:
        """Return the units of a text with its prefix."""
        return estimate_units(self._prefix + payload)

    def prepared(self, payload: str) -> str:
        """Return the text as a node gets it."""
        return self._prepare(self._prefix + payload)

    def keep(self, index: int, result: Vectors, node: str) -> None:
        """Keep a vector."""
        self._vectors[index] = result
        self._nodes[index] = node

    def result(self) -> Embedded:
        """Return the vectors and errors so far."""
        return Embedded(self._vectors, self.failures, tuple(self._nodes), self.seconds, self.tokens)

    def unfinished(self, why: str, remedy: str) -> Unfinished:
        """Return an error that carries the vectors so far."""
        return Unfinished(why, left=self.left, embedded=self.result(), remedy=remedy)


def estimate_units(text: str) -> float:
    """Return the estimated work of a text in units: its bytes by `BYTES_A_TOKEN`, plus 16 for each text."""
    return 16.0 + len(text.encode("utf-8", "surrogatepass")) / BYTES_A_TOKEN
