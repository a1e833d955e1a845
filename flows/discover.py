"""Look for Ollama servers in networks that the user names."""

from collections.abc import Sequence
from typing import Annotated, Any

from prefect.artifacts import create_markdown_artifact
from pydantic import AfterValidator, BeforeValidator, Field

from prefect_ollama.blocks.nodes import DEFAULT_PORT, NodeStatus, addresses_of, network_of
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.flows.base import check_first, flow, unless_named
from prefect_ollama.flows.parameters import shown
from prefect_ollama.tasks.discover import save_nodes, scan_networks
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.reporting import found_section, section_markdown


# Called by the form, so that it refuses a wrong network before the run starts.
def _network(text: str) -> str:
    network_of(text)
    return text


def _as_list(value: Any) -> Any:
    # The form sends lists; a program or a schedule may name one network.
    return [value] if isinstance(value, str | int) else value


@flow(
    name="discover-nodes",
    flow_run_name=unless_named(lambda given: f"look for nodes in {', '.join(_as_list(given['networks']))}"),
    description="Look for Ollama servers in networks that you name, and make blocks of them if you like.",
)
@check_first(lambda given: addresses_of(list(given["networks"]), most=given["most"]))
def discover_nodes(
    networks: Annotated[
        Sequence[Annotated[str, AfterValidator(_network)]],
        BeforeValidator(_as_list),
        shown(
            "Networks",
            "Networks to look in, such as 192.168.1.0/24, or addresses alone. Only those that are yours to scan.",
            min_length=1,
        ),
    ],
    ports: Annotated[
        Sequence[Annotated[int, Field(ge=1, le=65535)]],
        BeforeValidator(_as_list),
        shown("Ports", "Ports to ask at every address. Ollama's own is 11434.", min_length=1),
    ] = (DEFAULT_PORT,),
    save: Annotated[
        bool, shown("Save", "Make an Ollama Node block of each that has none. No block is ever overwritten.")
    ] = False,
    # As many as a /20 has. A mistyped /8 has 4,096 times as many.
    most: Annotated[
        int, shown("Addresses", "Maximum number of addresses in all networks together.", ge=1, le=2**20)
    ] = 4096,
    timeout: Annotated[
        float, shown("Connect timeout (s)", "Seconds that an address has to take a connection.", gt=0, le=60)
    ] = 1.0,
) -> list[NodeStatus]:
    """Look for Ollama servers and embedded nodes in networks, and make blocks of them if you like.

    Each address gets one attempt to connect. If it succeeds, the server is asked for Ollama's version and models.

    Returns:
        One row for each server, with the name of its block or a free name for one.

    Raises:
        ConfigurationError: The networks are too large; nothing was asked.

    Requires: the right to scan these networks, and a route to them from the machine that runs it.

    Examples:
        >>> from prefect_ollama.flows import discover_nodes
        >>> [(found.version, found.models) for found in discover_nodes("192.168.1.20", ports=11434)]
        [('0.33.0', ('nomic-embed-text:latest',))]
    """
    addresses = addresses_of(list(networks), most=most)
    found = scan_networks(Opaque(addresses), list(ports), timeout=timeout)
    # Without a new node there is nothing to save, and no task run to show.
    new = [node for node in found if not node.saved]
    if save and new:
        made = iter(save_nodes(Opaque(new)))
        found = tuple(node if node.saved else next(made) for node in found)
    create_markdown_artifact(
        section_markdown(found_section(found)),
        key="found-nodes",
        description=f"Found in {escape_markdown(', '.join(networks))}",
    )
    return list(found)
