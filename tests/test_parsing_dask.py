"""Parsing where it runs for real: in Dask workers under a nanny, which may have no multiprocessing children."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.tasks.parsing import ParseOptions, Parser
from tests import hostile

SAMPLE = Path(__file__).parent.parent / "samples" / "salz-de.pdf"


def _parse(path: Path) -> tuple[int, str]:
    with Parser() as parser:
        try:
            return len(parser.parse(path, ParseOptions(cpu_seconds=1)).pages), ""
        except DocumentError as error:
            return 0, error.kind


@pytest.mark.slow
def test_a_worker_process_under_a_nanny_reads_and_refuses(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pdf"
    bomb.write_bytes(hostile.form_bomb())
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path),
        ) as cluster,
        Client(cluster) as client,
    ):
        results = [client.submit(_parse, path, key=path.name).result(timeout=240) for path in (SAMPLE, bomb)]
    assert results == [(4, ""), (0, "cpu-time")]
