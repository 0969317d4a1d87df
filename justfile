# List the recipes.
default:
    @just --list

# Everything that a change must pass: style, types, imports, documentation, tests with coverage, package build.
check:
    .ci/run

# Style, types and the tests that take less than a minute in all.
fast:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy
    uv run pytest -m fast

# Format the code and mend what the linter can mend.
fix:
    uv run ruff format .
    uv run ruff check --fix .

# Build the documentation into site/; open site/index.html.
docs:
    uv run python docs/write_reference.py
    uv run zensical build --strict
