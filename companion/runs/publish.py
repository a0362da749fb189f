"""Publishing: complete runs from runs/ are copied to results/, where they are committed, with a few trained networks."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from companion.experiments import KEPT_NETWORKS
from companion.profiles import read_data, read_profile
from companion.project import project_root
from companion.runs.checksums import publish_files
from companion.runs.identity import ResultsError
from companion.runs.reading import labelled_digest, load_record, read_results
from companion.weights import chosen_weights
from fcl.checkpoints import load_model, save_model
from fcl.files import replacing


def keep_networks(profile: str) -> list[Path]:
    """Copy the trained networks named in experiments/kept_networks.yml, without their training state, to results/.

    They land in results/<profile>/<data>/networks/<model>-<setting>-<method>.safetensors. Those whose checkpoint is not in
    runs/ are left as they are; of other profiles than that file names, none is kept.
    """
    plan = read_data("kept_networks.yml", KEPT_NETWORKS)
    runs, results = (project_root() / top / profile / plan["data"] for top in ("runs", "results"))
    kept = []
    for setting in plan["settings"] if profile == plan["profile"] else ():
        group = runs / f"{plan['model']}-{setting}-F{plan['focal_indices']}-seed{plan['seed']}"
        weights = chosen_weights(profile, plan["model"], setting, plan["methods"]) if group.exists() else {}
        for method in weights:
            checkpoint = group / f"{weights[method].name}.safetensors"
            if checkpoint.exists():
                model = load_model(checkpoint)
                kept.append(results / "networks" / f"{plan['model']}-{setting}-{method}.safetensors")
                save_model(model, model.config, kept[-1])
    if kept:
        publish_files(results, kept)
    return kept


def publish(profile: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Copy the complete test runs of a profile (record, predictions) from runs/ to results/. Their records, and the files
    that were published earlier and are gone.

    Raises ValueError for smoke and for an unknown profile; ResultsError for a damaged run, for none at all, beside results
    on other stacks, and where a group in results/ would then hold runs of two trunks: they are no longer paired.
    """
    read_profile(profile)
    if profile == "smoke":
        raise ValueError("smoke runs are never written to results: they only try the machinery")
    runs, records, gone = project_root() / "runs" / profile, [], []
    for labels in sorted(runs.glob("[!.]*/test.npz")):
        folder, target = labels.parent, project_root() / "results" / profile / labels.parent.name
        if labelled_digest(target / labels.name) not in ("", labelled_digest(labels)):
            raise ResultsError(
                f"{target} holds results on other test stacks than {folder}: remove it first, the two don't compare"
            )
        paths = [Path(path) for path in read_results(folder).path]
        _require_one_trunk(paths, target)
        copies = []
        for path in [labels, *(path.with_suffix(suffix) for path in paths for suffix in (".npz", ".json"))]:
            copies.append(target / path.relative_to(folder))
            with replacing(copies[-1]) as temporary:
                shutil.copyfile(path, temporary)
        gone += [str(target / name) for name in publish_files(target, copies)]
        records += map(load_record, paths)
    if not records:
        raise ResultsError(f"no complete runs in {runs}: make them with `make figures PROFILE={profile}`")
    return records, gone


def _require_one_trunk(paths: Sequence[Path], target: Path) -> None:
    """A trunk is known by its seconds: no two trainings agree in all their digits."""
    for group in sorted({path.parent.name for path in paths}):
        fresh = {path.name: path for path in paths if path.parent.name == group}
        together = {path.name: path for path in (target / group).glob("*.json")} | fresh
        if len({load_record(path)["seconds"]["trunk"] for path in together.values()}) > 1:
            others = ", ".join(sorted(Path(name).stem for name in together.keys() - fresh.keys())) or "two of these"
            raise ResultsError(
                f"{target / group} would hold runs of two trunks, and methods are compared within one. "
                f"Train {others} again too (`make experiment NAME=...`), or remove that folder first"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `python -m companion.runs.publish --profile laptop`."""
    parser = argparse.ArgumentParser(prog="python -m companion.runs.publish", description="Copy complete runs to results/.")
    parser.add_argument("--profile", default="laptop")
    options = parser.parse_args(arguments)
    try:
        records, gone = publish(options.profile)
        networks = keep_networks(options.profile)
    except ValueError as error:
        sys.exit(f"publish: {error}")
    unclean = sum(record["code"]["clean"] is not True for record in records)
    note = f"; {unclean} of them by code that isn't committed as it was" if unclean else ""
    print(f"published {len(records)} runs and {len(networks)} trained networks to results/{options.profile}/{note}")
    if gone:
        print(f"no longer listed as published, as they are gone: {', '.join(gone)}")


if __name__ == "__main__":
    main()
