"""The ledger of claims, computed from stored runs: on the terminal, as CSV and JSON, as HTML.

    python -m companion.claims.ledger [--claims FILE] [--profile laptop] [--source results|runs]

For the project's own claims on committed results it also writes figures/claims.json and .csv, and brings up to date what
the README and the notebooks quote (companion.claims.quotes).
"""

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd

from companion.claims.arms import Printed, Stored
from companion.claims.registry import LEDGER, METRICS, load_claims
from companion.claims.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTABLE, judge_all
from companion.profiles import read_profile
from companion.project import project_root
from companion.runs.reading import run_records

WIDTH = 100  # columns of the terminal
COLOURS = {SUPPORTED: "#cfe8f3", CONTRADICTED: "#f6d5b8", INCONCLUSIVE: "#f0f0f0", UNTESTABLE: "#ffffff"}
UNITS = {"relative": "%", "share": "points"}  # how effects are spoken of; nats and steps as they are


def ledger(source: str = "results", profile: str = "laptop", claims: Path | None = None) -> list[dict[str, Any]]:
    """Every claim with its verdict: the mappings of `companion.claims.verdicts.judge_all`, null for NaN, six decimals.

    source: results or runs. profile: what stands in for the laptop's, to try things with smoke. claims: another file.
    """
    root = project_root()
    read_profile(profile)  # complains about an unknown one
    wanted = [replace(claim, profile=profile) if claim.profile == "laptop" else claim for claim in load_claims(claims)]
    folders = {name: root / source / name / "simulated" for name in {claim.profile for claim in wanted}}
    sources = {name: Stored(folder) for name, folder in folders.items() if run_records(folder)}
    paper = Printed(root / "experiments" / "paper.yml")
    results = judge_all(wanted, sources, paper, (claims or root / LEDGER).absolute())
    return json.loads(pd.DataFrame(results).to_json(orient="records", double_precision=6))


def amount(metric: str, value: float | None, sign: str = "+") -> str:
    """An effect in words: '-24.1 %', '+12.0 points', '+0.031 nats'; a dash for none."""
    return "–" if value is None else f"{_number(metric, value, sign)} {UNITS.get(METRICS[metric], METRICS[metric])}"


def _number(metric: str, value: float, sign: str) -> str:
    unit = METRICS[metric]
    if unit in UNITS:
        return f"{100 * (math.expm1(value) if unit == 'relative' else value):{sign}.1f}"
    return f"{value:{sign}.3f}"


def shown(test: Mapping[str, Any]) -> str:
    """A test's mean effect and its interval: '-24.1 % [-26.0, -22.1]'."""
    ends = [_number(test["metric"], test[end], "+") for end in ("low", "high") if test[end] is not None]
    return f"{amount(test['metric'], test['effect'])}{' [' + ', '.join(ends) + ']' if ends else ''}"


def claimed(test: Mapping[str, Any]) -> str:
    """The direction claimed, and the smallest effect worth the name: 'lower by 5.0 %', 'equal within 5.0 %'."""
    direction, margin = test["direction"].replace("_", " "), test["margin"]
    value = math.log1p(margin) if METRICS[test["metric"]] == "relative" else margin
    by = f" {'within' if direction == 'equal' else 'by'} {amount(test['metric'], value, sign='')}"
    return f"{direction}{by if margin else ''}"


def falls_short(test: Mapping[str, Any]) -> str:
    """How a contradicted "lower" or "higher" fails: the effect is the other way round, or may be there but less than claimed."""
    if test["direction"] not in ("lower", "higher"):
        return ""
    there = test["low"] < 0 if test["direction"] == "lower" else test["high"] > 0
    return " (less than that)" if there else " (the other way round)"


def visible_from(test: Mapping[str, Any]) -> str:
    """The smallest effect that so many seeds would have seen with a probability of 80 %, in the direction claimed."""
    downwards = test["direction"].endswith("lower") and test["detectable"] is not None
    return amount(test["metric"], -test["detectable"] if downwards else test["detectable"])


def deciding_test(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The test on which the verdict hangs: the strongest against a contradicted claim, the weakest for any other."""
    tests = [test for test in result["tests"] if test["p_support"] is not None]
    if CONTRADICTED in (result["verdict"], result["would_be"]):
        return min(tests, key=lambda test: test["p_contradiction"], default=None)
    return max(tests, key=lambda test: test["p_support"], default=None)


def evidence(result: Mapping[str, Any]) -> str:
    """The deciding test in words, and why there is no verdict where there is none."""
    test, parts = deciding_test(result), []
    if test:
        contradicted = CONTRADICTED in (result["verdict"], result["would_be"])
        place, short = ("strongest", falls_short(test)) if contradicted else ("weakest", "")
        among = f" ({place} of {len(result['tests'])} tests)" if len(result["tests"]) > 1 else ""
        name = f"{test['metric']} {test['of']}".strip()
        parts += [f"{name} {shown(test)}, claimed {claimed(test)}{short}, visible from {visible_from(test)}{among}"]
    parts += [result["reason"]] if result["reason"] else []
    parts += [f"taken alone, these runs: {result['would_be']}"] if result["would_be"] else []
    return "; ".join(parts)


def summary(results: Sequence[Mapping[str, Any]]) -> str:
    """How many claims have which verdict, and how many of these have no run yet."""
    count = Counter(result["verdict"] for result in results)
    waiting = Counter(result["verdict"] for result in results if awaits_runs(result))
    parts = [
        f"{count[verdict]} {verdict}" + f" ({waiting[verdict]} without runs yet)" * bool(waiting[verdict])
        for verdict in (SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTABLE)
    ]
    return f"{len(results)} claim{'s' * (len(results) != 1)}: {', '.join(parts)}."


def awaits_runs(result: Mapping[str, Any]) -> bool:
    """Whether a claim asks for runs and none of them is there."""
    return bool(result["seeds_wanted"]) and not result["runs"]


def terminal(results: Sequence[Mapping[str, Any]]) -> str:
    """The ledger for a terminal of 100 columns, a line for each claim and its evidence below."""
    lines = [f"{'claim (* primary)':37}{'verdict':19}{'evidence':14}{'seeds':9}paper's own table"]
    for result in results:
        seeds = f"{len(result['seeds'])} of {result['seeds_wanted']}" if result["seeds_wanted"] else "–"
        star = f"{result['id']}{' *' if result['primary'] else ''}"
        lines.append(f"{star:37}{result['verdict']:19}{result['evidence'] or '–':14}{seeds:9}{result['paper']}")
        lines += wrap(evidence(result), WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(
        [*lines, "", summary(results), "The runs behind each verdict: figures/claims.json, notebooks/claims.ipynb."]
    )


def table(results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each test, or for a claim without any: verdict, effect in words and in numbers, p values, the paper's."""
    rows = []
    for result in results:
        about = {name: result[name] for name in ("id", "primary", "verdict", "evidence", "would_be", "reason", "paper")}
        about |= {"seeds": " ".join(map(str, result["seeds"])), "seeds_wanted": result["seeds_wanted"]}
        about |= {"later_seeds": " ".join(map(str, result["later_seeds"]))}
        for test in result["tests"] or [{}]:
            words = (
                {
                    "shown": shown(test),
                    "claimed": claimed(test),
                    "visible_from": visible_from(test),
                    "paper_shown": amount(test["metric"], test["paper"]),
                }
                if test
                else {}
            )
            rows.append(
                about
                | words
                | {
                    f"{name}{'_effect' if name == 'paper' else ''}": value
                    for name, value in test.items()
                    if name != "spoilt"
                }
            )
    return pd.DataFrame(rows)


def write(results: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """claims.json, with the runs behind each verdict, and claims.csv: the same bytes from the same results."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claims.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table(results).to_csv(folder / "claims.csv", index=False, lineterminator="\n")


def html(results: Sequence[Mapping[str, Any]], runs: str) -> str:
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


def _links(result: Mapping[str, Any], runs: str) -> list[str]:
    """A line for each group but for its seed, "afpe-D1-F4-seed 0 1 2: baseline, kld4", each seed a link to its folder."""
    lines: dict[str, tuple[dict[str, str], dict[str, None]]] = {}
    for run in result["runs"]:
        group, weights = run.split("/")
        stem, seed, tail = re.match(r"(.*-seed)(\d+)(.*)", group).groups()
        seeds, names = lines.setdefault(stem + tail, ({}, {}))
        seeds[seed] = f'<a href="{runs}/{result["profile"]}/simulated/{group}">{seed}</a>'
        names[weights] = None
    return [f"{stem} {' '.join(seeds.values())}: {', '.join(names)}" for stem, (seeds, names) in lines.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m companion.claims.ledger", description="Does it hold? Each claim, its verdict."
    )
    parser.add_argument("--claims", type=Path, help="claims of your own (default: experiments/claims.yml)")
    parser.add_argument("--profile", default="laptop", help="whose runs (default: laptop)")
    parser.add_argument("--source", default="results", choices=["results", "runs"])
    options = parser.parse_args(arguments)
    from companion.claims.quotes import refresh  # not above: it imports this module

    try:
        results = ledger(options.source, options.profile, options.claims)
        print(terminal(results))
        if options.claims is None and (options.source, options.profile) == ("results", "laptop"):
            if any(result["runs"] for result in results):
                write(results, project_root() / "figures")
            for path in refresh():
                print(f"{path.name}: what it quotes is up to date again")
    except (OSError, ValueError) as error:
        sys.exit(f"claims: {error}")


if __name__ == "__main__":
    main()
