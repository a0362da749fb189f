"""Which verdicts differ between two figures/claims.csv, as Markdown: python .github/verdicts.py BEFORE AFTER"""

import csv
import sys
from pathlib import Path


def verdicts(path: Path) -> dict[str, str]:
    """The verdict of each claim; the file has a row for each of its tests."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["verdict"] for row in csv.DictReader(file)}


def difference(before: dict[str, str], after: dict[str, str]) -> str:
    """A table of the claims whose verdict changes, or one line that says there is none."""
    rows = [(name, before.get(name, "–"), after.get(name, "–")) for name in sorted({*before, *after})]
    changed = [f"| `{name}` | {old} | {new} |" for name, old, new in rows if old != new]
    title = f"### Verdicts: {len(changed)} of {len(rows)} claims change"
    return "\n".join([title, *(["", "| claim | before | after |", "|---|---|---|", *changed] if changed else [])])


if __name__ == "__main__":
    print(difference(*(verdicts(Path(path)) for path in sys.argv[1:3])))
