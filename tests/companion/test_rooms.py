"""The house: fcl stands alone, and each room of the companion imports only rooms below it."""

import ast
import sys
from pathlib import Path

import pytest
from tiny import ROOT

ROOMS = [  # from the ground up
    *(
        "project",
        "strict_yaml",
        "profiles",
        "weights",
        "experiments",
        "statistics",
        "paper",
        "runs",
        "notebooks",
        "batch",
        "report",
    ),
    *("claims", "photographs", "book", "interpreter", "doctor"),
]
NEEDS = {"torch", "numpy", "scipy", "PIL", "safetensors", "tqdm"}  # of fcl, as pyproject.toml says


def imports(file: Path) -> set[str]:
    """The modules that a file imports, anywhere in it: "companion.runs.reading" also for what is taken from there."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: name modules in full"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(package: str) -> list[Path]:
    return sorted(path for kind in ("py", "pyi") for path in (ROOT / package).rglob(f"*.{kind}"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_its_place():
    assert {path.relative_to(ROOT / "companion").parts[0].removesuffix(".py") for path in files("companion")} <= {
        *ROOMS,
        "__init__",
    }


@pytest.mark.parametrize("file", files("companion"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_rooms_below_it(file):
    mine = file.relative_to(ROOT / "companion").parts[0].removesuffix(".py")
    below = ROOMS if mine == "__init__" else ROOMS[: ROOMS.index(mine) + 1]
    taken = {room(module) for module in imports(file) if module.startswith("companion.")}
    assert taken <= set(below), f"{mine} stands below {taken - set(below)}"


@pytest.mark.parametrize("file", files("fcl"), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_fcl_stands_alone(file):
    allowed = NEEDS | {"fcl"} | set(sys.stdlib_module_names)
    if file.parent.name == "learnaf":
        allowed |= {"pandas", "OpenEXR"}
    assert {module.split(".")[0] for module in imports(file)} <= allowed


def test_inside_fcl_nothing_runs_in_circles():
    arrows = {}
    for file in files("fcl"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if file.suffix == ".py" and name != "fcl":  # whose names are taken from everywhere
            arrows[name] = imports(file)
    while arrows:
        free = [name for name, taken in arrows.items() if not (taken & arrows.keys()) - {name}]
        assert free, f"a circle among {sorted(arrows)}"
        for name in free:
            del arrows[name]
