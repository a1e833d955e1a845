"""The tasks of the flows, one module for each step; the packages hold the code that needs no task."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks import (
        answer,
        discover,
        embed,
        maintain,
        node_status,
        parse,
        publish,
        re_embed_cost,
        recover,
        research,
        scan,
        store,
        tune,
        verify_nodes,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
