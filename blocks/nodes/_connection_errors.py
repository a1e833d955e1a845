"""Turn a request that brought no answer of its node into an error with its cause: by a proxy, or by the connection."""

import os
import re
import socket
import ssl
from collections.abc import Iterator

import httpx

from prefect_ollama.blocks.errors import NodeError, NodeRefused, NodeUnreachable
from prefect_ollama.blocks.nodes.proxy import Proxy


def from_proxy(node: str, status: int, proxy: Proxy) -> NodeError:
    """Return the error of a proxy that answered instead of the node; nothing of its answer is quoted."""
    if status == 407:
        return NodeRefused(
            f"{proxy.words} asks for credentials (407); the node was not reached.",
            node=node,
            status=status,
            remedy=f"Write user and password into {proxy.variable}, or add {proxy.host!r} to NO_PROXY.",
        )
    cause = f"{proxy.words} answers {status} in the node's place (the answer is not in Ollama's form)."
    if status == 429 or status >= 500:
        return NodeUnreachable(cause, node=node, remedy=proxy.remedy)
    return NodeRefused(cause, node=node, status=status, remedy=proxy.remedy)


def from_exception(node: str, error: Exception, *, proxy: Proxy | None = None) -> NodeError:
    """Return the error for a request without a complete answer; nothing that the node sent is quoted."""
    remedy = _connect_remedy(error)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return NodeRefused("has a URL that cannot be used.", node=node, remedy="Correct the node's URL.")
    if proxy is not None:
        remedy = proxy.remedy
        if isinstance(error, httpx.ProxyError):
            # The proxy opens no tunnel (CONNECT); the library's message begins with the status.
            if re.match(r"[0-9]{3}", str(error)):
                return from_proxy(node, int(str(error)[:3]), proxy)
            return NodeUnreachable(
                f"{proxy.words} opens no connection to the node.", node=node, remedy=remedy
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            words = f" ({_words_of_system(error)})" if isinstance(error, httpx.ConnectError) else " in time"
            return NodeUnreachable(
                f"cannot be connected through {proxy.words}{words}.", node=node, remedy=remedy
            )
    if isinstance(error, httpx.ConnectTimeout):
        what = "cannot be connected in time"
    elif isinstance(error, TimeoutError | httpx.TimeoutException):
        what = "did not answer in time"
    elif isinstance(error, httpx.ConnectError):
        what = f"cannot be connected ({_words_of_system(error)})"
    elif isinstance(error, httpx.RemoteProtocolError):
        # The library quotes the bytes that it could not read.
        closed = "disconnected" in str(error) or "closed connection" in str(error)
        what = "broke off the answer" if closed else "broke off: what it sends is no HTTP"
    else:
        what = f"broke off the answer ({_words_of_system(error)})"
    return NodeUnreachable(f"{what}.", node=node, remedy=remedy)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _connect_remedy(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "If a private authority signed its certificate, set *CA bundle* in the node's block. The host in the "
                "URL must be one that the certificate names."
            )
        if isinstance(cause, ssl.SSLError):
            return "If its server does not speak TLS at this port, write http:// in place of https://."
        if isinstance(cause, socket.gaierror):
            return "Check the host name in its URL."
    return "Check that it runs and can be reached from here."


def _words_of_system(error: BaseException) -> str:
    """Return the message of the operating system or of OpenSSL, or the type of the error; no bytes of the node."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"CERTIFICATE_VERIFY_FAILED: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'no handshake'}"
        if isinstance(cause, socket.gaierror):
            return cause.strerror or "no such host"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)  # asyncio puts words of its own into `strerror`
    return {"ReadError": "connection reset"}.get(type(error).__name__, type(error).__name__)
