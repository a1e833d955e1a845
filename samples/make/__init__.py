"""Makes the PDFs of `samples/` from the texts beside it: `uv run python -m samples.make`."""
