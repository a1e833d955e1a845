"""LanceDB, imported in half the time.

`import lancedb` also loads the client of Lance's REST catalogues, which compiles the checks of some hundred calls: 0.6
of 1.2 s on one core. Nothing here uses a catalogue. So the modules and names of that package are loaded only
when they are used.
"""

import sys
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any, Final

# The package that LanceDB imports for catalogues.
CATALOGUE_CLIENT: Final = "lance_namespace_urllib3_client"

_lock = RLock()


def load() -> ModuleType:
    """Return the module `lancedb`. A process that has loaded it must not fork."""
    with _lock:
        if "lancedb" not in sys.modules:
            load_names_late(CATALOGUE_CLIENT)
        import lancedb

        return lancedb


def load_names_late(package: str) -> None:
    """Let a package be imported without its `__init__`, which runs at the first use of a name that it defines.

    Its modules are imported as always. A package that is loaded already, or is not installed, stays as it is.
    """
    if package in sys.modules or (spec := find_spec(package)) is None or spec.loader is None:
        return
    module, loader = module_from_spec(spec), spec.loader

    def look_up(name: str) -> Any:
        # Python and `inspect` ask for names such as `__wrapped__`, which no `__init__` defines.
        if not name.startswith("__"):
            with _lock:
                if vars(module).pop("__getattr__", None) is not None:
                    loader.exec_module(module)
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    vars(module)["__getattr__"] = look_up
    sys.modules[package] = module
