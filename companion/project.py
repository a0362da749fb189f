"""Where the project lies."""

import os
import tomllib
from functools import cache
from pathlib import Path

NAME = "fcl-companion"  # in its pyproject.toml: what tells it from another project that has this one installed


@cache
def _is_project(folder: Path) -> bool:
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == NAME
    except (OSError, ValueError, KeyError, TypeError):  # no such file, or somebody else's
        return False


def project_root() -> Path:
    """The folder of this project's checkout: FCL_PROJECT where that is set, else found upwards from this file, then from the
    working directory. FileNotFoundError where there is none: notebooks, experiments and results are no part of a wheel.
    """
    named = os.environ.get("FCL_PROJECT")
    starts = [Path(named)] if named else [Path(__file__), Path.cwd()]
    for start in starts:
        for folder in (start.absolute(), *(() if named else start.absolute().parents)):
            if _is_project(folder):
                return folder
    place = f"FCL_PROJECT={named}" if named else f"{Path.cwd()} or above {Path(__file__).parent}"
    raise FileNotFoundError(f"no checkout of {NAME} at {place}: clone it, and work in its folder or set FCL_PROJECT to it")


def use_own_caches(always: bool = False) -> None:
    """Where the home folder can't be written, or `always`, libraries keep their caches in runs/.cache."""
    if not always and os.access(Path("~").expanduser(), os.W_OK):
        return
    names = {
        "MPLCONFIGDIR": "matplotlib",
        "IPYTHONDIR": "ipython",
        "JUPYTER_RUNTIME_DIR": "jupyter",
        "XDG_CACHE_HOME": "cache",
    }
    for name, folder in names.items():
        os.environ.setdefault(name, str(project_root() / "runs" / ".cache" / folder))


def prose() -> list[Path]:
    """The pages and notebooks whose prose quotes numbers from figures/ (`companion.claims.quotes`)."""
    root = project_root()
    return [*sorted(root.glob("*.md")), *sorted(root.glob("docs/*.md")), *sorted(root.glob("notebooks/*.ipynb"))]
