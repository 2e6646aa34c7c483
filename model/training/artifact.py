"""The shipped folder's identity: where it is, what data it saw, the hash of each of its files."""

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from training.generate import sample

#: Where the shipped model lives.
FOLDER = Path(__file__).parents[1] / "mistral-tiny"
CARD = "card.json"
GOLDEN = "golden.json"


def data_hash(seed: int) -> str:
    """SHA-256 over 10,000 training samples: changes with the generator, the phrases or the seed."""
    rng = Random(f"card:{seed}")
    digest = hashlib.sha256()
    for _ in range(10_000):
        drawn = sample(rng, "train")
        digest.update(f"{drawn.system}\0{drawn.user}\0{drawn.answer}\n".encode())
    return digest.hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the card itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
