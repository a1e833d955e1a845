"""Lazy exports: a package imports the modules of its names at their first use, as Prefect's own packages do.

So importing the package costs nothing, and modules that import each other through their packages make no cycle.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package, see PEP 562.

    Args:
        package: Full name of the package.
        homes: Names, by the module that defines them. The module name is relative to the package, or full. Under the
            empty name are modules of the package that it exports themselves.
    """
    where = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = where[name]
        if not home:
            return importlib.import_module(f"{package}.{name}")
        module = home if home.startswith("prefect_ollama.") else f"{package}.{home}"
        value = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, value)  # from now on it is found without this function
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return load, names
