"""How far a batch is, read from what Snakemake says."""

import json
from pathlib import Path

from companion.batch import plan
from companion.batch.progress import Progress

RUNS = "runs/smoke/simulated"

SIMULATES = """Job stats:
job         count
--------  -------
simulate        1
train           2
all             1

[Mon Nov 23 08:58:28 2026]
localrule simulate:
    output: data/smoke/simulated/train/stacks.json
    log: data/smoke/simulated/train.log
    jobid: 2
"""
TRAINS = """Finished jobid: 2 (Rule: simulate)
1 of 4 steps (25%) done

localrule train:
    input: data/smoke/simulated/train/stacks.json, data/smoke/simulated/test/stacks.json
    output: {0}
    log: one.log
    jobid: 5
    wildcards: profile=smoke
localrule train:
    output: {1}
    log: two.log
    jobid: 6
"""
ENDS = """Finished jobid: 5 (Rule: train)
2 of 4 steps (50%) done
[Mon Nov 23 08:59:28 2026]
Error in rule train:
    message: None
    jobid: 6
    output: {1}
    log: two.log (check log file(s) for error details)
    shell:
        something
"""


def test_progress_is_read_from_what_snakemake_says(tmp_path):
    jobs = plan.jobs("figures", "smoke", [0])
    pages = [job.page for job in jobs]
    first, second = (Path(page).parent.name for page in pages[:2])
    progress = Progress(tmp_path, jobs)

    def read(said):
        return [notice for line in said.format(*pages).splitlines() for notice in progress.read(line)]

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert progress.summary() == "finding out what is missing"
    assert read(SIMULATES) == [] and progress.summary().endswith("train stacks: starting")
    write("data/smoke/simulated/train.log", "at 10%\rat 40%")
    assert progress.summary() == "1 of 3 notebooks | time left: not known yet | train stacks: at 40%"
    assert read(TRAINS) == []
    write(f"{RUNS}/{second}/.progress", json.dumps({"text": "fcl, iteration 3 of 24", "fraction": 0.5}))
    assert progress.summary().endswith(f"{first}: starting | {second}: fcl, iteration 3 of 24 (50%)")
    assert read(ENDS) == [f"done: {first} (2 of 3 notebooks)", f"failed: {second}, the others go on"]
    write("two.log", "noise\ncell  [6] work\nerror ValueError: no\nopen  page.partial.ipynb\n")
    words = f"{second} (log: two.log)\n  cell  [6] work\n  error ValueError: no\n  open  page.partial.ipynb"
    assert words in progress.failures() and not progress.running


def test_time_left_counts_only_what_this_batch_has_done(tmp_path):
    jobs = plan.jobs("figures", "smoke", [0])
    progress = Progress(tmp_path, jobs)
    costs = {job.page: job.cost for job in jobs}
    page = jobs[0].page
    progress._time_left({page: 0.5})
    progress.started -= 100  # seconds ago
    rest = sum(costs.values()) - 0.75 * costs[page]
    expected = 100 * rest / (0.25 * costs[page]) / 60
    assert progress._time_left({page: 0.75}) == f"about {expected:.0f} min left"
