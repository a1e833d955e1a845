"""Show all names of a package in the API reference, also those that only an import gives.

Griffe reads source text, which has two gaps. A package without an `__all__` gets one from `blocks/lazy_exports.py` when
it is imported. And a name that a module of the package has too (`flows.ask` in `flows/ask.py`) is that module for it.
"""

from __future__ import annotations

from typing import Any

import griffe


class PackageExports(griffe.Extension):
    """Set the exports of packages that do not write them down, and point names of modules at what they export."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Complete a package that was loaded, and the packages below it."""
        for member in pkg.members.values():
            if isinstance(member, griffe.Module) and member.is_init_module:
                self.on_package(pkg=member)
        if pkg.exports is None:
            pkg.exports = sorted(getattr(griffe.dynamic_import(pkg.path), "__all__", ()), key=_isort)
        _replace_modules(pkg)


def _replace_modules(pkg: griffe.Module) -> None:
    names = [str(name) for name in pkg.exports or ()]
    modules = [pkg.members[name] for name in names if isinstance(pkg.members.get(name), griffe.Module)]
    modules = [module for module in modules if isinstance(module.members.get(module.name), griffe.Function)]
    if modules:
        # The other names of these modules cannot be found any more once the modules are replaced.
        for name in names:
            if isinstance(alias := pkg.members.get(name), griffe.Alias):
                alias.resolve_target()
    for module in modules:
        pkg.set_member(module.name, griffe.Alias(module.name, module.members[module.name], parent=pkg))


def _isort(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[0].isupper(), name
