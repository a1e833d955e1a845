"""Reports over all nodes: parts are drafted, judged and criticised in parallel, then one text is written from the rest.

Needs no Prefect.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.researching._step import Done
    from prefect_ollama.tasks.researching._synthesis import groups_that_fit
    from prefect_ollama.tasks.researching.bounds import Bounds, Budget
    from prefect_ollama.tasks.researching.findings import Findings, merged
    from prefect_ollama.tasks.researching.steps import Searching, Steps
    from prefect_ollama.tasks.researching.windows import passages_of, windows_of
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
