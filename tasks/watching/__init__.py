"""Watching a run: what all its processes know of the nodes, as one picture that is never older than a second or two."""

from prefect_ollama.tasks.watching.efficiency import efficiency
from prefect_ollama.tasks.watching.live import Live, NodeNow
from prefect_ollama.tasks.watching.memory import InMemory, Memory
from prefect_ollama.tasks.watching.outages import Change, Outages
from prefect_ollama.tasks.watching.picture import draw_timeline
from prefect_ollama.tasks.watching.posting import posting, process_name
from prefect_ollama.tasks.watching.progress import Done, Progress, Standing
from prefect_ollama.tasks.watching.snapshot import Snapshot, observed_by, observer
from prefect_ollama.tasks.watching.timeline import Timeline

__all__ = [
    "Change",
    "Done",
    "InMemory",
    "Live",
    "Memory",
    "NodeNow",
    "Outages",
    "Progress",
    "Snapshot",
    "Standing",
    "Timeline",
    "draw_timeline",
    "efficiency",
    "observed_by",
    "observer",
    "posting",
    "process_name",
]
