"""Writes every PDF of `samples/` that differs from what stands there; names given limit it to those."""

from __future__ import annotations

import sys
from pathlib import Path

from samples.make.catalogue import DOCUMENTS

SAMPLES = Path(__file__).parent.parent


def main(names: list[str]) -> None:
    """Make the named documents (all of them without a name) and say what changed."""
    for name in names or list(DOCUMENTS):
        data = DOCUMENTS[name]()
        path = SAMPLES / name
        same = path.exists() and path.read_bytes() == data
        if not same:
            path.write_bytes(data)
        print(f"{'same   ' if same else 'written'} {len(data) / 1024:7.0f} KB  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
