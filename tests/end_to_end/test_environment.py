"""The ways to install agree, and the Makefile keeps its word."""

import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from companion import interpreter
from fcl import __version__

ROOT = Path(__file__).resolve().parents[2]
TARGETS = (
    "figures all-figures experiment learnaf render claims publish weights book test test-all lab doctor bench environment"
).split()
GPU_LIBRARIES = ("nvidia", "triton", "cuda")


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned_here() -> dict[str, SpecifierSet]:
    """The lock's lines that hold on this Python and system, by name."""
    here = [pin for pin in pins("requirements.lock") if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): pin.specifier for pin in here}


def read_yaml(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text())


# --- the ways to install agree ---


@pytest.mark.parametrize("name", ["requirements.txt", "requirements.lock"])
def test_every_line_is_an_exact_pin(name):
    for pin in pins(name):
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} in {name} isn't `name==version`"


def test_lock_pins_each_direct_requirement_at_the_same_version():
    lock = {canonicalize_name(pin.name): pin for pin in pins("requirements.lock")}
    for pin in pins("requirements.txt"):
        assert str(lock[canonicalize_name(pin.name)]) == str(pin).lower()


def test_lock_leaves_gpu_libraries_to_torch():
    assert not [pin.name for pin in pins("requirements.lock") if pin.name.startswith(GPU_LIBRARIES)]
    assert "+" not in str(next(pin for pin in pins("requirements.lock") if pin.name == "torch"))


def test_lock_holds_all_that_the_direct_requirements_need():
    lock, seen = pinned_here(), set()
    waiting = [(pin.name, frozenset(pin.extras)) for pin in pins("requirements.txt")]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen or name.startswith(GPU_LIBRARIES):
            continue
        seen.add((name, extras))
        assert canonicalize_name(name) in lock, f"{name} is needed, but isn't in requirements.lock"
        for need in map(Requirement, importlib.metadata.requires(name) or ()):
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting.append((need.name, frozenset(need.extras)))


def test_the_environment_of_this_test_is_the_pinned_one():
    for name, specifier in pinned_here().items():
        assert importlib.metadata.version(name) in specifier, f"{name} differs from requirements.lock"


def test_conda_and_pyproject_take_the_same_files():
    dependencies = read_yaml("environment.yml")["dependencies"]
    names = [entry.split("=")[0] for entry in dependencies if isinstance(entry, str)]
    assert names == ["python", "pip"], "what conda gives can't be in the lock: leave the rest to pip"
    assert dependencies[-1] == {"pip": ["-r requirements.lock", "-e ."]}
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_python_versions_agree():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (_, oldest), (_, newest) = interpreter.OLDEST, interpreter.NEWEST
    assert pyproject["project"]["requires-python"] == f">=3.{oldest},<3.{newest + 1}"
    assert pyproject["tool"]["ruff"]["target-version"] == f"py3{oldest}"
    steps = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    (hosted,) = [step["with"]["python-version"] for step in steps if "python" in step.get("uses", "")]
    assert f"python={hosted}" in read_yaml("environment.yml")["dependencies"]
    assert hosted in SpecifierSet(pyproject["project"]["requires-python"])


def test_citation_names_this_version_and_the_paper():
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert paper["title"] == "Stable Autofocus with Focal Consistency Loss"
    assert [author["family-names"] for author in paper["authors"]] == ["Lee", "Choi", "Lee", "Lee"]


# --- the Makefile ---


def make(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """make in the project's folder, `path` first in the search path, whatever make runs this test."""
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(("MAKE", "MFLAGS"))}
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def pip_log(tmp_path):
    """A stand-in for Python, `python` in this folder: it makes environments that hold only itself, and writes
    what its pip is asked into `pip_log`. Its pip fails while a file `broken` lies beside it."""
    log = tmp_path / "pip.log"
    program(
        tmp_path / "python",
        f"""case "$*" in
            "-m venv --clear "*) rm -rf "$4"; mkdir -p "$4/bin"; cp {tmp_path}/python "$4/bin/python" ;;
            "-m pip "*) echo "$*" >> {log}; test ! -e {tmp_path}/broken ;;
            "-c "*) echo "{tmp_path}" ;;
        esac""",
    )
    return log


def install(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return make("environment", f"PYTHON={folder}/python", f"VENV={folder}/venv", *arguments, path=folder)


def stamps(folder: Path) -> list[Path]:
    return list((folder / "venv").glob(".installed-*"))


def test_help_has_a_line_for_every_target():
    listed = re.findall(r"^  make ([a-z-]+) +\S+", make().stdout, flags=re.MULTILINE)
    assert listed == ["help", *TARGETS]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_exists_and_takes_an_environment_of_ones_own(target):
    asked = make("-n", target, "RUN=python-of-mine")
    assert asked.returncode == 0, asked.stderr
    assert "pip" not in asked.stdout
    assert "python-of-mine -m " in asked.stdout or target == "environment"


def test_variables_reach_the_batch():
    asked = make("-n", "figures", "PROFILE=smoke", "CORES=3", "SEEDS=0 1", "RUN=python").stdout
    assert (
        asked.strip() == 'python -m companion.batch.starter figures --profile smoke --data simulated --cores 3 --seeds "0 1"'
    )
    asked = make("-n", "experiment", "NAME=table_c", "SEEDS=published", "CORES=2", "RUN=python").stdout
    assert (
        asked.strip()
        == 'python -m companion.batch.starter table_c --profile laptop --data simulated --cores 2 --seeds "published"'
    )
    asked = make("-n", "weights", "MODEL=l2a", "SETTINGS=D1 I1", "CORES=2", "RUN=python").stdout
    assert asked.strip().endswith('weights --profile laptop --data simulated --cores 2 --settings "D1 I1" --model "l2a"')
    assert "--profile laptop --data learnaf" in make("-n", "render", "DATA=learnaf", "RUN=python").stdout
    asked = make("-n", "learnaf", "ROOT=there", "LEARNAF=--zmin 0.2", "RUN=python").stdout
    assert asked.strip().endswith('python -m companion.photographs.public collect "there" --zmin 0.2')
    assert "Say where the data set lies" in make("-n", "learnaf", "RUN=python").stdout
    assert "--no-browser" in make("-n", "lab", "LAB_OPTIONS=--no-browser", "RUN=python").stdout


def test_cores_are_counted_whatever_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert f"--cores {affinity} " in make("-n", "figures", "RUN=python").stdout


def test_environment_is_made_once(tmp_path, pip_log):
    first = install(tmp_path)
    assert first.returncode == 0, first.stderr
    assert len(stamps(tmp_path)) == 1
    assert (tmp_path / "fcl-project.pth").read_text().strip() == "../../../.."
    pip_log.unlink()
    assert install(tmp_path).returncode == 0 and not pip_log.exists()


def test_interrupted_install_starts_again(tmp_path, pip_log):
    (tmp_path / "broken").touch()
    assert install(tmp_path).returncode != 0 and not stamps(tmp_path)
    (tmp_path / "venv" / "half-copied").touch()
    (tmp_path / "broken").unlink()
    assert install(tmp_path).returncode == 0 and stamps(tmp_path)
    assert not (tmp_path / "venv" / "half-copied").exists()


def test_changed_lock_installs_into_the_same_environment(tmp_path, pip_log):
    install(tmp_path)
    (old,) = stamps(tmp_path)
    old.rename(old.with_name(".installed-of-another-lock"))
    (tmp_path / "venv" / "of-mine").touch()
    assert install(tmp_path).returncode == 0
    assert stamps(tmp_path) == [old] and (tmp_path / "venv" / "of-mine").exists()


@pytest.mark.parametrize("system, gpu, offered", [("Linux", False, True), ("Linux", True, False), ("Darwin", False, False)])
def test_cpu_index_is_offered_on_linux_without_a_gpu(tmp_path, pip_log, system, gpu, offered):
    program(tmp_path / "uname", f"echo {system}")
    program(tmp_path / "nvidia-smi", f"exit {0 if gpu else 9}")
    assert install(tmp_path).returncode == 0
    torch_step, lock_step = [line for line in pip_log.read_text().splitlines() if " install " in line]
    assert ("--extra-index-url" in torch_step) == ("--retries 0" in torch_step) == offered
    assert "--extra-index-url" not in lock_step and "requirements.lock" in lock_step


def test_missing_python_gets_one_clear_line(tmp_path):
    asked = make("environment", f"PYTHON={tmp_path}/none", f"VENV={tmp_path}/venv")
    assert asked.returncode != 0
    assert f"There is no '{tmp_path}/none' here." in asked.stderr
    assert not (tmp_path / "venv").exists()
