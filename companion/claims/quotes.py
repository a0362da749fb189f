"""Numbers quoted in prose come from figures/ by reference, so that none can drift. In pages and notebooks

    <!-- quote claims.csv id=fcl-steadier metric=msd_star: shown -->-24.1 % [-26.0 %, -22.1 %]<!-- end -->
    <!-- quote table_a.csv setting=D1 method=fcl: mae .2f -->2.31<!-- end -->
    <!-- quote claims -->the verdicts, as a block<!-- end -->

show only what stands between the two comments: of the row of that CSV file in figures/ where the columns have these values
(in quotes, those with spaces), the value in the column named last, in a Python format where one is given. `refresh` writes
it anew (`make claims`), and a test compares.
"""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from companion.claims.ledger import Result, awaits_runs, evidence, summary
from companion.claims.verdicts import CONTRADICTED, UNTESTABLE
from companion.project import project_root, prose
from fcl.files import replacing

QUOTE = re.compile(r"(<!-- quote (?P<reference>[^>]*?) -->)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
REFERENCE = re.compile(r"(?P<file>[\w.-]+\.csv) (?P<where>[^:]*): (?P<column>\w+)(?: (?P<format>\S+))?")
NOTHING = "No results are committed yet, so no claim has a verdict. `make claims` will list them here."


def quote(reference: str, folder: Path) -> str:
    """What a reference stands for. ValueError for one that isn't in the form above or that no row fits."""
    if reference == "claims":
        path = folder / "claims.json"
        return f"\n{block(json.loads(path.read_text(encoding='utf-8'))) if path.exists() else NOTHING}\n"
    match = REFERENCE.fullmatch(reference)
    if not match:
        raise ValueError(f"quote {reference!r}: write <file>.csv <column>=<value> ...: <column> [<format>], or claims")
    path = folder / match["file"]
    if not path.exists():
        raise ValueError(f"quote {reference!r}: there is no {path.name} in {folder.name}/")
    wanted = dict(part.split("=", 1) for part in shlex.split(match["where"]))
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    unknown = {*wanted, match["column"]} - set(table)
    if unknown:
        raise ValueError(f"quote {reference!r}: {path.name} has no columns {', '.join(sorted(unknown))}")
    rows = table[(table[list(wanted)] == list(wanted.values())).all(axis=1)]
    values = rows[match["column"]].unique()
    if len(values) != 1:
        problem = f"{len(rows)} rows of {path.name} fit, with different values: say which" if len(rows) else "no such row"
        raise ValueError(f"quote {reference!r}: {problem}")
    return format(float(values[0]), match["format"]) if match["format"] else values[0]


def block(results: Sequence[Result]) -> str:
    """The ledger in a few lines of Markdown: how many, every primary claim, and whatever is contradicted."""
    ours = sum(result["where"].startswith("ours") for result in results)
    lines = [
        f"{summary(results)} {ours} of the claims are ours: rivals and controls that the paper leaves out. "
        "*Contradicted* is what is the other way round, absent, or less than was called worth the name beforehand; the "
        "evidence says which ([the rules](notebooks/claims.ipynb)). Only the primary claims are corrected for being many.",
        "",
        "| primary claim | verdict | evidence | runs | the paper's own table |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {result['claim']} (`{result['id']}`) | {result['verdict']} | {evidence(result)} | "
        f"[{len(result['runs'])}](notebooks/claims.ipynb) | {result['paper']} |"
        for result in results
        if result["primary"]
    ]
    others = [result for result in results if not result["primary"] and result["verdict"] == CONTRADICTED]
    if others:
        lines += ["", "Contradicted among the others:", ""]
        lines += [f"- {result['claim']} (`{result['id']}`): {evidence(result)}" for result in others]
    untestable = [result for result in results if result["verdict"] == UNTESTABLE and not result["seeds_wanted"]]
    for heading, listed in (("Not testable here", untestable), ("Without runs yet", filter(awaits_runs, results))):
        names = ", ".join(f"`{result['id']}`" for result in listed)
        lines += ["", f"{heading}: {names}."] if names else []
    return "\n".join(lines)


def requoted(text: str, folder: Path) -> str:
    """A text with everything that it quotes written anew. ValueError, naming the reference, for one that no row fits."""
    return QUOTE.sub(lambda match: f"{match[1]}{quote(match['reference'], folder)}{match[4]}", text)


def refresh() -> list[Path]:
    """Write anew what pages and the prose of notebooks quote, and return the files that changed."""
    root, changed = project_root(), []
    for path in prose():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            new = requoted(text, root / "figures")
        else:
            notebook = json.loads(text)
            for cell in notebook["cells"]:
                if cell["cell_type"] == "markdown":
                    cell["source"] = requoted("".join(cell["source"]), root / "figures").splitlines(keepends=True)
            new = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if new != text:
            with replacing(path) as file:
                file.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed
