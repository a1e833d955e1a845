"""Show the names of packages without an `__all__` in the API reference.

Such a package gets its `__all__` from `blocks/lazy_exports.py` when it is imported, and Griffe reads source text. This
extension imports the package, and gives Griffe its names in the order of isort: constants, classes, functions.
"""

from __future__ import annotations

from typing import Any

import griffe


class PackageExports(griffe.Extension):
    """Set the exports of packages that do not write them down."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Complete a package that was loaded, and the packages below it."""
        for member in pkg.members.values():
            if isinstance(member, griffe.Module) and member.is_init_module:
                self.on_package(pkg=member)
        if pkg.exports is None:
            pkg.exports = sorted(getattr(griffe.dynamic_import(pkg.path), "__all__", ()), key=_isort)


def _isort(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[0].isupper(), name
