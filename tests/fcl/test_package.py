"""`fcl` as others import it: the names at the top, what they cost, what they hide."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import fcl

FOLDER = Path(fcl.__file__).parent
CONTRACT = """
    ordinal_loss kl jeffreys jensen_shannon pairwise mean_standard_deviation focal_consistency_loss
    mae rmse within msd_star total_variation evaluate build_model FOCUS_DISTANCES_MM blur_diameter dual_pixel_kernels
    simulate_stacks FocalStacks learnaf_stacks Config train predict
""".split()


def stub() -> dict[str, str]:
    """Name and module of each import in fcl/__init__.pyi, which type checkers read."""
    imports = [line for line in ast.parse((FOLDER / "__init__.pyi").read_text()).body if isinstance(line, ast.ImportFrom)]
    return {name.asname: line.module for line in imports for name in line.names}


def test_every_name_of_the_contract_is_at_the_top():
    for name in CONTRACT:
        assert hasattr(fcl, name), name
    assert set(fcl.__all__) <= set(dir(fcl))
    assert doctest.testmod(fcl).failed == 0


def test_editors_see_the_same_names_at_the_same_places():
    assert set(stub()) == {*fcl.__all__, "learnaf_stacks"}
    for name, module in stub().items():
        assert getattr(fcl, name) is getattr(importlib.import_module(module), name)


def test_no_name_hides_a_module():
    assert not {module.name for module in pkgutil.iter_modules(fcl.__path__)} & {*stub(), *CONTRACT}


def test_a_misspelt_name_is_refused():
    with pytest.raises(ImportError, match="tarin"):
        from fcl import tarin  # noqa: F401


def test_what_tables_need_starts_without_torch():
    light = "fcl.metrics, fcl.closed_loop, fcl.settings, fcl.config, fcl.classical"
    code = f"import sys, {light}; from fcl import Config, evaluate; print(*{{'torch', 'scipy', 'PIL'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
