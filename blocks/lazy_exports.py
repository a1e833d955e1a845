"""Lazy exports: a package imports the modules of its names at their first use, as Prefect's own packages do.

So importing the package costs nothing, and modules that import each other through their packages make no cycle.
"""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_exports(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package, see PEP 562.

    A package without an `__all__` gets one with all these names. Public packages write it down, because type checkers
    of other projects read it there.

    Args:
        package: Full name of the package.
        file: Its `__init__.py`. Its block `if TYPE_CHECKING:` says which module has which name.
    """
    where: dict[str, str] = {}
    # A type checker needs the imports as statements. The imports are read here, so that packages need not repeat them
    # as data.
    for statement in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            for each in statement.body:
                assert isinstance(each, ast.ImportFrom)
                where |= {alias.name: str(each.module) for alias in each.names}

    def load(name: str) -> Any:
        if name == "__all__":
            return sorted(where)
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if where[name] == package:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(where[name]), name)
        setattr(sys.modules[package], name, value)  # from now on it is found without this function
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *where})

    return load, names
