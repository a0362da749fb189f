"""The ledger of claims on the terminal.

    python -m companion.claims [--claims FILE] [--profile laptop] [--source results|runs]

For the project's own claims on committed results it also writes figures/claims.json and .csv, and brings up to date what
pages and notebooks quote (companion.claims.quotes).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from companion.claims.ledger import ledger, terminal, write
from companion.claims.quotes import refresh
from companion.project import project_root


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Exits with 1 where the ledger can't be computed, or is told but can't be written (`ledger.write`)."""
    parser = argparse.ArgumentParser(prog="python -m companion.claims", description="Does it hold? Each claim, its verdict.")
    parser.add_argument("--claims", type=Path, help="claims of your own (default: experiments/claims.yml)")
    parser.add_argument("--profile", default="laptop", help="whose runs (default: laptop)")
    parser.add_argument("--source", default="results", choices=["results", "runs"])
    options = parser.parse_args(arguments)
    try:
        results = ledger(options.source, options.profile, options.claims)
        print(terminal(results))
        if options.claims is None and (options.source, options.profile) == ("results", "laptop"):
            write(results, project_root() / "figures")
            for path in refresh():
                print(f"{path.name}: what it quotes is up to date again")
    except (OSError, ValueError) as error:
        sys.exit(f"claims: {error}")


if __name__ == "__main__":
    main()
