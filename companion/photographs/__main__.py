"""The public photographs, for `make learnaf` and the batch: fill the store, and crop.

    python -m companion.photographs collect FOLDER --zmin 0.2
    python -m companion.photographs crop --split train --count 3072 --patch 64 --out data/laptop/learnaf/train

What `collect` is told to choose is noted in the store, and `crop` follows it.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from companion.photographs.public import STORE, fill, read_choices
from companion.project import project_root
from fcl.learnaf.patches import Choices, store_stacks, write_stacks
from fcl.learnaf.store import IMAGES

AGAIN = "run the command again: what is in the store already is not read again"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the store, or make a container of its patches."""
    parser = argparse.ArgumentParser(prog="python -m companion.photographs", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect")
    cropping = commands.add_parser("crop")
    for command in (collecting, cropping):
        command.add_argument("--store", type=_path, help=f"a folder; none: {STORE} in the project's")
    collecting.add_argument("root", type=_path, help="the folder with train1 .. train7 and test, or with their archives")
    collecting.add_argument("--images", help=f"{' or '.join(IMAGES)}; none: raw where there are any")
    for choice in fields(Choices):
        collecting.add_argument(
            f"--{choice.name}", type=choice.type, default=choice.default, help=f"{choice.metadata['help']} (%(default)s)"
        )
    cropping.add_argument("--split", required=True)
    cropping.add_argument("--count", type=int)
    cropping.add_argument("--patch", type=int, default=128)
    cropping.add_argument("--out", type=_path, required=True)
    options = parser.parse_args(arguments)
    try:
        options.store = options.store or project_root() / STORE
        if options.command == "collect":
            choices = Choices(**{choice.name: getattr(options, choice.name) for choice in fields(Choices)})
            fill(options.root, options.store, choices, options.images)
        else:
            choices = asdict(read_choices(options.store))
            stacks = store_stacks(options.store, options.split, patch=options.patch, count=options.count, **choices)
            write_stacks(stacks, options.out)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"photographs: {error}")
    except OSError as error:  # that of a full disk names no file, and NumPy's no cause
        place = error.filename or (options.store if options.command == "collect" else options.out)
        sys.exit(f"photographs: {place}: {error.strerror or f'the disk may be full ({error})'}. Mend that and {AGAIN}")
    except KeyboardInterrupt:
        sys.exit(f"photographs: stopped. To go on, {AGAIN}")


def _path(text: str) -> Path:
    return Path(text).expanduser()


if __name__ == "__main__":
    main()
