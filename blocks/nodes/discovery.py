"""Find Ollama servers in networks that the user names.

Guarantees: only these addresses get connections. Each address gets one attempt to connect and, if a server listens,
three requests that change nothing. The number of connections at the same time and the time for each are limited.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import re
import socket
from collections.abc import Collection, Sequence
from dataclasses import replace

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes.address import DEFAULT_PORT
from prefect_ollama.blocks.nodes.check import check_nodes
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.nodes.status import NodeStatus

# Connections at the same time: few enough for the limit of open files, which is 256 on some systems.
CONCURRENT_HOSTS = 128

# Seconds in which the name service must answer.
NAME_TIMEOUT_S = 5.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network_of(text: str) -> Network:
    """Return the network that a text names, such as `192.168.1.0/24`. A single address is a network of one.

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
    """Return all addresses of hosts in the networks, each once, and at most `most` of them.

    Raises:
        ConfigurationError: A text is not a network, or there are more addresses.
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
            remedy="Name smaller networks, or raise *Addresses* (`--most`).",
        )
    return list(dict.fromkeys(str(host) for network in parsed for host in network.hosts()))


async def discover(addresses: Sequence[str], ports: Sequence[int], *, timeout: float) -> list[NodeStatus]:
    """Return the Ollama servers at these addresses and ports, in the order of the addresses.

    Args:
        addresses: The addresses.
        ports: The ports of each.
        timeout: Seconds to wait for a connection.
    """
    room = asyncio.Semaphore(CONCURRENT_HOSTS)

    async def ask(address: str, port: int) -> NodeStatus | None:
        async with room:
            # First only a connection: most addresses have no server, and this costs least.
            try:
                async with timeout_while_running(timeout):
                    _, writer = await asyncio.open_connection(address, port)
            except (OSError, TimeoutError):
                return None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
            (found,) = await check_nodes([replace(NodeSpec.at(url), connect_timeout=timeout)])
            return found if found.ok else None

    asked = [ask(address, port) for address, port in itertools.product(addresses, dict.fromkeys(ports))]
    return [found for found in await asyncio.gather(*asked) if found is not None]


async def host_name(url: str) -> str:
    """Return the name of a server's host from the name service; empty if there is none in time."""
    host = url.split("://", 1)[-1].rpartition(":")[0].strip("[]")
    try:
        async with timeout_while_running(NAME_TIMEOUT_S):
            name, _ = await asyncio.get_running_loop().getnameinfo((host, 0), socket.NI_NAMEREQD)
    except (OSError, TimeoutError):
        return ""
    return name


def block_name(url: str, host: str, taken: Collection[str]) -> str:
    """Return a new name for the block of a server.

    It is the first part of the host's name, or `ollama-10-0-0-7` without one, with the port if that is not Ollama's.

    Args:
        url: Address of the server.
        host: Name of its host; empty if unknown.
        taken: Names of other blocks.
    """
    address, _, port = url.split("://", 1)[-1].rpartition(":")
    first = host.partition(".")[0].lower()
    if not first or first in ("localhost", "ip6-localhost") or first.isdigit():
        first = f"ollama-{address}"
    name = "-".join(re.findall("[a-z0-9]+", first)) + ("" if port == str(DEFAULT_PORT) else f"-{port}")
    return free_name(name, taken)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number after it if it is taken."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)
