"""Can this Python carry the project's environment? The Makefile asks it of the user's own python3 before anything is
installed, so this file needs nothing but the standard library and runs on any Python 3.
"""

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig

OLDEST, NEWEST = (3, 11), (3, 14)
CHOOSE = "Install one, or name another: make PYTHON=/path/to/python3.12"


def problem(version, has_venv, can_compile, system, processor):
    """One line that says why this Python won't do and what to do, or None when it will.

    version (major, minor, ...); has_venv: it can make virtual environments that hold pip; can_compile: a C compiler and
    Python's headers are here; system, processor: `platform.system()`, `platform.machine()`.
    """
    version = tuple(version[:2])
    if not OLDEST <= version <= NEWEST:
        this, oldest, newest = (".".join(map(str, numbers)) for numbers in (version, OLDEST, NEWEST))
        return f"This is Python {this}; the project needs {oldest} to {newest}. {CHOOSE}"
    if (system, processor) == ("Darwin", "x86_64"):
        return "torch has no builds for Intel Macs any more, nor for Intel Pythons on other Macs. " + CHOOSE
    if not has_venv:
        return "This Python can't make virtual environments. On Debian, Ubuntu: sudo apt install python3-venv"
    if version == (3, 14) and not can_compile:
        return (
            "On Python 3.14 one package (immutables) has to be compiled, and a C compiler or Python's "
            "headers are missing. On Debian, Ubuntu: sudo apt install gcc python3-dev. " + CHOOSE
        )
    return None


def this_problem():
    """`problem` of the Python that runs this."""
    has_venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
    headers = os.path.join(sysconfig.get_path("include"), "Python.h")
    can_compile = shutil.which("cc") is not None and os.path.exists(headers)
    return problem(sys.version_info, has_venv, can_compile, platform.system(), platform.machine())


if __name__ == "__main__":
    sys.exit(this_problem())
