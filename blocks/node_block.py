"""The common base of node blocks for all APIs: the connection to a node, and the limits of its requests."""

import logging
import re
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Self

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.types import SecretDict
from prefect.utilities.asyncutils import run_coro_as_sync
from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from prefect_ollama.blocks.base import Secrets, StoredBlock, refuse_mask
from prefect_ollama.blocks.nodes import Api, NodeSpec, NodeStatus, check_node, short_name

# A token of RFC 9110 (5.6.2).
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")

# Only for the form, which then shows most mistakes at the field. The block itself checks more.
URL_PATTERN = r"^(https?://)?[^\s/?#@]*[^\s/?#@:](/[^\s?#]*)?$"

# Headers that the HTTP client must set itself.
_RESERVED_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})


def blank_is_none(value: Any) -> Any:
    """Return None for an empty text or secret, and the value otherwise.

    Raises:
        ValueError: It is the mask that Prefect shows in place of a secret.
    """
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None or not text.strip():
        return None
    refuse_mask(text)
    return value


def plain_token(value: SecretStr | None) -> SecretStr | None:
    """Return a token without the word Bearer before it.

    Raises:
        ValueError: It is not one word of plain ASCII characters.
    """
    if value is None:
        return None
    token = value.get_secret_value().strip()
    token = token[len("bearer ") :].strip() if token.lower().startswith("bearer ") else token
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("the token must be one word of plain ASCII characters")
    return SecretStr(token)


# Fields that the form sends as an empty text if a user empties them.
OptionalText = Annotated[str | None, AfterValidator(blank_is_none)]
OptionalSecret = Annotated[SecretStr | None, AfterValidator(blank_is_none)]
Token = Annotated[OptionalSecret, AfterValidator(plain_token)]


class NodeBlock(StoredBlock, ABC):
    """Base of the blocks of nodes: address, credentials and limits. Each API has a block of its own.

    Attributes:
        api: Its API.
    """

    api: ClassVar[Api]

    url: str
    headers: Secrets = Field(
        default_factory=lambda: SecretDict({}),
        title="Headers",
        description='Further headers for every request, as JSON: {"X-Api-Key": "…"}. The values are kept secret.',
        examples=[{"X-Api-Key": "…"}],
    )
    ca_bundle: OptionalText = Field(
        default=None,
        title="CA bundle",
        description="PEM file with the certificates of a private authority. It must be on every machine where flows "
        "run.",
        examples=["/etc/ssl/certs/our-ca.pem"],
    )
    verify: bool = Field(
        default=True,
        title="Verify certificate",
        description="Verify the server's certificate. Without it, anyone on the network path can read texts and token, "
        "and every use logs a warning.",
    )
    connect_timeout: float = Field(
        default=5.0,
        gt=0,
        le=600,
        title="Connect timeout (s)",
        description="Seconds to wait for a connection.",
    )
    read_timeout: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        title="Read timeout (s)",
        description="Seconds to wait for an answer. After that the texts go to another node.",
    )
    load_timeout: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        title="Load timeout (s)",
        description="Seconds to wait for the first answer, because the node may have to load the model.",
    )
    max_in_flight: int = Field(
        default=16,
        ge=1,
        le=1024,
        title="Max requests in flight",
        description="Highest number of requests at the same time. The best number is measured during work; this is its "
        "limit.",
    )
    max_request_texts: int = Field(
        default=128,
        ge=1,
        le=8192,
        title="Max texts per request",
        description="Highest number of texts in one request.",
    )

    @field_validator("headers", mode="after")
    @classmethod
    def _sendable(cls, value: SecretDict) -> SecretDict:
        for name, content in value.get_secret_value().items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            if name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"the header {name!r} is set by the client itself")
            # The HTTP client would refuse such a value only when it sends a request.
            if not isinstance(content, str) or not content.isascii() or not content.isprintable():
                raise ValueError(f"the value of header {name!r} must be one line of plain ASCII characters")
            refuse_mask(content)
        return value

    @model_validator(mode="after")
    def _one_authorization(self) -> Self:
        named = {name.lower() for name in self.headers.get_secret_value()}
        # Only the block of an Ollama node has a user name.
        if "authorization" in named and (self.bearer() or getattr(self, "username", None)) is not None:
            raise ValueError(
                "there are both a header 'Authorization' and a token or user name; give one of them"
            )
        if self.ca_bundle is not None and not self.verify:
            raise ValueError("a CA bundle has no effect if the certificate is not verified")
        return self

    @abstractmethod
    def bearer(self) -> SecretStr | None:
        """Return the token that is sent as `Authorization: Bearer …`; None without a token."""

    def shown_name(self, name: str = "") -> str:
        """Return the name for reports and errors: `name`, or the block's name, or the address."""
        return name or self.name or short_name(self.url)

    @abstractmethod
    def to_spec(self, name: str = "") -> NodeSpec:
        """Return the node as a plain value.

        Args:
            name: Name for reports and errors; by default the block's name, or the address.
        """

    def _spec(self, name: str, **more: Any) -> NodeSpec:
        if self.url.startswith("https:") and not self.verify:
            try:
                logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = get_run_logger()
            except MissingContextError:
                logger = get_logger(f"blocks.{self.get_block_type_slug()}")
            logger.warning(
                "The certificate of node %r is not verified: anyone on the network path can read texts and "
                "credentials. Set the CA bundle of its authority instead.",
                self.shown_name(name),
            )
        headers = {key: SecretStr(value) for key, value in self.headers.get_secret_value().items()}
        if (token := self.bearer()) is not None:
            headers["Authorization"] = SecretStr(f"Bearer {token.get_secret_value()}")
        return NodeSpec(
            name=self.shown_name(name),
            url=self.url,
            api=self.api,
            headers=tuple(sorted(headers.items())),
            verify=self.verify,
            ca_bundle=self.ca_bundle or "",
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            load_timeout=self.load_timeout,
            max_in_flight=self.max_in_flight,
            max_request_texts=self.max_request_texts,
            block=self.name,
            **more,
        )

    def check(self, name: str = "") -> NodeStatus:
        """Ask the node for its version and models. An unreachable node is a result, not an exception.

        In async code this blocks; use `await acheck()` there.
        """
        return run_coro_as_sync(self.acheck(name))

    async def acheck(self, name: str = "") -> NodeStatus:
        """Ask the node for its version and models; see `check`."""
        return await check_node(self.to_spec(name))
