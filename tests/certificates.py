"""Certificates for Dask workers that tests start and reach by address, as those of other machines are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.config
from distributed.security import Security

from prefect_ollama.flows.runner._local_cluster import WorkerCluster
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner


@contextmanager
def trusted() -> Iterator[Security]:
    """Certificates that Dask's own settings name meanwhile, in this process and in those that it starts."""
    security = Security.temporary()
    with tempfile.TemporaryDirectory(prefix="certificates-") as folder:
        cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        cert.write_text(security.tls_ca_file)
        key.write_text(security.tls_client_key)
        settings = {"ca-file": str(cert)}
        for role in ("scheduler", "worker", "client"):
            settings |= {f"{role}.cert": str(cert), f"{role}.key": str(key)}
        names = {
            f"DASK_DISTRIBUTED__COMM__TLS__{name}".replace("-", "_").replace(".", "__").upper(): value
            for name, value in settings.items()
        }
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            with dask.config.set({f"distributed.comm.tls.{name}": value for name, value in settings.items()}):
                yield security
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def reaching(cluster: WorkerCluster) -> IngestTaskRunner:
    """A task runner that reaches these workers by their address alone."""
    return IngestTaskRunner(address=cluster.scheduler_address, client_kwargs={"security": cluster.security})
