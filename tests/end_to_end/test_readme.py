"""The README keeps its word: its code runs, its links lead somewhere, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


LOOP, EXPORT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_training_loop_runs():
    assert len([line for line in LOOP.splitlines() if line.strip()]) <= 12
    names: dict = {}
    exec(LOOP, names)  # noqa: S102 - the README's own lines
    assert names["head"].weight.grad.isfinite().all() and names["head"].weight.grad.abs().sum() > 0


def test_the_export_is_the_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"torch": torch}
    exec(EXPORT.replace("results/", f"{ROOT}/results/"), names)  # noqa: S102
    inputs = torch.rand(3, 1, 2, 64, 64), torch.tensor([1, 2, 3]), torch.zeros(3, 2)
    answers = torch.export.load(tmp_path / "network.pt2").module()(*inputs)
    torch.testing.assert_close(answers, names["network"](*inputs))


def test_losses_can_be_lifted(tmp_path):
    (tmp_path / "losses.py").write_text((ROOT / "fcl" / "losses.py").read_text())
    code = "import losses, sys; assert not [name for name in sys.modules if name.split('.')[0] == 'fcl']"
    subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"], check=True)


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).exists(), link


def test_commands_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", TEXT):
        assert target in targets, target
