"""The claims of the supplement, written down before the runs that decide them: experiments/claims.yml, read strictly.

The head of that file defines every word used here, and what the verdicts mean.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from companion.profiles import profile_config
from companion.project import project_root
from companion.strict_yaml import parse_yaml
from companion.weights import METHODS, READOUTS, parse_weights
from fcl.config import Config, closest
from fcl.scenes import CATEGORIES

LEDGER = Path("experiments") / "claims.yml"
METRICS = {  # unit of its margins
    **dict.fromkeys(("mae", "rmse", "msd_star", "tv", "mae_at_msd_star", "parameters"), "relative"),
    **dict.fromkeys(("within0", "within1", "within2", "within4", "settles_right", "settles_wrong"), "share"),
    **dict.fromkeys(("cycles", "reversal_rate", "layer_switches", "wins"), "share"),
    **{"signed_error": "steps", "mean_entropy": "nats", "entropy_at_msd_star": "nats"},
}
OF_CONFIG = ("model", "setting", "backbone", "focal_indices", "iterations", "consistency_start", "pairing")
SOURCES = ("method", "weights", "frontier", "value")  # an arm has exactly one
STACKS = ("all", *CATEGORIES, "wrong_at_truth", "right_at_truth", "hardest")
TEXTS = ("id", "where", "claim")
WORDING = ("where", "claim", "reason")  # what may be put better without becoming another claim
USUAL = {"both": {}, "beyond": None, "settings": [], "each": [], "starts": "all", "profile": "laptop", "primary": False}
MOST_PRIMARY = 8
Arm = dict[str, Any]  # fields of a Config, one of SOURCES, and readout, stacks, times where given: no lists
Pairs = tuple[tuple[Arm, Arm], ...]  # (treatment, control)


@dataclass(frozen=True)
class Claim:
    """One claim. If it isn't testable here, `reason` says why and the rest is empty.

    pairs: one for each step of the lists of treatment and control; beyond: empty, or as many pairs. settings: empty where
    the arms name their own. tests: (metric, direction, smallest effect in the unit of METRICS).
    """

    id: str
    where: str
    claim: str
    reason: str = ""
    pairs: Pairs = ()
    beyond: Pairs = ()
    settings: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    tests: tuple[tuple[str, str, float], ...] = ()
    starts: str = "all"
    profile: str = "laptop"
    seeds: int = 0
    primary: bool = False


def load_claims(path: Path | None = None) -> list[Claim]:
    """Every claim of experiments/claims.yml, or of another file, in its order. ValueError, naming the claim, for a fault.

    Another file needs no margins: it has those of experiments/claims.yml, and may add some.
    """
    path, claims, place = path or project_root() / LEDGER, {}, "the file"
    try:
        ledger = _ledger(path.read_text(encoding="utf-8"), (project_root() / LEDGER).read_text(encoding="utf-8"))
        for name, margin in ledger["margins"].items():
            place = f"margin {name}"
            _keys("a margin", margin, ("unit", "value", "because"))
            _one_of("unit", margin["unit"], set(METRICS.values()))
            _need(type(margin["value"]) is float and 0 <= margin["value"] < 1, "value must lie in 0.0 .. 1.0")
        for number, entry in enumerate(ledger["claims"], 1):
            place = f"claim {entry.get('id', number) if isinstance(entry, dict) else number}"
            claim = _claim(entry, ledger["margins"])
            _need(claim.id not in claims, "this id is there twice")
            claims[claim.id] = claim
            primary = sum(one.primary for one in claims.values())
            _need(primary <= MOST_PRIMARY, f"is primary number {primary}, and at most {MOST_PRIMARY} may be")
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name}, {place}: {error}") from None
    return list(claims.values())


def deciding_words(text: str, usual: str) -> dict[str, Any]:
    """id -> all that decides a claim: its entry but for WORDING, each margin as its value. Two versions of a claim that
    agree in it are one claim. text: of a file of claims; usual: of experiments/claims.yml.
    """
    ledger, decides = _ledger(text, usual), {}
    for entry in ledger["claims"]:
        tests = {name: [word, ledger["margins"][margin]["value"]] for name, (word, margin) in entry.get("tests", {}).items()}
        decides[entry["id"]] = {name: value for name, value in entry.items() if name not in WORDING} | {"tests": tests}
    return decides


def config(arm: Arm, profile: str, setting: str | None = None) -> Config:
    """What the runs of an arm share, all but seed and weights. `setting` is for an arm that names none."""
    fields = {name: arm[name] for name in OF_CONFIG if name in arm}
    return profile_config(profile, **({"setting": setting} if setting else {}) | fields)


def _ledger(text: str, usual: str) -> dict[str, Any]:
    ledger = parse_yaml(text)
    _keys("the file", ledger, ("claims",), ("margins",))
    _need(isinstance(ledger["claims"], list), "claims must be a list")
    own = ledger.get("margins", {})
    _need(isinstance(own, dict), "margins must be a mapping")
    margins = own if text == usual else parse_yaml(usual)["margins"]
    for name in own:
        _need(own[name] == margins.get(name, own[name]), f"margin {name} is another in {LEDGER.name}: give it a new name")
    return ledger | {"margins": margins | own}


def _claim(entry: Any, margins: dict[str, Any]) -> Claim:
    untestable = isinstance(entry, dict) and entry.get("testable") is False
    texts = (*TEXTS, "reason") if untestable else TEXTS
    needed = (*texts, "testable") if untestable else (*texts, "treatment", "control", "tests", "seeds")
    _keys("a claim", entry, needed, () if untestable else USUAL)
    for name in texts:
        _need(isinstance(entry[name], str) and entry[name].strip(), f"{name} must be a text, not {entry[name]!r}")
    words = {name: entry[name] for name in texts}
    if untestable:
        return Claim(**words)
    full = USUAL | entry
    _one_of("starts", full["starts"], ("all", "common"))
    _need(type(full["primary"]) is bool, f"primary must be true or false, not {full['primary']!r}")
    _need(type(full["seeds"]) is int and full["seeds"] > 1, "seeds must be a whole number above 1")
    for name in ("settings", "each"):
        _need(isinstance(full[name], list), f"{name} must be a list, not {full[name]!r}")
    for name in full["each"]:
        _one_of("each", name, ("pair", "setting"))
    beyond = _pairs(full["beyond"], full["both"]) if full["beyond"] else ()
    pairs = _pairs({name: full[name] for name in ("treatment", "control")}, full["both"])
    _need(len(beyond) in (0, len(pairs)), f"beyond has {len(beyond)} pairs beside {len(pairs)}")
    for arm in (arm for pair in (*pairs, *beyond) for arm in pair if "value" not in arm):
        _need(("setting" in arm) != bool(full["settings"]), "either settings, or a setting in every arm")
        for setting in full["settings"] or [None]:
            config(arm, full["profile"], setting)  # complains about an impossible one
    tests = tuple(_test(metric, test, margins, pairs) for metric, test in dict(full["tests"]).items())
    _need(tests, "tests must not be empty")
    words |= {name: full[name] for name in ("starts", "profile", "seeds", "primary")}
    lists = {name: tuple(full[name]) for name in ("settings", "each")}
    return Claim(**words, **lists, pairs=pairs, beyond=beyond, tests=tests)


def _pairs(sides: Any, both: Any) -> Pairs:
    _keys("a comparison", sides, ("treatment", "control"))
    treatments, controls = (_arms(name, sides[name], both) for name in ("treatment", "control"))
    counts, most = (len(treatments), len(controls)), max(len(treatments), len(controls))
    _need(set(counts) <= {1, most}, "there are {} treatments, but {} controls: as many, or one".format(*counts))
    return tuple(zip(treatments * (most // counts[0]), controls * (most // counts[1]), strict=True))


def _arms(side: str, entry: Any, both: Any) -> list[Arm]:
    for what, keys in (("both", both), (side, entry)):
        _keys(what, keys, (), (*OF_CONFIG, *SOURCES, "readout", "stacks", "times"))
    arm = both | entry if "value" not in entry else entry
    _need(len(set(SOURCES) & set(arm)) == 1, f"{side} needs exactly one of {', '.join(SOURCES)}")
    lengths = {len(value) for value in arm.values() if isinstance(value, list)} or {1}
    _need(len(lengths) == 1 and 0 not in lengths, f"the lists of {side} must have one length, not 0")
    steps = range(*lengths)
    arms = [{name: value[step] if isinstance(value, list) else value for name, value in arm.items()} for step in steps]
    for name, value in (item for arm in arms for item in arm.items()):
        match name:
            case "method" | "readout" | "stacks":
                _one_of(name, value, {"method": METHODS, "readout": READOUTS, "stacks": STACKS}[name])
            case "weights" | "frontier":
                for weights in str(value).split(", "):
                    _need(parse_weights(weights).name == weights, f"{weights} is spelt {parse_weights(weights).name}")
            case "value" | "times":
                _need(type(value) in (int, float), f"{name} must be a number, not {value!r}")
    return arms


def _test(metric: str, test: Any, margins: dict[str, Any], pairs: Pairs) -> tuple[str, str, float]:
    _one_of("metric", metric, METRICS)
    _need(isinstance(test, list) and len(test) == 2, f"{metric} needs [direction, margin], not {test!r}")
    direction, margin = test
    _one_of("direction", direction, ("lower", "higher", "not_lower", "not_higher", "equal"))
    _one_of("margin", margin, margins)
    unit = margins[margin]["unit"]
    _need(unit == METRICS[metric], f"{margin} is a margin in another unit ({unit}) than {metric}")
    for arm in (arm for pair in pairs for arm in pair):
        _need("value" not in arm or unit != "relative", f"{metric} is relative: its control can't be a value")
        _need(("frontier" in arm) == metric.endswith("_at_msd_star"), f"{metric} and this arm's kind don't fit")
    return metric, direction, margins[margin]["value"]


def _need(condition: Any, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _one_of(what: str, name: Any, allowed: Collection[str]) -> None:
    if name not in list(allowed):
        raise ValueError(f"{what} must be one of {', '.join(sorted(allowed))}, not {name!r}.{closest(name, allowed)}")


def _keys(what: str, entry: Any, needed: Collection[str], optional: Collection[str] = ()) -> None:
    _need(isinstance(entry, dict), f"{what} must be a mapping, not {entry!r}")
    for name in entry:
        _one_of(f"a key of {what}", name, (*needed, *optional))
    missing = [name for name in needed if name not in entry]
    _need(not missing, f"{what} lacks {', '.join(missing)}")
