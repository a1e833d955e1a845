"""Ports of loopback that nobody else takes while a node is down, killed or about to start."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
# Below Linux's ephemeral range (32768 and up): no client's own port can take ours while we are down, nor can
# a client that knocks at a closed port connect to itself.
PORTS = range(15000, 32000)


def bound(port: int = 0) -> socket.socket:
    """A socket that holds that port, or a free one for 0. It does not listen: clients are refused.

    While it is open, this function gives the port to nobody else. A server that gets the port can bind it and listen.

    Raises:
        OSError: Somebody listens at the port, or no port is free.
    """
    tried = 0
    while True:
        chosen = port or random.choice(PORTS)
        sock = socket.socket()
        try:
            if not port:
                # Without SO_REUSEADDR this fails if any other socket holds the port, also one that does not listen.
                with socket.socket() as probe:
                    probe.bind((HOST, chosen))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((HOST, chosen))
        except OSError:
            sock.close()
            tried += 1
            if port or tried > 200:
                raise
        else:
            sock.setblocking(False)
            return sock
