"""Looks for Ollama servers in networks that somebody names.

Guarantees: no address but those is touched, and none more than by one connection and, where somebody listens, Ollama's
three questions that change nothing; a bounded number is asked at a time, and each has little time to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import re
import socket
from collections.abc import Collection, Sequence

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes.address import DEFAULT_PORT
from prefect_ollama.blocks.nodes.check import check_node
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.nodes.status import NodeStatus

# Addresses that are asked at the same time.
AT_ONCE = 128

# Seconds that a server which takes the connection has for all its answers.
HOST_TIMEOUT_S = 5.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network_of(text: str) -> Network:
    """The network that a text names, such as `192.168.1.0/24`; an address alone is a network of one.

    Raises:
        ValueError: It names none.
    """
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text.strip()!r} is no network; write for example 192.168.1.0/24, or an address alone"
        ) from None


def addresses_of(networks: Sequence[str], *, most: int) -> list[str]:
    """All addresses of hosts in the networks, each once.

    Args:
        networks: As for `network_of`.
        most: How many they may be together.

    Raises:
        ConfigurationError: One is no network, or they are larger than that.
    """
    try:
        parsed = [network_of(text) for text in networks]
    except ValueError as error:
        raise ConfigurationError(f"{error}.", state="Nothing was asked.") from None
    size = sum(network.num_addresses for network in parsed)
    if size > most:
        raise ConfigurationError(
            f"The networks have {size:,} addresses, and {most:,} are allowed.",
            state="Nothing was asked.",
            remedy="Name smaller networks, or allow more addresses.",
        )
    return list(dict.fromkeys(str(host) for network in parsed for host in network.hosts()))


async def discover(addresses: Sequence[str], ports: Sequence[int], *, timeout: float) -> list[NodeStatus]:
    """Ask all addresses at all ports whether an Ollama server is there.

    Args:
        addresses: The addresses.
        ports: The ports.
        timeout: Seconds until a connection must stand.

    Returns:
        Those that answer as Ollama does, in the order of the addresses.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(address: str, port: int) -> NodeStatus | None:
        async with room:
            return await _ask(address, port, timeout)

    asked = [ask(address, port) for address, port in itertools.product(addresses, ports)]
    return [found for found in await asyncio.gather(*asked) if found is not None]


async def host_name(url: str) -> str:
    """The name that the network's name service has for a server's address, empty where it has none in time."""
    host = url.split("://", 1)[-1].rpartition(":")[0].strip("[]")
    try:
        async with timeout_while_running(HOST_TIMEOUT_S):
            name, _ = await asyncio.get_running_loop().getnameinfo((host, 0), socket.NI_NAMEREQD)
    except (OSError, TimeoutError):
        return ""
    return name


def block_name(url: str, host: str, taken: Collection[str]) -> str:
    """A name for the block of a server, which no other block has.

    It is the first part of the host's name, `ollama-10-0-0-7` where it has none, and the port where it is not Ollama's.

    Args:
        url: Its address.
        host: Name of its host, empty for none.
        taken: Names that other blocks have.
    """
    address, _, port = url.split("://", 1)[-1].rpartition(":")
    first = host.partition(".")[0].lower()
    if not first or first in ("localhost", "ip6-localhost") or first.isdigit():
        first = f"ollama-{address}"
    name = "-".join(re.findall("[a-z0-9]+", first)) + ("" if port == str(DEFAULT_PORT) else f"-{port}")
    return free_name(name, taken)


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number after it if need be."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


async def _ask(address: str, port: int, timeout: float) -> NodeStatus | None:
    # First the bare connection: most addresses have nobody, and this costs least.
    try:
        async with timeout_while_running(timeout):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return None
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    try:
        async with timeout_while_running(HOST_TIMEOUT_S):
            found = await check_node(NodeSpec(url.removeprefix("http://"), url, connect_timeout=timeout))
    except TimeoutError:
        return None
    return found if found.ok else None
