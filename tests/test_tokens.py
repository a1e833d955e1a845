"""Tokens without a tokenizer: never too few to speak of, not many too many, and always the same for a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_ollama.blocks.embedded.tokens import count_tokens
from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_cluster
from prefect_ollama.tasks.chunking import (
    ChunkOptions,
    TokenRates,
    at_least,
    chunk_document,
    estimate_tokens,
    gauge_texts,
    measured_rates,
)
from prefect_ollama.tasks.embedding.token_counter import counted_tokens
from prefect_ollama.tasks.parsing import Block, Box, Page, ParsedDocument, ParseOptions
from prefect_ollama.tasks.planning import MINILM, ChunkingPlan
from tests.nodes import Node, nodes, tokens
from tests.waiting import all_nodes_awaited

TEXTS = Path(__file__).parents[1] / "samples/make/texts"
ENGLISH = ("bicycle-gears", "line-telemetry", "measuring", "printing-press", "tides", "weather-station")
OTHERS = ("canal-fr", "cha-ja", "dead-sea-he", "salz-de")


def marked(text: str) -> int:
    """As byte tokenizers count, with a mark at each end."""
    return 2 + len(text.encode())


def rates_of(count: Callable[[str], int]) -> TokenRates:
    rates = measured_rates([count(text) for text in gauge_texts()])
    assert rates is not None
    return rates


def chunks_of(name: str, count: Callable[[str], int], options: ChunkOptions) -> list[str]:
    blocks = [
        Block("paragraph", text.strip(), Box(1, 2, 3, 4))
        for text in (TEXTS / f"{name}.md").read_text().split("\n\n")
        if text.strip()
    ]
    document = ParsedDocument((Page(1, 600, 800, tuple(blocks)),), 1)
    return [chunk.text for chunk in chunk_document(document, options, count)]


@pytest.mark.parametrize("name", ENGLISH + OTHERS)
def test_what_a_real_tokenizer_counts_in_samples_is_no_more_than_estimated(name: str) -> None:
    rates, options = rates_of(count_tokens), ChunkOptions()
    chunks = chunks_of(name, rates, options)
    true, estimated = [count_tokens(text) for text in chunks], [rates(text) for text in chunks]
    assert max(true) <= options.max_tokens
    assert all(real <= guess for real, guess in zip(true, estimated, strict=True))
    assert sum(estimated) <= (1.4 if name in ENGLISH else 1.6) * sum(true)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"| {n * 37} | {n * 1.37:.2f} | {n / 7:.3f} |" for n in range(60)),
        "for key, value in sorted(found.items()): print(f'{key}={value!r}')\n" * 5,
        "THE HARBOUR MASTER LOGS EVERY TIDE BEFORE SUNRISE AND LOCKS THE GATE. " * 5,
        "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz. " * 5,
        "Đường cao tốc Bắc – Nam được khởi công xây dựng từ năm 2019. " * 5,
        "茶の味は主に三つの成分から成る。" * 10,
        "חופיו הם המקום הנמוך ביותר. " * 10,
    ],
)
def test_numbers_code_and_long_words_are_not_taken_for_prose(text: str) -> None:
    assert count_tokens(text) <= rates_of(count_tokens)(text) <= 2.7 * count_tokens(text)
    assert rates_of(tokens)(text) >= tokens(text)
    assert rates_of(marked)(text) >= marked(text)


def test_without_any_count_the_estimate_is_that_of_the_dearest_tokenizers() -> None:
    rates = rates_of(count_tokens)
    assert all(mine >= its for mine, its in zip(estimate_tokens.hundredths, rates.hundredths, strict=True))


def test_the_rates_are_those_of_the_model_whatever_a_node_adds_to_its_counts() -> None:
    rates = rates_of(count_tokens)
    assert rates == rates_of(count_tokens)
    assert rates == rates_of(lambda text: count_tokens(text) - 2)  # some versions leave the marks out
    more = rates_of(lambda text: count_tokens(text) + 1)
    assert (more.hundredths, more.ends) == (rates.hundredths, 3)


def test_rates_come_back_from_their_name_and_no_other_name_is_taken_for_one() -> None:
    rates = rates_of(count_tokens)
    assert TokenRates.named(rates.name) == rates
    for other in ("estimate", MINILM, "", "rates0:2:1.2", rates.name + ".7", rates.name.rpartition(".")[0]):
        assert TokenRates.named(other) is None


@pytest.mark.parametrize("lie", [0, -1, 10_000, None])
def test_counts_that_cannot_be_true_are_not_believed(lie: int | None) -> None:
    counts = [count_tokens(text) for text in gauge_texts()]
    counts[3] = counts[0] * 1000 if lie is None else lie
    assert measured_rates(counts) is None


def test_a_script_that_the_tokenizer_does_not_know_makes_no_endless_chunks() -> None:
    thai = "ภาษาไทยเขียนติดกันโดยไม่เว้นวรรคระหว่างคำ" * 20
    assert count_tokens(thai) < 10
    assert at_least(count_tokens)(thai) == -(-len(thai) // 8)
    assert rates_of(count_tokens)(thai) >= len(thai) / 8


def test_a_cut_is_told_apart_by_its_rates_and_gives_them_back() -> None:
    for name in (MINILM, estimate_tokens.name, rates_of(tokens).name):
        chunking_plan = ChunkingPlan(ParseOptions(), ChunkOptions(), name)
        assert ChunkingPlan.counter_in(chunking_plan.identity) == name
    assert ChunkingPlan.counter_in("v0 target=200 tokens=estimate") is None
    assert ChunkingPlan(ParseOptions(), ChunkOptions(), MINILM).counter("two words") == count_tokens(
        "two words"
    )
    assert ChunkingPlan(ParseOptions(), ChunkOptions(), rates_of(tokens).name).counter == rates_of(tokens)


def verified(*some: Node) -> VerifiedCluster:
    specs = tuple(NodeSpec(f"node-{number}", node.url) for number, node in enumerate(some))
    with all_nodes_awaited():
        return asyncio.run(verify_cluster(ClusterSpec(specs, ModelSpec("nomic-embed-text"))))


def test_a_node_that_counts_is_asked_and_the_next_one_where_it_fails_or_does_not_say() -> None:
    texts = gauge_texts()
    expected = [tokens(text) for text in texts]
    with nodes({}, {"latency": 0.05}) as (quick, slow):
        cluster = verified(quick, slow)
        assert asyncio.run(counted_tokens(cluster, texts)) == ("node-0", expected)
        quick.control(characters_a_token=0)
        assert asyncio.run(counted_tokens(cluster, texts)) == ("node-1", expected)
        quick.control(faults=["http500"])
        assert asyncio.run(counted_tokens(cluster, texts)) == ("node-1", expected)
        slow.control(characters_a_token=0)
        assert asyncio.run(counted_tokens(cluster, texts)) is None
        slow.control(context_length=3)
        assert asyncio.run(counted_tokens(cluster, texts)) is None
        slow.control(faults=["close"])
        with pytest.raises(ClusterError, match="All nodes failed after") as caught:
            asyncio.run(counted_tokens(cluster, texts))
        assert caught.value.causes.keys() == {"node-0", "node-1"}
        assert caught.value.remedy
