"""Publishing: complete runs from runs/ are copied to results/, where they are committed, with a few trained networks."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fcl.checkpoints import load_model, save_model
from companion.runs.reading import load_record, read_results
from companion.project import project_root
from companion.runs.identity import ResultsError
from companion.weights import chosen_weights
from fcl.files import replacing
from companion.runs.writing import labelled_digest


def keep_networks(profile: str) -> list[Path]:
    """Copy the trained networks named in experiments/kept_networks.yml, without their training state, to results/.

    They land in results/<profile>/<data>/networks/<model>-<setting>-<method>.safetensors. Those whose checkpoint is not in
    runs/ are left as they are; of other profiles than that file names, none is kept.
    """
    plan = yaml.safe_load((project_root() / "experiments" / "kept_networks.yml").read_text())
    source, target = (project_root() / top / profile / plan["data"] for top in ("runs", "results"))
    kept = []
    for setting in plan["settings"] if profile == plan["profile"] else ():
        group = source / f"{plan['model']}-{setting}-F{plan['focal_indices']}-seed{plan['seed']}"
        weights = chosen_weights(profile, plan["model"], setting, plan["methods"]) if group.exists() else {}
        for method in weights:
            checkpoint = group / f"{weights[method].name}.safetensors"
            if checkpoint.exists():
                model = load_model(checkpoint)
                kept.append(target / "networks" / f"{plan['model']}-{setting}-{method}.safetensors")
                save_model(model, model.config, kept[-1])
    return kept


def publish(profile: str) -> list[dict[str, Any]]:
    """Copy the complete test runs of a profile (record, predictions) from runs/ to results/, and return the
    records.

    Raises ValueError for smoke; ResultsError for a spoilt run, for none at all, beside results on other stacks, and
    where a group in results/ would then hold runs of two trunks: they are no longer paired.
    """
    if profile == "smoke":
        raise ValueError("smoke runs are never written to results: they only try the machinery")
    source, records = project_root() / "runs" / profile, []
    for labels in sorted(source.glob("[!.]*/test.npz")):
        folder, target = labels.parent, project_root() / "results" / profile / labels.parent.name
        published = target / labels.name
        if published.exists() and labelled_digest(published) != labelled_digest(labels):
            raise ResultsError(f"{target} holds results on other test stacks than {folder}: remove it first, "
                               "the two don't compare")
        paths = [Path(path) for path in read_results(folder).path]
        _require_one_trunk(paths, target)
        for path in [labels, *(path.with_suffix(kind) for path in paths for kind in (".npz", ".json"))]:
            with replacing(target / path.relative_to(folder)) as temporary:
                shutil.copyfile(path, temporary)
        records += map(load_record, paths)
    if not records:
        raise ResultsError(f"no complete runs in {source}: make them with `make figures PROFILE={profile}`")
    return records


def _require_one_trunk(paths: Sequence[Path], target: Path) -> None:
    """A trunk is known by its seconds: no two trainings agree in all their digits."""
    for group in sorted({path.parent.name for path in paths}):
        mine = {path.name: path for path in paths if path.parent.name == group}
        together = {path.name: path for path in (target / group).glob("*.json")} | mine
        if len({load_record(path)["seconds"]["trunk"] for path in together.values()}) > 1:
            others = ", ".join(sorted(Path(name).stem for name in together.keys() - mine.keys())) or "two of these"
            raise ResultsError(f"{target / group} would hold runs of two trunks, and methods are compared within one. "
                               f"Train {others} again too (`make experiment NAME=...`), or remove that folder first")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `python -m companion.runs.publish --profile laptop`."""
    parser = argparse.ArgumentParser(prog="python -m companion.runs.publish", description="Copy complete runs to results/.")
    parser.add_argument("--profile", default="laptop")
    options = parser.parse_args(arguments)
    try:
        records, networks = publish(options.profile), keep_networks(options.profile)
    except ValueError as error:
        sys.exit(f"publish: {error}")
    unclean = sum(record["code"]["clean"] is not True for record in records)
    note = f"; {unclean} of them by code that isn't committed as it was" if unclean else ""
    print(f"published {len(records)} runs and {len(networks)} trained networks to results/{options.profile}/{note}")


if __name__ == "__main__":
    main()
