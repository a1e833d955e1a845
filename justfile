# The README's tests; `just test -m slow` runs the slow ones.
test *options:
    uv run --compile-bytecode pytest -n 4 {{ options }}

# Lint, format and types.
check:
    uv run ruff check
    uv run ruff format --check
    uv run mypy

# Make the samples again that differ from what stands in samples/.
samples *names:
    uv run python -m samples.make {{ names }}

# All that has to pass, as in a fresh clone.
ci:
    .ci/run
