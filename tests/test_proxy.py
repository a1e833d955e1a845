"""Proxies of the environment: no request to this host goes through one, and a proxy's answer is told from a node's."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from prefect_ollama.blocks.errors import (
    ConfigurationError,
    NodeAnswerError,
    NodeError,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes.proxy import Proxy, is_this_host, keep_local_direct, proxy_hint, proxy_of
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec
from prefect_ollama.blocks.secrets import without_secrets
from tests.nodes import Node
from tests.raw_node import RawNode, answer

PAGE = b"<html><title>ERROR</title>The requested URL could not be retrieved. Access denied by site policy.</html>"
VARIABLES = [
    f(name) for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for f in (str.lower, str.upper)
]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def version(url: str) -> str:
    async def run() -> str:
        async with OllamaEndpoint(NodeSpec("it", url, connect_timeout=60), ModelSpec("m")) as client:
            return await client.version()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.8.7", "127.1", "2130706433", "0x7f.1", "::1",
        "[::1]", "::ffff:127.0.0.1", "0.0.0.0", "::", "ip6-localhost",
    ],
)  # fmt: skip
def test_loopback_is_this_host(host: str) -> None:
    assert is_this_host(host)
    target = f"[{host.strip('[]')}]" if ":" in host else host
    environ = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
    assert proxy_of(f"http://{target}:11434/x", environ) is None


@pytest.mark.parametrize(
    "host",
    ["example.com", "8.8.8.8", "localhost.example.com", "notlocalhost", "127.example.com", "2001:db8::1", ""],
)
def test_other_hosts_are_not(host: str) -> None:
    assert not is_this_host(host)


def test_this_hosts_own_name_and_addresses_are_it() -> None:
    assert is_this_host(socket.gethostname())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address that would be used
        except OSError:
            pytest.skip("this host has no network")
        assert is_this_host(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("url", "environ", "variable"),
    [
        ("http://gpu:1", {}, None),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1"}, "HTTP_PROXY"),
        ("http://gpu:1", {"HTTP_PROXY": "p:1"}, "HTTP_PROXY"),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "http_proxy": "http://q:1"}, "http_proxy"),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "http_proxy": ""}, None),
        ("http://gpu:1", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://gpu:1", {"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY"),
        ("https://gpu:1", {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "ALL_PROXY"),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu"}, None),
        ("http://a.gpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "x, .gpu"}, None),
        ("http://a.gpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu"}, None),
        ("http://agpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu"}, "HTTP_PROXY"),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu:1"}, None),
        ("http://gpu:2", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu:1"}, "HTTP_PROXY"),
        ("http://10.1.2.3:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        (
            "http://11.1.2.3:1",
            {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8, nonsense/99"},
            "HTTP_PROXY",
        ),
        ("http://[2001:db8::1]:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "2001:db8::1"}, None),
        ("http://gpu:1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu", "no_proxy": "other"}, "HTTP_PROXY"),
    ],
)
def test_which_variable_counts(url: str, environ: dict[str, str], variable: str | None) -> None:
    found = proxy_of(url, environ)
    assert (found.variable if found else None) == variable


@pytest.mark.parametrize("text", ["ftp://p:1", "http://", "http://p:0", "http://p:99999", "http://[p", "://"])
def test_what_is_no_proxy_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", text)
    with pytest.raises(ConfigurationError, match="HTTP_PROXY"):
        version("http://gpu-box:11434")


def test_a_password_of_a_proxy_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:long-hush-word@127.0.0.1:9")
    found = proxy_of("http://gpu-box:1")
    assert isinstance(found, Proxy)
    assert "hush" not in repr(found)
    with pytest.raises(NodeUnreachable, match="through the proxy that HTTP_PROXY names") as caught:
        version("http://gpu-box:1")
    assert "hush" not in f"{caught.value} {caught.value.__cause__}"
    assert "hush" not in without_secrets("so long-hush-word it is")


# Nodes


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.sampled(2)
def test_a_node_on_this_host_is_asked_directly(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Node() as node, RawNode({"*": answer(PAGE, 403)}) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.setenv("NO_PROXY", "elsewhere")
        assert version(node.url) == "0.33.0"
        assert version(node.url.replace("127.0.0.1", "localhost")) == "0.33.0"
        assert proxy.asked == []


def test_a_node_elsewhere_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawNode({"*": answer({"version": "0.33.0"})}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert version("http://gpu-box:11434") == "0.33.0"
        assert proxy.asked == ["http://gpu-box:11434/api/version"]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, NodeRefused, "the proxy that HTTP_PROXY names answers 403 in the node's place"),
        (407, NodeRefused, "asks for credentials"),
        (401, NodeRefused, "answers 401 in the node's place"),
        (404, NodeRefused, "answers 404 in the node's place"),
        (301, NodeRefused, "answers 301 in the node's place"),
        (502, NodeUnreachable, "answers 502 in the node's place"),
        (503, NodeUnreachable, "answers 503 in the node's place"),
        (504, NodeUnreachable, "answers 504 in the node's place"),
        (200, NodeAnswerError, "the proxy that HTTP_PROXY names"),
    ],
)
@pytest.mark.parametrize("body", [PAGE, b""])
def test_the_page_of_a_proxy_is_not_the_nodes_answer(
    status: int, kind: type[NodeError], words: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawNode({"*": answer(body, status, Content_Type="text/html")}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(kind, match=words) as caught:
            version("http://gpu-box:11434")
    said = str(caught.value)
    assert "'gpu-box'" in said
    assert "NO_PROXY" in said
    assert "credentials" not in said or status == 407
    assert "busy" not in said


def test_the_answer_of_a_node_behind_a_proxy_stays_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawNode({"*": answer({"error": "unauthorized"}, 401)}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(NodeRefused, match="refuses the credentials"):
            version("http://gpu-box:11434")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, NodeRefused), (407, NodeRefused), (502, NodeUnreachable), (503, NodeUnreachable)],
)
def test_a_tunnel_that_a_proxy_refuses(
    status: int, kind: type[NodeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawNode({"*": f"HTTP/1.1 {status} Denied-by-me\r\nContent-Length: 0\r\n\r\n".encode()}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(kind, match=f"HTTPS_PROXY.*{status}|{status}.*HTTPS_PROXY") as caught:
            version("https://gpu-box:11434")
    assert "Denied-by-me" not in str(caught.value)


# Prefect


def test_prefect_learns_that_this_host_is_asked_directly() -> None:
    name = socket.gethostname().lower()
    for given, variable in (
        ({}, "NO_PROXY"),
        ({"NO_PROXY": "a,b"}, "NO_PROXY"),
        ({"no_proxy": "a,b"}, "no_proxy"),
    ):
        environ = {"HTTP_PROXY": "http://p:1"} | given
        for _ in range(2):
            keep_local_direct("http://127.0.0.5:4200/api", "http://elsewhere:1", None, environ=environ)
        entries = environ[variable].split(",")
        assert entries == list(dict.fromkeys(entries))
        assert {"localhost", "127.0.0.1", "::1", "127.0.0.5", name} <= set(entries)
        assert "elsewhere" not in entries
        assert set("ab" if given else "") <= set(entries)
        assert "localhost" in environ["NO_PROXY"]
    untouched = {"PATH": "x"}
    keep_local_direct(environ=untouched)
    assert untouched == {"PATH": "x"}


def test_the_hint_names_the_variables() -> None:
    assert proxy_hint({}) == ""
    assert "HTTP_PROXY names a proxy" in proxy_hint({"HTTP_PROXY": "http://p:1"})
    assert "HTTP_PROXY and https_proxy name" in proxy_hint({"HTTP_PROXY": "http://p:1", "https_proxy": "q"})


CHILD = """
import os, sys
import prefect_ollama.{module}
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.api_healthcheck() is None, client._client.get("/admin/version").status_code)
"""


@pytest.fixture(scope="module")
def refusing() -> Iterator[RawNode]:
    with RawNode({"*": answer(PAGE, 403)}) as proxy:
        yield proxy


@pytest.mark.parametrize("module", ["blocks", "flows"])
@pytest.mark.slow
def test_prefects_own_requests_to_this_host_reach_no_proxy(
    module: str, prefect_server: str, refusing: RawNode
) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environ |= {"PREFECT_API_URL": prefect_server, "HTTP_PROXY": refusing.url, "ALL_PROXY": refusing.url}
    done = subprocess.run(
        (sys.executable, "-c", CHILD.format(module=module)),
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.split() == ["True", "200"], done.stderr
    assert refusing.asked == []


@pytest.mark.slow
def test_a_temporary_server_starts_behind_a_proxy(refusing: RawNode, tmp_path: object) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in [*VARIABLES, "PREFECT_API_URL"]}
    environ |= {"HTTP_PROXY": refusing.url, "HTTPS_PROXY": refusing.url, "PREFECT_HOME": str(tmp_path)}
    with Node(models=["m"]) as node:
        done = subprocess.run(
            (sys.executable, "-m", "prefect_ollama", "nodes", "-n", node.url, "-m", "m", "--json"),
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    assert '"ok": true' in done.stdout
    assert refusing.asked == []


def test_httpx_does_as_its_transport_says() -> None:
    """A client with a transport of its own takes no proxy from the environment: `OllamaEndpoint` leans on that."""
    client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport())
    assert client._mounts == {}
