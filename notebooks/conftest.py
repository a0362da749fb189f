"""What `pytest --nbval notebooks` compares: the notebooks that have stored outputs. Its header names the others."""

import os
from pathlib import Path

from companion.notebooks import UNATTENDED, has_outputs
from companion.project import use_own_caches

use_own_caches(always=True)  # whatever state the home folder is in
os.environ[UNATTENDED] = "1"  # of the kernels: no sliders, whose outputs are not compared


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.suffix == ".ipynb" and not has_outputs(collection_path) else None


def pytest_report_header() -> str:
    without = sorted(path.name for path in Path(__file__).parent.rglob("[!.]*.ipynb") if not has_outputs(path))
    return f"not compared, no stored outputs: {', '.join(without) or 'none'}"


def pytest_configure() -> None:
    import matplotlib.font_manager  # noqa: F401  its list of fonts is made once, not by several kernels that say so
