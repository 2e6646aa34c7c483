"""`make fuzz`: more than ten thousand requests, made from the API's own document."""

import argparse
import tempfile
from pathlib import Path

from tests.conformance.fuzz import CATALOG, fuzz
from tests.local.stacks import Up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=170, help="most of a kind to one route")
    parser.add_argument("--seed", type=int, default=1, help="what they come from")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        directory = Path(name)
        with Up(directory / "data", "--catalog", str(CATALOG)) as up:
            count = fuzz(up, directory, examples=asked.examples, seed=asked.seed)
    print(f"{count} requests were answered as the document says.")


if __name__ == "__main__":
    main()
