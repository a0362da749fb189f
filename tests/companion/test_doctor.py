"""A Python that won't do, or a machine with a problem, gets a clear line and a remedy."""

import dataclasses
import importlib.metadata
import os

import pytest

from companion import doctor, interpreter
from companion.runs.checksums import publish_files
from fcl.simulator import simulate_stacks


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 1), (3, 13, 9), (3, 14, 0)])
def test_good_pythons_pass(version):
    assert interpreter.problem(version, True, True, "Linux", "x86_64") is None
    assert interpreter.problem(version, True, True, "Darwin", "arm64") is None


@pytest.mark.parametrize(
    "version, has_venv, can_compile, system, processor, words",
    [
        ((3, 10), True, True, "Linux", "x86_64", "This is Python 3.10; the project needs 3.11 to 3.14."),
        ((3, 15), True, True, "Linux", "x86_64", "This is Python 3.15; the project needs 3.11 to 3.14."),
        ((3, 11), False, True, "Linux", "x86_64", "sudo apt install python3-venv"),
        ((3, 12), True, True, "Darwin", "x86_64", "Intel Macs"),
        ((3, 14), True, False, "Linux", "x86_64", "sudo apt install gcc python3-dev"),
    ],
)
def test_other_pythons_get_one_clear_line(version, has_venv, can_compile, system, processor, words):
    line = interpreter.problem(version, has_venv, can_compile, system, processor)
    assert words in line and "\n" not in line


WELL = doctor.Machine(
    python=(3, 11, 7),
    system="Linux",
    processor="x86_64",
    cores=2,
    memory_gb=16.0,
    disk_gb=50.0,
    writable=True,
    git=True,
    torch="2.13.0+cpu",
    cuda=None,
)


def test_doctor_finds_nothing_wrong_with_a_plain_laptop():
    assert doctor.problems(WELL) == []
    assert "All that the project needs is here." in doctor.report(WELL)


@pytest.mark.parametrize(
    "change, words, fatal",
    [
        (dict(python=(3, 10, 4)), "This is Python 3.10", True),
        (dict(torch=None), "torch can't be imported", True),
        (dict(missing=("scipy", "tqdm", "a", "b", "c", "d")), "scipy, tqdm, a, b and 2 more", True),
        (dict(writable=False), "can't be written to", True),
        (dict(disk_gb=0.4), "The disk is full: 0.4 GB free", True),
        (dict(disk_gb=3.0), "3.0 GB of disk are free", False),
        (dict(memory_gb=4.0), "make figures CORES=1", False),
        (dict(different=("numpy 1.0 (pinned: 2.4.6)",)), "numpy 1.0 (pinned: 2.4.6)", False),
        (dict(cards=("NVIDIA H100",)), "make doctor TORCH=cuda", False),
        (dict(cards=("NVIDIA H100",), torch="2.13.0", cuda="13.0"), "Update the NVIDIA driver", False),
        (dict(git=False), "Install git", False),
    ],
)
def test_doctor_names_each_problem_and_its_remedy(change, words, fatal):
    machine = dataclasses.replace(WELL, **change)
    (problem,) = doctor.problems(machine)
    assert problem.fatal == fatal and problem.remedy
    assert words in doctor.report(machine) and problem.remedy in doctor.report(machine)


def test_doctor_names_the_fatal_things_first():
    machine = dataclasses.replace(WELL, git=False, memory_gb=2.0, torch=None)
    assert [problem.fatal for problem in doctor.problems(machine)] == [True, False, False]


def test_doctor_is_content_with_a_gpu_that_torch_can_use():
    machine = dataclasses.replace(WELL, torch="2.13.0", cuda="13.0", cards=("A100",), gpus=("A100",))
    assert doctor.problems(machine) == []
    assert "built for CUDA 13.0" in doctor.report(machine) and "GPU       A100" in doctor.report(machine)


def test_doctor_looks_at_this_machine(tmp_path, monkeypatch):
    listing = tmp_path / "nvidia-smi"
    listing.write_text('#!/bin/sh\necho "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)"\n')
    listing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    machine = doctor.look()
    assert machine.cards == ("NVIDIA A100-SXM4-40GB",)
    assert machine.torch and machine.git and machine.cores >= 1 and machine.memory_gb > 0
    assert machine.missing == () and machine.different == ()


def test_doctor_compares_with_the_lock(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text('# pins\nno-such-package==1.0\npytest==0.1\nabsent==1 ; python_version < "3"\n')
    missing, different = doctor._against_lock(lock)
    assert missing == ("no-such-package",)
    assert different == (f"pytest {importlib.metadata.version('pytest')} (pinned: 0.1)",)


def test_every_byte_of_what_is_stored_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    folder = tmp_path / "data/smoke/simulated/test"
    simulate_stacks(2, 0, 16, folder=folder)
    results = tmp_path / "results/laptop/simulated"
    results.mkdir(parents=True)
    (results / "test.npz").write_bytes(b"labels")
    publish_files(results, [])
    assert doctor.stored_data() == []
    slices = bytearray((folder / "slices.npy").read_bytes())
    slices[-1000] ^= 1
    (folder / "slices.npy").write_bytes(slices)
    (results / "test.npz").write_bytes(b"others")
    stacks, labels = doctor.stored_data()
    assert stacks.startswith("DAMAGED: ") and "slices" in stacks and "test.npz is not the file" in labels
