"""Addresses and model names that users write are read as Ollama itself reads them."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ollama.blocks.nodes.address import base_url, looks_like_address, url_from_environment
from prefect_ollama.blocks.nodes.prefixes import prefixes_of


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("gpu-box", "http://gpu-box:11434"),
        ("gpu-box:8000", "http://gpu-box:8000"),
        ("gpu-box/ollama/", "http://gpu-box:11434/ollama"),
        ("http://gpu-box", "http://gpu-box"),
        ("HTTPS://GPU-Box:8443/Some/Path/", "https://gpu-box:8443/Some/Path"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("::", "http://[::1]:11434"),
        ("fd00::12", "http://[fd00::12]:11434"),
        ("http://[fd00::12]:80/x", "http://[fd00::12]:80/x"),
        (" 'gpu-box' ", "http://gpu-box:11434"),
        (":1234", "http://127.0.0.1:1234"),
    ],
)
def test_an_address_becomes_a_base_url(text: str, url: str) -> None:
    assert base_url(text) == url
    assert base_url(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "http://",
        "http:///path",
        "ftp://gpu-box",
        "http://gpu box",
        "http://gpu-box:port",
        "http://gpu-box:70000",
        "http://gpu-box:0",
        "http://gpu-box:-1",
        "gpu-box:65536",
        "http://gpu-box:" + "9" * 5000,
        "http://gpu-box:11434/?key=hidden",
        "http://gpu-box/#hidden",
        "http://me:hidden@gpu-box",
        "http://gpu-box:11434/api/embed",
        "http://gpu-box:11434/v1",
        "http://gpu-box/a b",
        "http://[gpu-box]",
        "a:b:c",
    ],
)
def test_what_is_no_address_is_refused_in_words_without_secrets(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        base_url(text)
    assert "hidden" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_refused_or_settled(text: str) -> None:
    try:
        url = base_url(text)
    except ValueError:
        return
    assert url.startswith(("http://", "https://"))
    assert not url.endswith("/")
    assert base_url(url) == url


# Those of Ollama's own test (envconfig/config_test.go, TestHost), as clients reach them.
@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", None),
        ("  ", None),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":1234", "http://127.0.0.1:1234"),
        ("1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("example.com", "http://example.com:11434"),
        ("example.com:1234", "http://example.com:1234"),
        (":0", "http://127.0.0.1:11434"),  # Ollama's own client would knock at port 0
        (":66000", "http://127.0.0.1:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]:1337", "http://[::1]:1337"),
        (" 1.2.3.4 ", "http://1.2.3.4:11434"),
        ('"1.2.3.4"', "http://1.2.3.4:11434"),
        ("' 1.2.3.4 '", "http://1.2.3.4:11434"),
        ("http://1.2.3.4", "http://1.2.3.4"),
        ("http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https://1.2.3.4", "https://1.2.3.4"),
        ("https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("https://example.com/ollama", "https://example.com/ollama"),
        ("https://example.com:bad/ollama", "https://example.com:443/ollama"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(value: str, url: str | None) -> None:
    assert url_from_environment({"OLLAMA_HOST": value}) == url


@pytest.mark.parametrize("port", ["0", "65536", "70000", "-1", "x", "9" * 5000])
def test_a_port_out_of_range_is_named(port: str) -> None:
    with pytest.raises(ValueError, match=r"the port '.{1,20}' is no number from 1 to 65535"):
        base_url(f"http://gpu-box:{port}")


@pytest.mark.parametrize("text", ["htp:/gpu-box", "https:/gpu-box:11434", "gpu-box:/prefix"])
def test_a_colon_without_a_port_is_refused_before_a_path(text: str) -> None:
    with pytest.raises(ValueError, match="has ':' without a port"):
        base_url(text)


def test_ollama_host_with_a_bad_port_is_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        url_from_environment({"OLLAMA_HOST": "gpu-box:eleven"})
    assert "eleven" in caplog.text
    assert url_from_environment({}) is None


def test_names_of_blocks_are_told_from_addresses() -> None:
    assert not looks_like_address("gpu-box")
    for text in ("gpu-box:11434", "http://gpu-box", "gpu.example.org", "[::1]", "localhost"):
        assert looks_like_address(text)


PASSAGES = "Represent this sentence for searching relevant passages: "
TASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "


@pytest.mark.parametrize(
    ("model", "document", "query"),
    [
        ("nomic-embed-text", "search_document: ", "search_query: "),
        ("nomic-embed-text:v1.5", "search_document: ", "search_query: "),
        ("some.org/x/Nomic-Embed-Text-v1.5-GGUF:Q8_0", "search_document: ", "search_query: "),
        ("nomic-embed-text-v2-moe", "search_document: ", "search_query: "),
        ("mxbai-embed-large", "", PASSAGES),
        ("snowflake-arctic-embed:335m", "", PASSAGES),
        ("snowflake-arctic-embed2", "", "query: "),
        ("bge-large", "", PASSAGES),
        ("bge-small-en-v1.5", "", PASSAGES),
        ("bge-m3:567m", "", ""),
        ("jeffh/intfloat-multilingual-e5-large:f16", "passage: ", "query: "),
        ("intfloat-multilingual-e5-large-instruct", "", TASK),
        ("e5-mistral-7b-instruct", "", TASK),
        ("qwen3-embedding:0.6b", "", TASK),
        ("embeddinggemma", "title: none | text: ", "task: search result | query: "),
        ("all-minilm", "", ""),
        ("made5-base", "", ""),
    ],
)
def test_prompts_of_well_known_models(model: str, document: str, query: str) -> None:
    assert prefixes_of(model) == (document, query)
