"""From effects to verdicts: the rules in the head of experiments/claims.yml, which defines every word used here."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from companion.claims.effects import Printed, Stored, complete_seeds, effects, needed
from companion.claims.registry import LEDGER, METRICS, Claim, deciding_words
from companion.project import project_root
from companion.runs import provenance
from companion.runs.identity import ResultsError
from companion.statistics import detectable, holm, interval, p_above
from companion.strict_yaml import parse_yaml

SUPPORTED, CONTRADICTED, INCONCLUSIVE, UNTESTABLE = "supported", "contradicted", "inconclusive", "not testable here"
LEVEL = 0.05
CONFIRMATORY, UNCHECKED = "confirmatory", "unchecked"  # how a run stands to a claim; else why it is exploratory
SPOKEN = {"focal_indices": "F={}", "iterations": "{} iterations"}  # others speak for themselves
Above = Callable[[np.ndarray, float], float]


def limits(metric: str, margin: float) -> tuple[float, float]:
    """The smallest effect worth the name, downwards and upwards, both positive: logarithms for a relative metric."""
    return (-math.log1p(-margin), math.log1p(margin)) if METRICS[metric] == "relative" else (margin, margin)


def p_values(values: np.ndarray, direction: str, down: float, up: float, above: Above = p_above) -> tuple[float, float]:
    """p of support and p of contradiction of one test; below 0.05 the condition holds.

    values (n,): the effects of the units. down, up: `limits`. A condition on the mean alone that fails makes its p 1: no
    interval would meet it. above: p that the mean lies above a bound, the second argument.
    """
    turned = -values if direction.endswith("lower") else values
    smallest, mean = down if direction.endswith("lower") else up, turned.mean()
    if direction == "equal":
        inside = max(above(turned, -down), above(-turned, -up))
        not_zero = min(above(turned, 0.0), above(-turned, 0.0))
        return inside, not_zero if mean >= up or -mean >= down else 1.0
    worth_the_name = above(turned, 0.0) if mean >= smallest else 1.0
    less_than_that = above(-turned, -smallest)
    return (less_than_that, worth_the_name) if direction.startswith("not_") else (worth_the_name, less_than_that)


def decide(support: Sequence[float], contradiction: Sequence[float]) -> str:
    """The verdict of several tests together, by the p values of each."""
    if max(support) < LEVEL:
        return SUPPORTED
    return CONTRADICTED if min(contradiction) * len(contradiction) <= LEVEL else INCONCLUSIVE


def run_tests(claim: Claim, source: Stored | Printed, seeds: Sequence[Any], above: Above = p_above) -> list[dict[str, Any]]:
    """Every test of a claim on some seeds: its p values, and what lies behind them, in the units of METRICS.

    metric, of (which pair or setting, where tested one by one), direction, margin, n, spoilt: the runs of an effect that is
    not finite, which leaves the rest NaN; effect, low, high, detectable, p of support, p of contradiction.
    """
    table, tests = effects(claim, source, seeds), []
    by = [name for name in ("pair", "setting") if name in claim.each]
    for metric, direction, margin in claim.tests:
        unit = ["seed"] if metric == "wins" or not claim.settings else ["seed", "setting"]
        rows = table[table.metric == metric]
        for key, group in rows.groupby(by, sort=False) if by else [((), rows)]:
            values = group.groupby(unit).effect.agg(lambda of_unit: of_unit.mean(skipna=False)).to_numpy()
            spoilt = next(iter(group.runs[~np.isfinite(group.effect)]), None)
            several = spoilt is None and len(values) > 1
            mean, half = interval(values) if spoilt is None else (math.nan, math.nan)
            judged = several or spoilt is None and above is not p_above
            p = p_values(values, direction, *limits(metric, margin), above) if judged else (math.nan, math.nan)
            of = " ".join(_label(claim, name, value) for name, value in zip(by, key)) or _bar(claim)
            test = {"metric": metric, "of": of, "direction": direction, "margin": margin, "n": len(values), "spoilt": spoilt}
            test |= {"effect": mean, "low": mean - half, "high": mean + half}
            test |= {"detectable": detectable(values) if several else math.nan, "p_support": p[0], "p_contradiction": p[1]}
            tests.append(test)
    return tests


def printed(claim: Claim, paper: Printed) -> tuple[str, list[dict[str, Any]]]:
    """Whether the paper's own tables bear a claim out, by signs and margins alone: yes, no, or a dash without such cells."""
    if not claim.tests or not complete_seeds(claim, paper):
        return "–", []
    tests = run_tests(claim, paper, ["paper"], lambda values, bound: float(not values.mean() > bound))
    if any(test["spoilt"] is not None for test in tests):
        return "–", tests
    return "yes" if all(test["p_support"] == 0 for test in tests) else "no", tests


def standing(claim: Claim, record: Mapping[str, Any], ledger: Path) -> str:
    """CONFIRMATORY if the record's commit, with a clean tree, already held the claim, and the weights that its methods stand
    for; else why not. UNCHECKED where the history that would tell isn't at hand, and the record's word is taken.
    """
    commit, clean = record["code"]["commit"], record["code"]["clean"]
    if not commit:
        return "trained outside a git checkout"
    if not clean:
        return "trained by code that was not committed"
    known = provenance.in_history(commit)
    if not known:
        return UNCHECKED if known is None else f"trained at {commit[:7]}, which is not in the history"
    if _held(ledger, commit).get(claim.id) != _held(ledger, None).get(claim.id):
        return "trained before the claim was written down"
    by_method = any(arm.get("method", "baseline") != "baseline" for arm in needed(claim))
    if by_method and _chosen(record, commit) != _chosen(record, None):
        return "trained before its weights were chosen"
    return CONFIRMATORY


def judge(claim: Claim, sources: Mapping[str, Stored], paper: Printed, ledger: Path) -> dict[str, Any]:
    """One claim with its verdict, before Holm: the keys of `judge_all`."""
    on_paper, paper_tests = printed(claim, paper)
    result = {name: getattr(claim, name) for name in ("id", "claim", "where", "primary", "profile")}
    result |= {"verdict": UNTESTABLE, "reason": claim.reason, "evidence": "", "would_be": "", "paper": on_paper}
    result |= {"seeds_wanted": claim.seeds, "seeds": [], "later_seeds": [], "tests": [], "runs": []}
    source = sources.get(claim.profile)
    if claim.reason or source is None or not source.records:
        return result | {"reason": claim.reason or f"there are no runs of the profile {claim.profile} here"}
    complete = complete_seeds(claim, source)
    stands = {seed: {standing(claim, source.records[run], ledger) for run in runs} for seed, runs in complete.items()}
    exploratory = {seed: kinds - {CONFIRMATORY, UNCHECKED} for seed, kinds in stands.items()}
    deciding = [seed for seed in complete if not exploratory[seed]][: claim.seeds]
    enough = len(deciding) == claim.seeds
    seeds = deciding if enough else list(complete)[: claim.seeds]
    result |= {"verdict": INCONCLUSIVE, "seeds": seeds, "runs": sorted({run for seed in seeds for run in complete[seed]})}
    if enough:
        result["evidence"] = UNCHECKED if any(UNCHECKED in stands[seed] for seed in seeds) else CONFIRMATORY
    else:
        why = sorted(set().union(*exploratory.values()))
        missing = f"{claim.seeds - len(deciding)} of {claim.seeds} seeds are missing" + " that could decide" * bool(why)
        result["reason"] = "; ".join([missing, *(f"exploratory: {word}" for word in why)])
        result["evidence"] = "exploratory" if why else "partial" if seeds else ""
    if not seeds:
        return result
    try:
        result["tests"] = tests = run_tests(claim, source, seeds)
    except ResultsError:
        raise
    except ValueError as error:  # something that runs don't store
        return result | {"reason": str(error)}
    for test, cell in zip(tests, paper_tests or [{}] * len(tests), strict=True):
        test["paper"] = cell.get("effect", math.nan)
    spoilt = next((test for test in tests if test["spoilt"]), None)
    if spoilt:
        return result | {"reason": f"{spoilt['metric']} gives no finite effect: see {spoilt['spoilt']}"}
    if len(seeds) == claim.seeds:
        word = decide([test["p_support"] for test in tests], [test["p_contradiction"] for test in tests])
        result["verdict" if enough else "would_be"] = word
    result["later_seeds"] = [seed for seed in complete if seed not in seeds]
    if result["later_seeds"]:
        for test, of_all in zip(tests, run_tests(claim, source, list(complete)), strict=True):
            test["effect_with_later"] = of_all["effect"]
    return result


def judge_all(claims: Sequence[Claim], sources: Mapping[str, Stored], paper: Printed, ledger: Path) -> list[dict[str, Any]]:
    """The ledger: a mapping for each claim, in order. ledger: the file that holds the claims.

    verdict, reason; evidence: confirmatory, unchecked (as `standing`), partial (too few seeds), exploratory, or empty;
    would_be: what seeds that can't decide would say, without Holm; paper: `printed`; seeds: those behind the numbers;
    later_seeds: complete too, too late to decide; tests: `run_tests`, with the paper's effect and, of all seeds together,
    effect_with_later; runs; p_support, p_contradiction: of primary claims, after Holm, both 1 where nothing was decided.
    """
    results = [judge(claim, sources, paper, ledger) for claim in claims]
    primary = [result for result in results if result["primary"]]
    for name, verdict in (("p_support", SUPPORTED), ("p_contradiction", CONTRADICTED)):
        adjusted = holm([_p_of_claim(result, name) for result in primary])
        for result, p in zip(primary, adjusted, strict=True):
            result[name] = float(p)
            if result["verdict"] == verdict and p > LEVEL:
                reason = f"{verdict} if it were the only primary claim, not with Holm's correction for {len(primary)}"
                result |= {"verdict": INCONCLUSIVE, "reason": reason}
    return results


def _p_of_claim(result: Mapping[str, Any], name: str) -> float:
    tests = [test[name] for test in result["tests"]]
    if len(result["seeds"]) < result["seeds_wanted"] or result["would_be"] or not tests or not np.isfinite(tests).all():
        return 1.0
    return max(tests) if name == "p_support" else min(1.0, min(tests) * len(tests))


def _label(claim: Claim, name: str, value: Any) -> str:
    """A setting; or what tells one pair from the others."""
    if name == "setting":
        return value
    words: tuple[list[str], list[str]] = [], []
    for side, arm in enumerate(claim.pairs[value]):
        differing = [name for name in arm if len({str(pair[side].get(name)) for pair in claim.pairs}) > 1]
        words[side].extend(SPOKEN.get(name, "{}").format(arm[name]) for name in differing)
    control = [word for word in words[1] if word not in words[0]]
    return " ".join(words[0] + ["against"] * bool(control) + control)


def _bar(claim: Claim) -> str:
    """What is compared with, where that is a number or a multiple."""
    control = claim.pairs[0][1]
    if "value" in control:
        return f"against {control['value']:g}"
    return f"against {control['times']:g} x the control" if "times" in control else ""


def _chosen(record: Mapping[str, Any], commit: str | None) -> dict[str, str]:
    """The weights chosen for the profile, model and setting of a run, now or at a commit; the readout is no weight."""
    weights, config = parse_yaml(_text(project_root() / "experiments" / "weights.yml", commit) or ""), record["config"]
    chosen = weights.get(record["profile"], {}).get(config["model"], {}).get(config["setting"], {})
    return {method: weights for method, weights in chosen.items() if method != "readout"}


@functools.cache
def _held(path: Path, commit: str | None) -> dict[str, Any]:
    """What decides each claim of a file, now or at a commit; nothing where it wasn't there or can't be read."""
    texts = [_text(file, commit) for file in (path, project_root() / LEDGER)]
    try:
        return {} if None in texts else deciding_words(*texts)
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _text(path: Path, commit: str | None) -> str | None:
    return path.read_text(encoding="utf-8").strip() if commit is None else provenance.committed(path, commit)
