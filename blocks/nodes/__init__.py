"""Nodes over HTTP: addresses, one client for each, and what has to be verified of their answers."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.blocks.nodes.address import (
        DEFAULT_PORT,
        HOST_VARIABLE,
        base_url,
        looks_like_address,
        names_block,
        node_url,
        openai_url,
        same_server,
        server_url,
        short_name,
        url_from_environment,
    )
    from prefect_ollama.blocks.nodes.apis import Api, open_chat_endpoint, open_endpoint
    from prefect_ollama.blocks.nodes.canaries import SCRIPTS, SHORT, scripts_in
    from prefect_ollama.blocks.nodes.chat import (
        ChatEndpoint,
        ChatLimits,
        ChatMessage,
        ChatReply,
        ChatRequest,
        json_object,
        json_request,
    )
    from prefect_ollama.blocks.nodes.chat_verification import VerifiedChat, verify_chat, verify_chat_again
    from prefect_ollama.blocks.nodes.check import (
        ChatCheck,
        ClusterCheck,
        check_cluster,
        check_node,
        check_nodes,
    )
    from prefect_ollama.blocks.nodes.comparison import compare, cosine, digits, least_cosine, unlike_scripts
    from prefect_ollama.blocks.nodes.discovery import (
        addresses_of,
        block_name,
        discover,
        free_name,
        host_name,
        network_of,
    )
    from prefect_ollama.blocks.nodes.embed_response import NORM_TOLERANCE, Answer, Vectors
    from prefect_ollama.blocks.nodes.endpoint import Endpoint, LoadedModel
    from prefect_ollama.blocks.nodes.fingerprint import Fingerprint, server_of
    from prefect_ollama.blocks.nodes.loop_lag import LoopLag, timeout_while_running
    from prefect_ollama.blocks.nodes.prefixes import prefixes_of
    from prefect_ollama.blocks.nodes.proxy import keep_local_direct, proxy_hint
    from prefect_ollama.blocks.nodes.rerank_endpoint import RerankEndpoint
    from prefect_ollama.blocks.nodes.spec import (
        DEFAULT_MODEL,
        DEFAULT_URL,
        ChatModelSpec,
        ClusterSpec,
        ModelSpec,
        NodeSpec,
        full_name,
        other_chats,
    )
    from prefect_ollama.blocks.nodes.status import UNKNOWN, NodeStatus
    from prefect_ollama.blocks.nodes.verification import (
        NodeVerification,
        VerifiedCluster,
        verify_again,
        verify_cluster,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
