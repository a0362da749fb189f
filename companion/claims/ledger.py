"""The ledger: each claim with its verdict, computed from stored runs; as text for the terminal, CSV, JSON and HTML."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd

from companion.batch.plan import experiment_names
from companion.claims.effects import Printed, Stored
from companion.claims.registry import LEDGER, METRICS, load_claims
from companion.claims.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTABLE, judge_all
from companion.experiments import read_experiment
from companion.profiles import read_profile
from companion.project import project_root
from companion.runs.identity import ResultsError
from companion.runs.reading import run_records
from companion.runs.tables import planned_runs
from fcl.files import replacing

WIDTH = 100  # columns of the terminal
COLOURS = {SUPPORTED: "#cfe8f3", CONTRADICTED: "#f6d5b8", INCONCLUSIVE: "#f0f0f0", UNTESTABLE: "#ffffff"}
Result = Mapping[str, Any]  # of `companion.claims.verdicts.judge_all`
Test = Mapping[str, Any]  # of `companion.claims.verdicts.run_tests`


def ledger(source: str = "results", profile: str = "laptop", claims: Path | None = None) -> list[dict[str, Any]]:
    """Every claim with its verdict: the mappings of `companion.claims.verdicts.judge_all`, null for NaN, six decimals.

    source: results or runs. profile: what stands in for the laptop's, to try things with smoke. claims: another file.
    """
    root = project_root()
    read_profile(profile)  # complains about an unknown one
    wanted = [replace(claim, profile=profile) if claim.profile == "laptop" else claim for claim in load_claims(claims)]
    folders = {name: root / source / name / "simulated" for name in {claim.profile for claim in wanted}}
    sources = {name: Stored(folder) for name, folder in folders.items() if run_records(folder)}
    results = judge_all(wanted, sources, Printed(), (claims or root / LEDGER).absolute())
    return json.loads(pd.DataFrame(results).to_json(orient="records", double_precision=6))


def amount(metric: str, value: float | None, sign: str = "+") -> str:
    """An effect in words: '-24.1 %', '+12.0 points', '+0.031 nats'; a dash for none."""
    unit = {"relative": "%", "share": "points"}.get(METRICS[metric], METRICS[metric])
    return "–" if value is None else f"{_number(metric, value, sign)} {unit}"


def _number(metric: str, value: float, sign: str = "+") -> str:
    unit = METRICS[metric]
    if unit in ("relative", "share"):
        return f"{100 * (math.expm1(value) if unit == 'relative' else value):{sign}.1f}"
    return f"{value:{sign}.3f}"


def shown(test: Test) -> str:
    """A test's mean effect and its interval: '-24.1 % [-26.0, -22.1]'."""
    ends = ", ".join(_number(test["metric"], test[end]) for end in ("low", "high") if test[end] is not None)
    return amount(test["metric"], test["effect"]) + (f" [{ends}]" if ends else "")


def claimed(test: Test) -> str:
    """The direction claimed, and the smallest effect worth the name: 'lower by 5.0 %', 'equal within 5.0 %'."""
    direction, margin = test["direction"].replace("_", " "), test["margin"]
    smallest = math.log1p(margin) if METRICS[test["metric"]] == "relative" else margin
    by = f" {'within' if direction == 'equal' else 'by'} {amount(test['metric'], smallest, sign='')}"
    return f"{direction}{by if margin else ''}"


def visible_from(test: Test) -> str:
    """The smallest effect that so many seeds would have seen with a probability of 80 %, in the direction claimed."""
    downwards = test["direction"].endswith("lower") and test["detectable"] is not None
    return amount(test["metric"], -test["detectable"] if downwards else test["detectable"])


def deciding_test(result: Result) -> Test | None:
    """The test on which the verdict hangs: the strongest against a contradicted claim, the weakest for any other."""
    tests = [test for test in result["tests"] if test["p_support"] is not None]
    if CONTRADICTED in (result["verdict"], result["would_be"]):
        return min(tests, key=lambda test: test["p_contradiction"], default=None)
    return max(tests, key=lambda test: test["p_support"], default=None)


def evidence(result: Result) -> str:
    """The deciding test in words, and why there is no verdict where there is none.

    Of a contradicted "lower" or "higher" also how it fails: the effect is the other way round, or may be less than claimed.
    """
    test, phrases = deciding_test(result), []
    if test:
        contradicted, short = CONTRADICTED in (result["verdict"], result["would_be"]), ""
        if contradicted and test["direction"] in ("lower", "higher"):
            some_effect = test["low"] < 0 if test["direction"] == "lower" else test["high"] > 0
            short = " (less than that)" if some_effect else " (the other way round)"
        count, name = len(result["tests"]), f"{test['metric']} {test['of']}".strip()
        among = f" ({'strongest' if contradicted else 'weakest'} of {count} tests)" if count > 1 else ""
        phrases = [f"{name} {shown(test)}, claimed {claimed(test)}{short}, visible from {visible_from(test)}{among}"]
    phrases += [result["reason"]] if result["reason"] else []
    phrases += [f"taken alone, these runs: {result['would_be']}"] if result["would_be"] else []
    return "; ".join(phrases)


def awaits_runs(result: Result) -> bool:
    """Whether a claim asks for runs and none of them is there."""
    return bool(result["seeds_wanted"]) and not result["runs"]


def summary(results: Sequence[Result]) -> str:
    """How many claims have which verdict, and how many of these have no run yet."""
    count = Counter(result["verdict"] for result in results)
    waiting = Counter(result["verdict"] for result in results if awaits_runs(result))
    counts = [
        f"{count[verdict]} {verdict}" + f" ({waiting[verdict]} without runs yet)" * bool(waiting[verdict])
        for verdict in (SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTABLE)
    ]
    return f"{len(results)} claim{'s' * (len(results) != 1)}: {', '.join(counts)}."


def terminal(results: Sequence[Result]) -> str:
    """The ledger for a terminal of 100 columns, a line for each claim and its evidence below."""
    lines = [f"{'claim (* primary)':37}{'verdict':19}{'evidence':14}{'seeds':9}paper's own table"]
    for result in results:
        seeds = f"{len(result['seeds'])} of {result['seeds_wanted']}" if result["seeds_wanted"] else "–"
        star = f"{result['id']}{' *' if result['primary'] else ''}"
        lines.append(f"{star:37}{result['verdict']:19}{result['evidence'] or '–':14}{seeds:9}{result['paper']}")
        lines += wrap(evidence(result), WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += ["", summary(results), "The runs behind each verdict: figures/claims.json, notebooks/claims.ipynb."]
    return "\n".join(lines)


def table(results: Sequence[Result]) -> pd.DataFrame:
    """A row for each test, or for a claim without any: verdict, effect in words and in numbers, p values, the paper's."""
    rows = []
    for result in results:
        claim = {name: result[name] for name in ("id", "primary", "verdict", "evidence", "would_be", "reason", "paper")}
        claim |= {"seeds": " ".join(map(str, result["seeds"])), "seeds_wanted": result["seeds_wanted"]}
        claim |= {"later_seeds": " ".join(map(str, result["later_seeds"]))}
        for test in result["tests"]:
            words = {"shown": shown(test), "claimed": claimed(test), "visible_from": visible_from(test)}
            words["paper_shown"] = amount(test["metric"], test["paper"])
            numbers = {"paper_effect" if name == "paper" else name: test[name] for name in test if name != "spoilt"}
            rows.append(claim | words | numbers)
        rows += [] if result["tests"] else [claim]
    return pd.DataFrame(rows)


def missing_files() -> list[str]:
    """What results/ lacks of the published runs: of those that figures/claims.json names, and of each experiment's seeds.

    An experiment is published in the profile laptop or, where it has no runs in that one, in the profile paper.
    """
    root, runs = project_root(), set()
    for name in experiment_names():
        for profile in ("laptop", "paper"):
            plan = read_experiment(name, profile)
            planned = planned_runs(plan, profile, plan["seeds"]).run
            if len(planned):
                runs |= {f"{profile}/{plan['data']}/{run}" for run in planned}
                break
    committed = root / "figures" / "claims.json"
    for result in json.loads(committed.read_text(encoding="utf-8")) if committed.exists() else ():
        runs |= {f"{result['profile']}/simulated/{run}" for run in result["runs"]}
    files = (f"results/{run}.{kind}" for run in sorted(runs) for kind in ("json", "npz"))
    return [file for file in files if not (root / file).is_file()]


def write(results: Sequence[Result], folder: Path) -> None:
    """claims.json, with the runs behind each verdict, and claims.csv: the same bytes from the same results.

    Raises ResultsError, and leaves the project's figures/ as it is, while published runs are missing.
    """
    missing = missing_files() if folder.resolve() == (project_root() / "figures").resolve() else []
    if missing:
        raise ResultsError(
            "figures/claims.* and what quotes them stay as they are, because published runs are missing: "
            f"{', '.join(missing[:9])}{f' and {len(missing) - 9} more files' if len(missing) > 9 else ''}. "
            "`git checkout -- results` brings back what was committed; new runs come by `make all-figures SEEDS=published` "
            "and `make publish`"
        )
    with replacing(folder / "claims.json") as file:
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with replacing(folder / "claims.csv") as file:
        table(results).to_csv(file, index=False, lineterminator="\n")


def html(results: Sequence[Result], runs: str) -> str:
    """The ledger as an HTML table; each verdict unfolds to its runs. runs: link to the folder of <profile>/<data>/."""
    lines = ["<table><tr><th>claim</th><th>verdict</th><th>evidence</th><th>paper's own table</th></tr>"]
    for result in results:
        name = f"<b>{escape(result['id'])}</b>{' (primary)' if result['primary'] else ''}"
        links = "".join(f"<br>{line}" for line in _links(result, runs))
        unfold = f"<details><summary>{len(result['runs'])} runs</summary>{links}</details>" if links else ""
        cells = [
            f"{name}<br>{escape(result['claim'])} <i>({escape(result['where'])})</i>",
            f"{result['verdict']}<br><small>{result['evidence']}</small>",
            f"{escape(evidence(result))}{unfold}",
            result["paper"],
        ]
        style = f' style="text-align: left; background-color: {COLOURS[result["verdict"]]}; color: black"'
        lines.append(f"<tr>{''.join(f'<td{style}>{cell}</td>' for cell in cells)}</tr>")
    return "\n".join([*lines, "</table>"])


def _links(result: Result, runs: str) -> list[str]:
    """A line for each group but for its seed, "afpe-D1-F4-seed 0 1 2: baseline, kld4", each seed a link to its folder."""
    lines: dict[str, tuple[dict[str, str], dict[str, None]]] = {}
    for run in result["runs"]:
        group, weights = run.split("/")
        stem, seed, tail = re.match(r"(.*-seed)(\d+)(.*)", group).groups()
        seeds, names = lines.setdefault(stem + tail, ({}, {}))
        seeds[seed] = f'<a href="{runs}/{result["profile"]}/simulated/{group}">{seed}</a>'
        names[weights] = None
    return [f"{stem} {' '.join(seeds.values())}: {', '.join(names)}" for stem, (seeds, names) in lines.items()]
