"""The layout: each package lists its names, and modules of other packages import only these."""

import ast
import dataclasses
import importlib
import inspect
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefect_ollama.blocks
import prefect_ollama.flows
from prefect_ollama.blocks import errors
from tests.test_public_api import FOLDERS, LAYERS, PACKAGES, ROOT, modules

PUBLIC = (prefect_ollama.flows, prefect_ollama.blocks, errors)


def imported(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and names of everything that a file imports from the product."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name, []) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module, [each.name for each in node.names]


def packages_around(module: str) -> list[str]:
    """Return the packages that a module is in, outermost first, without the layer."""
    parts = module.split(".")
    return [package for end in range(2, len(parts)) if (package := ".".join(parts[:end])) in PACKAGES]


@pytest.mark.parametrize("name", [*PACKAGES, *sorted(LAYERS.keys() - {"prefect_ollama"})])
def test_every_package_says_what_it_is_and_lists_its_names(name: str) -> None:
    package = importlib.import_module(name)
    assert (package.__doc__ or "").strip(" …")
    assert set(package.__all__) <= set(dir(package))
    assert [each for each in package.__all__ if not hasattr(package, each)] == []
    with pytest.raises(AttributeError, match="has no attribute 'nothing_of_this_name'"):
        _ = package.nothing_of_this_name


def lazy_names(package: str) -> Iterator[str]:
    """Names that a package loads at their first use, without modules of it."""
    for node in ast.parse(inspect.getsource(importlib.import_module(package))).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for each in node.body:
                if isinstance(each, ast.ImportFrom) and each.module != package:
                    yield from (alias.name for alias in each.names)


def test_no_module_has_the_name_of_something_that_its_package_loads_lazily() -> None:
    """An import of the module would put it in the place of that."""
    known = {name for name, _ in modules()}
    packages = [*PACKAGES, *LAYERS]
    assert sum(1 for package in packages for _ in lazy_names(package)) > 100
    hidden = [
        f"{package}.{name}"
        for package in packages
        for name in lazy_names(package)
        if f"{package}.{name}" in known
    ]
    assert hidden == []


def test_only_listed_names_are_imported_from_other_packages() -> None:
    """A module imports from another package by the package, and from its own by module."""
    known = {name for name, _ in modules()}
    past = []
    for name, path in modules():
        at_home = {name, *packages_around(name), *([name] if name in PACKAGES else [])}
        for line, module, names in imported(path):
            targets = [f"{module}.{each}" if f"{module}.{each}" in known else module for each in names] or [
                module
            ]
            for each, target in zip(names or [""], targets, strict=True):
                if target not in known:
                    continue
                closed = [package for package in packages_around(target) if package not in at_home]
                listed = importlib.import_module(module).__all__ if module in closed[:1] else ()
                if closed and each not in listed:
                    past.append(f"{path.relative_to(ROOT)}:{line} imports {target} past {closed[0]}")
    assert past == []


@pytest.mark.parametrize(("folder", "decorator"), [("flows", "flow"), ("tasks", "task")])
def test_a_layer_holds_flows_or_tasks_and_its_packages_hold_the_rest(folder: str, decorator: str) -> None:
    others = []
    for path in sorted((ROOT / FOLDERS_OF[folder]).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if not used & {decorator, "materialize"}:
            others.append(path.stem)
    # `history` keeps deployments of earlier versions alive.
    assert set(others) <= {"__init__", "parameters", "history"}


FOLDERS_OF = {package.rpartition(".")[2]: folder for package, folder in FOLDERS.items()}


def types_in(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and not typing.get_origin(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from types_in(argument)


def names_of(module: str) -> dict[str, object]:
    """Names of a module, with those that it imports for type checkers only."""
    names = dict(vars(importlib.import_module(module)))
    for node in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module, "exec"), names)
    return names


def returned() -> dict[type, str]:
    """Types of ours that public flows return, with those of their fields, and where they come from."""
    found: dict[type, str] = {}

    def take(hint: object, where: str) -> None:
        for each in types_in(hint):
            if not each.__module__.startswith("prefect_ollama") or each in found:
                continue
            found[each] = where
            names: dict[str, object] = {}
            for kind in reversed(
                [kind for kind in each.__mro__ if kind.__module__.startswith("prefect_ollama")]
            ):
                names |= names_of(kind.__module__)
            if dataclasses.is_dataclass(each):
                for name, inner in typing.get_type_hints(each, names).items():
                    take(inner, f"{where}.{name}")
            for name, member in inspect.getmembers(each, lambda value: isinstance(value, property)):
                take(typing.get_type_hints(member.fget, names).get("return"), f"{where}.{name}")

    for name in prefect_ollama.flows.__all__:
        value = getattr(prefect_ollama.flows, name)
        function = getattr(value, "fn", value)
        if inspect.isfunction(function):
            take(typing.get_type_hints(function).get("return"), name)
    return found


def test_what_flows_return_can_be_imported_from_a_public_package() -> None:
    public = {id(getattr(package, name)) for package in PUBLIC for name in package.__all__}
    types = returned()
    assert len(types) > 10
    assert {each.__qualname__: where for each, where in types.items() if id(each) not in public} == {}


def test_what_flows_raise_can_be_imported_from_a_public_package() -> None:
    for name, _ in modules():
        if not name.endswith("__main__"):
            importlib.import_module(name)

    def kinds(error: type[BaseException]) -> Iterator[type[BaseException]]:
        for each in error.__subclasses__():
            yield each
            yield from kinds(each)

    public = {getattr(package, name) for package in PUBLIC for name in package.__all__}
    ours = {each for each in kinds(errors.PrefectOllamaError) if each.__module__.startswith("prefect_ollama")}
    assert len(ours) > 15
    assert sorted(each.__qualname__ for each in ours - public) == []
