"""What a simulated node is: one frozen value, the same in the parent and in the process that serves."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tests.nodes.bursts import Bursts

# What `control()` may not change while the node runs.
FIXED = frozenset({"slots", "chat_slots", "certificate"})


@dataclass(frozen=True, slots=True)
class Settings:
    """One node. Rates are of the whole node; each of its slots has its share.

    Cost of a request, in seconds of one slot::

        request_overhead + slots * (texts / texts_per_second + tokens / tokens_per_second)

    so that a saturated node without overhead does exactly its rate, whatever its number of slots. A rate of
    None costs nothing. A node is FIFO over requests; in a slot the texts of a request run one after another,
    as in Ollama, which loads embedding models with parallel = 1.

    Attributes:
        models: names of the models that are there; without a tag, `:latest` is meant.
        chat_models: names of further models, which chat and do not embed.
        chat_capabilities: what `/api/show` says of these.
        chat_context: tokens of a conversation.
        chat_slots: chat requests served at the same time, `OLLAMA_NUM_PARALLEL`.
        chat_script: what it answers, as {"match": part of the messages, "content": text or JSON, "thinking": text}; the
            first that matches counts. Without one it answers something that fits the format.
        chat_reader: attributes of a `Reader` without its seed, which is that of the node: in place of a script it then
            answers from the prompt alone, with planted errors.
        ignore_num_predict: answer at any length, as no Ollama does.
        prompt_tokens_per_second: rate of reading a prompt, of all chat slots together.
        answer_tokens_per_second: rate of answering, of all chat slots together.
        digest: of every model in `/api/tags`; None is the SHA-256 of its name, empty is none, as gateways have it.
        quantization: of every model, as it says; it changes no vectors, `cosine` does.
        capabilities: what `/api/show` says.
        dimension: floats a vector.
        weights: names the embedding function; other names give other vectors.
        tokenizer: "0.24" gives other vectors to texts that are not ASCII, as Ollama 0.24 does beside 0.33; "llama.cpp"
            to texts with Hangul alone, as Ollama 0.33 does beside the tokenizers of the original models.
        cosine: of this node's vectors to the true ones of `weights`; below 1 is another quantisation.
        pool: 0 gives each text a vector of its own; n takes one of n ready-made ones by the text's hash,
            which is nearly free of cost.
        texts_per_second: rate by count.
        tokens_per_second: rate by length, by its tokens.
        request_overhead: seconds a request holds its slot on top of its texts.
        latency: seconds before a request reaches the queue; holds no slot (a slow network).
        slots: requests served at the same time.
        speed: factor on all of the above, which acts at once, also on what is being served.
        burst_duty: part of the time in which it works at all; in the rest requests stand still in their slots.
        burst_period: seconds of a burst of work and the pause after it.
        burst_phase: seconds of the period that had passed at the time 0 of `time.monotonic()`.
        context_length: tokens a text may have.
        characters_a_token: how the node counts tokens; 0 is at four, and no word of it in answers.
        tokenizer: "characters" counts so many of them a token; "words" one a word and two marks at the ends, as BERT's
            tokenizer does for plain words.
        load_seconds: that the first request, and one with other `options`, waits in its slot.
        on_gpu: part of a loaded model that `/api/ps` says is on a GPU.
        version: that `/api/version` says.
        prefix: path before `/api`, as behind a reverse proxy.
        headers: that every request must bring, with these very values.
        refuse_status: status of a request without them.
        ignore_disconnect: go on computing for a client that has left.
        idle_timeout: seconds after which an idle connection is closed.
        pull_seconds: that a pull takes.
        pull_error: a pull ends with this message in mid-stream.
        pull_error_after: lines that come before it.
        certificate: PEM file with certificate and key: the node speaks TLS.
        seed: of the faults' dice, and of the drafts that a reader spoils.
        faults: what goes wrong from the start; see `tests.nodes.faults.Fault`.
    """

    models: tuple[str, ...] = ("nomic-embed-text",)
    chat_models: tuple[str, ...] = ()
    chat_capabilities: tuple[str, ...] = ("completion",)
    chat_context: int = 32768
    chat_slots: int = 1
    chat_script: tuple[dict[str, Any], ...] = ()
    chat_reader: dict[str, float] | None = None
    ignore_num_predict: bool = False
    prompt_tokens_per_second: float | None = None
    answer_tokens_per_second: float | None = None
    digest: str | None = None
    quantization: str = "F16"
    capabilities: tuple[str, ...] = ("embedding",)
    dimension: int = 768
    weights: str = "a"
    tokenizer: str = "0.33"
    cosine: float = 1.0
    pool: int = 0
    texts_per_second: float | None = None
    tokens_per_second: float | None = None
    request_overhead: float = 0.0
    latency: float = 0.0
    slots: int = 1
    speed: float = 1.0
    burst_duty: float = 1.0
    burst_period: float = 1.0
    burst_phase: float = 0.0
    context_length: int = 2048
    characters_a_token: float = 4
    tokenizer: Literal["characters", "words"] = "characters"
    load_seconds: float = 0.0
    on_gpu: float = 1.0
    version: str = "0.33.0"
    prefix: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    refuse_status: int = 401
    ignore_disconnect: bool = False
    idle_timeout: float | None = None
    pull_seconds: float = 0.05
    pull_error: str | None = None
    pull_error_after: int = 3
    certificate: str | None = None
    seed: int = 0
    faults: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no node can be.

        Raises:
            ValueError: when a rate, a speed or a number of slots is not above zero.
        """
        for name in (
            "texts_per_second",
            "tokens_per_second",
            "prompt_tokens_per_second",
            "answer_tokens_per_second",
            "speed",
            "slots",
            "chat_slots",
            "dimension",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value!r}")
        _ = self.bursts

    @property
    def bursts(self) -> Bursts:
        """When it works.

        Raises:
            ValueError: when that is never.
        """
        return Bursts(self.burst_duty, self.burst_period, self.burst_phase)

    @property
    def new(self) -> bool:
        """Whether its version runs models in llama-server, as Ollama does from 0.30 on."""
        numbers = re.findall(r"\d+", self.version)[:2]
        return tuple(map(int, numbers)) >= (0, 30)

    def changed(self, **changes: Any) -> Settings:
        """These settings with some changed, as `control()` does.

        Raises:
            ValueError: for a setting that is fixed while the node runs.
            TypeError: for one that doesn't exist.
        """
        if fixed := FIXED & changes.keys():
            raise ValueError(f"{', '.join(sorted(fixed))} can't change while a node runs")
        return replace(self, **changes)

    def cost(self, texts: int, tokens: int) -> float:
        """Seconds of one slot, at speed 1, for a request of that many texts and tokens."""
        seconds = 0.0
        if self.texts_per_second is not None:
            seconds += texts / self.texts_per_second
        if self.tokens_per_second is not None:
            seconds += tokens / self.tokens_per_second
        return self.request_overhead + self.slots * seconds

    def chat_seconds(self, prompt_tokens: int) -> tuple[float, float]:
        """Seconds of a chat slot, at speed 1, for a prompt, and for each token of the answer."""
        prompt = answer = 0.0
        if self.prompt_tokens_per_second is not None:
            prompt = self.chat_slots * prompt_tokens / self.prompt_tokens_per_second
        if self.answer_tokens_per_second is not None:
            answer = self.chat_slots / self.answer_tokens_per_second
        return prompt, answer

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
