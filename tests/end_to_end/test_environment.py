"""The ways to install agree, what is imported is declared, a wheel is whole, and the Makefile keeps its word."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from companion import interpreter
from fcl import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
TARGETS = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].replace("\\", "").split()
GPU_LIBRARIES = ("nvidia", "triton", "cuda")
STARTED = {"ipykernel", "jupyterlab", "nbval", "pytest-xdist", "ruff", "seaborn"}
STARTED |= {"snakemake", "snakemake-executor-plugin-slurm"}


def requirements(*extras: str) -> dict[str, Requirement]:
    """What `pip install fcl-companion[extras]` asks for, by name."""
    lines = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        lines += PROJECT["project"]["optional-dependencies"][extra]
    asked = {canonicalize_name(line.name): line for line in map(Requirement, lines)}
    own = asked.pop("fcl-companion", None)
    return requirements(*own.extras) | asked if own else asked


def lock() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


# --- the ways to install agree ---


def test_the_lock_is_exact_and_leaves_gpu_libraries_to_torch():
    for pin in lock():
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} isn't `name==version`"
        assert not pin.name.startswith(GPU_LIBRARIES), pin.name


def test_the_lock_is_what_the_ranges_need():
    pinned = {canonicalize_name(pin.name): pin for pin in lock() if pin.marker is None or pin.marker.evaluate()}
    waiting, needed = list(requirements("test").values()), set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if name.startswith(GPU_LIBRARIES):
            continue
        assert name in pinned, f"{name} is needed, but isn't in requirements.lock"
        assert str(pinned[name].specifier).lstrip("=") in asked.specifier, f"{pinned[name]} is pinned, {asked} needed"
        if (name, frozenset(asked.extras)) not in needed:
            needed.add((name, frozenset(asked.extras)))
            for line in map(Requirement, importlib.metadata.requires(name) or ()):
                if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in ("", *asked.extras)):
                    waiting.append(line)
    assert set(pinned) == {name for name, _ in needed}, "requirements.lock pins what nothing needs"


def imports(*places: str) -> Iterator[tuple[str, str]]:
    """(file, module) of each import of a package from outside the project, in scripts and in cells of notebooks."""
    scripts = [path.stem for folder in ("tests", "examples") for path in (ROOT / folder).rglob("*.py")]
    own = {"fcl", "companion", "benchmarks", *scripts}
    for path in (path for place in places for path in (ROOT / place).rglob("[!.]*.*")):
        text = path.read_text() if path.suffix in (".py", ".ipynb") else ""
        if path.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
        for line in ast.walk(ast.parse(text)):
            named = [name.name for name in line.names] if isinstance(line, ast.Import) else []
            named += [line.module] if isinstance(line, ast.ImportFrom) and not line.level else []
            for module in {name.split(".")[0] for name in named} - own - sys.stdlib_module_names:
                yield str(path.relative_to(ROOT)), module


def test_what_is_imported_is_declared_and_the_other_way_round():
    distributions, used = importlib.metadata.packages_distributions(), set()
    for file, module in imports("fcl", "companion", "benchmarks", "tests", "notebooks", "examples"):
        folder = Path(file).parts[0]
        extras = {"fcl": [], "examples": [], "companion": ["companion", "photographs"]}.get(folder, ["test"])
        declared = requirements(*extras, *(["photographs"] if file.startswith("fcl/learnaf/") else []))
        names = {canonicalize_name(name) for name in distributions.get(module, [module])}
        assert names & set(declared), f"{file} imports {module}, which pyproject.toml doesn't name"
        used |= names
    assert set(requirements("test")) <= used | STARTED, "declared, but neither imported nor started"


def test_conda_takes_the_same_lock_and_no_cuda():
    *names, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert [name.split("=")[0] for name in names] == ["python", "pip"], "what conda gives can't be in the lock"
    assert {"-r requirements.lock", "-e ."} < set(pip["pip"]) and any("whl/cpu" in line for line in pip["pip"])


def test_python_versions_agree():
    (_, oldest), (_, newest) = interpreter.OLDEST, interpreter.NEWEST
    assert PROJECT["project"]["requires-python"] == f">=3.{oldest},<3.{newest + 1}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{oldest}"
    assert WORKFLOW["jobs"]["fast"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(oldest, newest + 1)]
    conda = re.search(r"python=([\d.]+)", (ROOT / "environment.yml").read_text())[1]
    assert conda in SpecifierSet(PROJECT["project"]["requires-python"])


def test_the_workflow_names_what_exists():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r"make ([a-z-]+)", text)) <= set(TARGETS)
    for file, test in re.findall(r"--deselect (\S+)::(\w+)", text):
        assert f"def {test}(" in (ROOT / file).read_text()


def test_a_pull_request_shows_which_verdicts_change(tmp_path):
    (tmp_path / "before.csv").write_text("id,verdict,n\na,supported,1\na,supported,2\nb,inconclusive,1\n")
    (tmp_path / "after.csv").write_text("id,verdict,n\na,supported,1\nb,contradicted,1\nc,supported,1\n")
    command = [sys.executable, ROOT / ".github/verdicts.py", tmp_path / "before.csv", tmp_path / "after.csv"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "2 of 3" in shown and "| `b` | inconclusive | contradicted |" in shown and "| `c` | – | supported |" in shown
    assert "`a`" not in shown


def test_this_version_is_cited_and_has_its_changes():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"\n## {__version__} " in (ROOT / "CHANGELOG.md").read_text()


# --- a wheel, away from the checkout ---


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what a wheel of the project brings."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("fcl", "companion"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", source, source]
    subprocess.run([sys.executable, "-m", *command], check=True)
    zipfile.ZipFile(*source.glob("*.whl")).extractall(folder)
    return folder


def away(installed: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Python with that folder's packages, in that folder, knowing nothing of the checkout."""
    code = f"import sys, runpy; sys.path[:] = [{str(installed)!r}, *(p for p in sys.path if p != {str(ROOT)!r})]; "
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FCL_PROJECT")}
    command = [sys.executable, "-P", "-c", code + arguments[0], *arguments[1:]]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, timeout=60)


def test_a_wheel_holds_every_file_of_both_packages(installed):
    for package in ("fcl", "companion"):
        own = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.*") if "__pycache__" not in path.parts}
        assert own == {path.relative_to(installed) for path in (installed / package).rglob("*.*")}
        assert (installed / package / "py.typed").exists()


def test_fcl_works_from_a_wheel(installed):
    code = "import fcl; from fcl import simulate_stacks, train; print(fcl.__file__, simulate_stacks(1, 0, 16).slices.shape)"
    found = away(installed, code)
    assert found.stdout.split(" ", 1) == [str(installed / "fcl/__init__.py"), "(1, 49, 2, 16, 16)\n"], found.stderr


def test_the_companion_says_that_it_needs_the_checkout(installed):
    found = away(installed, "runpy.run_module('companion.batch', run_name='__main__', alter_sys=True)", "figures")
    (line,) = found.stderr.splitlines()
    assert found.returncode != 0 and "no checkout of fcl-companion" in line


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
            "-m venv "*) mkdir -p "$3/bin"; cp {tmp_path}/python "$3/bin/python" ;;
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
    assert sorted(listed) == sorted(TARGETS)


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "help"])
def test_every_target_takes_an_environment_of_ones_own(target):
    asked = make("-n", target, "RUN=python-of-mine")
    assert asked.returncode == 0, asked.stderr
    assert "pip" not in asked.stdout
    assert "python-of-mine -m " in asked.stdout or target == "environment"


@pytest.mark.parametrize(
    "words, reach",
    [
        ("figures PROFILE=smoke CORES=3", "figures --profile smoke --data simulated --cores 3 --seeds 0"),
        ("experiment NAME=table_c SEEDS=published", "table_c --profile laptop --data simulated --cores 2 --seeds published"),
        ("weights MODEL=l2a SETTINGS=D1", "weights --profile laptop --data simulated --cores 2 --settings D1 --model l2a"),
        ("render DATA=learnaf", "render --profile laptop --data learnaf --cores 2 --source results"),
        ("learnaf ROOT=there LEARNAF=--views", "collect there --views"),
        ("lab LAB_OPTIONS=--no-browser", "--no-browser"),
        ("bench BENCH=--figures", "benchmarks --figures"),
    ],
)
def test_variables_reach_the_program(words, reach):
    asked = make("-n", "CORES=2", *words.split(), "RUN=python")
    assert reach in asked.stdout.replace('"', ""), asked.stderr


def test_learnaf_asks_for_its_folder():
    asked = make("learnaf", "RUN=python")
    assert asked.returncode != 0 and "Say where the data set lies" in asked.stderr


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


def test_somebody_elses_environment_is_left_alone(tmp_path):
    theirs = tmp_path / "venv" / "theirs.txt"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    done = make("environment", f"VENV={theirs.parent}", f"PYTHON={sys.executable}")
    assert done.returncode and "was not made by this project" in done.stderr and theirs.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["figures", "PROFIL=smoke"], "There is no variable PROFIL"),
        (["figures", "TORCH=foo"], "TORCH must be cpu or cuda, not foo"),
        (["figures", "SETTINGS=D1"], "SETTINGS and MODEL belong to experiment and weights"),
    ],
)
def test_a_variable_that_would_do_nothing_is_refused(arguments, complaint):
    done = make("-n", *arguments)
    assert done.returncode and complaint in done.stderr
