"""Simulated Ollama nodes: real HTTP servers on loopback, each in a process of its own.

    with nodes({"texts_per_second": 200}, {"texts_per_second": 10}) as (fast, slow):
        ...fast.url...
        slow.control(faults=["hang"])

`Settings` (tests/nodes/settings.py) says what a node can be, `Fault` (tests/nodes/faults.py) how it can
misbehave, `expected_vector` what it must answer.
"""

from __future__ import annotations

from tests.nodes.faults import EOF, NAMES, Fault, poison
from tests.nodes.node import Node, nodes
from tests.nodes.settings import Settings
from tests.nodes.vectors import expected_vector, text_hash, tokens

__all__ = [
    "EOF",
    "NAMES",
    "Fault",
    "Node",
    "Settings",
    "expected_vector",
    "nodes",
    "poison",
    "text_hash",
    "tokens",
]
