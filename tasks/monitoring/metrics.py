"""Prometheus metrics of ingest runs. The values of a node are the sums over all processes of a run.

Guarantees: counters only grow, over all runs of this process. Gauges belong to the runs in progress, and are removed at
their end. Labels are printable names of nodes and sources, and fixed words, never other texts from outside. The metrics
are collected whether they are exposed or not (`metrics_endpoint`).
"""

import time
from typing import Self

from prometheus_client import Counter, Gauge, Summary

from prefect_ollama.blocks.documents import RUN_FAILED
from prefect_ollama.blocks.printable import printable
from prefect_ollama.tasks.monitoring.node_stats import NodeNow
from prefect_ollama.tasks.monitoring.snapshot import Snapshot
from prefect_ollama.tasks.reporting import IngestReport, RunStatistics

# Names and units follow https://prometheus.io/docs/practices/naming/. Prometheus adds `_total` to counters.
TEXTS = Counter("prefect_ollama_node_texts", "Texts whose vector came from the node.", ["node"])
REQUESTS = Counter("prefect_ollama_node_requests", "Requests that the node answered.", ["node"])
ERRORS = Counter("prefect_ollama_node_errors", "Errors of the node, by kind.", ["node", "kind"])
BUSY = Counter("prefect_ollama_node_busy_seconds", "Time in which the node had work.", ["node"])
# Gauges are sums over the runs of this process, because several flows may run in it.
IN_FLIGHT = Gauge(
    "prefect_ollama_node_in_flight", "Requests that the node has and has not answered.", ["node"]
)
# A value for each state, because Prometheus has no texts as values.
BREAKER = Gauge(
    "prefect_ollama_node_breaker", "1 for the state that the node's breaker is in.", ["node", "state"]
)
DOWN = Gauge("prefect_ollama_node_down", "1 if the node counts as down.", ["node"])
# Percentiles and no histogram: workers send percentiles, from which no histogram can be made.
LATENCY = Gauge(
    "prefect_ollama_node_request_seconds", "Percentiles of the node's last requests.", ["node", "percentile"]
)
VECTORS = Counter("prefect_ollama_vectors", "Vectors of chunks, by origin.", ["origin"])
DOCUMENTS = Counter("prefect_ollama_documents", "Documents of runs that ended, by outcome.", ["outcome"])
PROGRESS = Gauge("prefect_ollama_run_progress_ratio", "Part of its work that a run has done.", ["source"])
# A summary has count and sum, from which Prometheus makes the mean time of any period.
RUNS = Summary("prefect_ollama_run_seconds", "Runs that ended, and how long they took.", ["status"])

# All states of a breaker: the gauge has a value for each.
STATES = ("closed", "half-open", "open")


class RunMetrics:
    """The part of one run in the metrics of its process. A run whose context ends without `end` has failed."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ended = False
        self._counted: dict[Counter, float] = {}
        self._set: dict[Gauge, float] = {}
        self._sources: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            RUNS.labels(RUN_FAILED).observe(time.monotonic() - self._began)

    def see(self, run: Snapshot) -> None:
        """Update the metrics from a snapshot of the run; called from one thread."""
        for node in run.nodes:
            self._see(node, down=node.name in run.down)
        source = printable(run.source)
        PROGRESS.labels(source).set(run.progress_state.part)
        self._sources.add(source)
        if run.ended:
            self._forget()

    def count(self, bundle: RunStatistics) -> None:
        """Add the counts of a bundle."""
        origins = {
            "node": bundle.embedded,
            "cache": bundle.from_cache,
            "table": bundle.from_table,
            "repeated": bundle.repeated,
        }
        for origin, vectors in origins.items():
            VECTORS.labels(origin).inc(vectors)

    def end(self, report: IngestReport, status: str) -> None:
        """Add the end of the run."""
        self._ended = True
        for outcome, documents in report.outcomes().items():
            DOCUMENTS.labels(outcome).inc(documents)
        RUNS.labels(status).observe(report.seconds)

    def _see(self, node: NodeNow, *, down: bool) -> None:
        name = printable(node.name)
        self._grow(TEXTS.labels(name), node.texts)
        self._grow(REQUESTS.labels(name), node.requests)
        self._grow(BUSY.labels(name), node.busy_seconds)
        for kind, errors in node.kinds.items():
            self._grow(ERRORS.labels(name, kind), errors)
        self._show(IN_FLIGHT.labels(name), node.in_flight)
        self._show(DOWN.labels(name), down)
        self._show(LATENCY.labels(name, "50"), node.p50)
        self._show(LATENCY.labels(name, "95"), node.p95)
        for state in STATES:
            self._show(BREAKER.labels(name, state), node.state == state)

    def _grow(self, counter: Counter, value: float) -> None:
        grown = value - self._counted.get(counter, 0.0)
        if grown > 0:
            counter.inc(grown)
            self._counted[counter] = value

    def _show(self, gauge: Gauge, value: float) -> None:
        gauge.inc(value - self._set.get(gauge, 0.0))  # other runs of this process have their part in it
        self._set[gauge] = value

    def _forget(self) -> None:
        for gauge in self._set:
            self._show(gauge, 0.0)
        for source in self._sources:
            PROGRESS.remove(source)
