"""The direction of imports, which keeps the core free of the outside world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "equipoise"

# Each layer may import itself and the layers above it in this list.
LAYERS = (
    ("equipoise.errors",),
    ("equipoise.core",),
    ("equipoise.planning", "equipoise.dispatch", "equipoise.policies", "equipoise.profiling.feedback"),
    ("equipoise.families", "equipoise.engines", "equipoise.profiling", "equipoise.trust"),
    ("equipoise.fabric", "equipoise.models", "equipoise.node", "equipoise.runtime"),
    ("equipoise.simulation",),
    ("equipoise.lab",),
    ("equipoise.cli", "equipoise.__main__"),
)
PURE = (
    "equipoise.core", "equipoise.planning", "equipoise.dispatch", "equipoise.policies", "equipoise.profiling.feedback",
)  # fmt: skip
OUTSIDE_WORLD = {
    "asyncio", "concurrent", "multiprocessing", "os", "queue", "random", "select", "selectors", "signal", "socket",
    "ssl", "subprocess", "threading", "time", "urllib", "zenoh",
}  # fmt: skip


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("equipoise", *path.relative_to(PACKAGE).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path} imports relatively; write the full name"
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names}
    return found


def _belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _layer(module: str) -> int | None:
    """The most specific layer of a module; None for what stands outside the layers, like the version."""
    matches = [(len(p), rank) for rank, layer in enumerate(LAYERS) for p in layer if _belongs(module, p)]
    return max(matches)[1] if matches else None


MODULES = dict(_modules())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_layer_and_those_beneath(module: str):
    own = _layer(module)
    if own is None:
        assert module == "equipoise", f"{module} belongs to no layer; give it one in this test"
        own = 0

    above = {name for name in _imports(MODULES[module]) if (_layer(name) or 0) > own}

    assert not above


@pytest.mark.parametrize("module", [m for m in MODULES if any(_belongs(m, pure) for pure in PURE)])
def test_the_core_touches_no_socket_thread_or_clock(module: str):
    touched = {name for name in _imports(MODULES[module]) if name.split(".")[0] in OUTSIDE_WORLD}

    assert not touched


def test_no_module_gathers_what_has_no_home():
    homeless = {m for m in MODULES if m.rsplit(".", 1)[-1] in {"utils", "util", "common", "helpers", "misc"}}

    assert not homeless
