"""Scores the shipped IR through openvino-genai's continuous batching and completes the card.

`python -m training.score --folder FOLDER`: exact match of whole answers, per task, on
samples drawn afresh. Writes `golden.json` too, whose answers transformers must give as well.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import openvino_genai
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.artifact import CARD, FOLDER, GOLDEN, file_hashes, read_json, write_json
from training.generate import MAX_TOKENS, TASKS, Sample, Split, sample

GOLDEN_A_TASK = 3
#: Full precision: greedy answers then equal those of transformers, token for token.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
_CACHE_GB = 1


class Engine:
    """The shipped IR behind openvino-genai's continuous batching."""

    def __init__(self, folder: Path) -> None:
        """Load the IR.

        Args:
            folder: The shipped folder; the IR is its subfolder `openvino`.
        """
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GB
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(folder / "openvino"), scheduler, "CPU", EXACT
        )
        self._tokenizer = self._pipeline.get_tokenizer()

    def answers(self, samples: Sequence[Sample]) -> list[str]:
        """Greedy answers, all requests in flight together."""
        handles = []
        for number, each in enumerate(samples):
            config = openvino_genai.GenerationConfig()
            config.max_new_tokens = MAX_TOKENS[each.task]
            config.do_sample = False
            config.eos_token_id = self._tokenizer.get_eos_token_id()
            text = self._tokenizer.apply_chat_template(each.messages, add_generation_prompt=True)
            handles.append(self._pipeline.add_request(number, text, config))
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        return [self._tokenizer.decode(h.read_all()[0].generated_ids) for h in handles]


def draw(seed: int, split: Split, count: int) -> list[Sample]:
    """`count` samples of each task."""
    rng = Random(f"score:{split}:{seed}")
    return [sample(rng, split, task) for task in TASKS for _ in range(count)]


def right_fields(wanted: str, got: str) -> float:
    """Share of an answer's JSON fields that are right."""
    expected = json.loads(wanted)
    try:
        found = json.loads(got)
    except ValueError:
        return 0.0
    return sum(found.get(key, "") == value for key, value in expected.items()) / len(expected)


def scores(samples: Sequence[Sample], answers: Sequence[str]) -> dict[str, Any]:
    """Exact match by task, and the share of right fields where answers are JSON."""
    result: dict[str, Any] = {}
    for task in TASKS:
        pairs = [
            (each.answer, got)
            for each, got in zip(samples, answers, strict=True)
            if each.task == task
        ]
        exact = sum(wanted == got for wanted, got in pairs)
        result[task] = {"exact": round(exact / len(pairs), 4), "right": exact, "of": len(pairs)}
        if task in ("classify", "extract"):
            shares = [right_fields(wanted, got) for wanted, got in pairs]
            result[task]["fields"] = round(sum(shares) / len(shares), 4)
    return result


def by_transformers(folder: Path, samples: Sequence[Sample]) -> list[str]:
    """The same greedy answers from transformers in float32, one by one."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for each in samples:
        asked = tokenizer.apply_chat_template(
            each.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = model.generate(**asked, max_new_tokens=MAX_TOKENS[each.task], do_sample=False)
        new = made[0, asked["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    return answers


def golden(engine: Engine, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Greedy answers on which both engines agree, right or wrong.

    Raises:
        ValueError: The engines differ.
    """
    samples = draw(seed, "fills", GOLDEN_A_TASK)
    answers = engine.answers(samples)
    if answers != by_transformers(folder, samples):
        raise ValueError("openvino-genai and transformers differ")
    return [
        {"messages": each.messages, "max_tokens": MAX_TOKENS[each.task], "answer": answer}
        for each, answer in zip(samples, answers, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=77_1123)
    parser.add_argument("--count", type=int, default=300, help="samples of each task and split")
    given = parser.parse_args()
    engine = Engine(given.folder)
    found: dict[str, Any] = {"seed": given.seed, "engine": "openvino-genai, f32"}
    splits: tuple[Split, ...] = ("fills", "phrasings")
    for split in splits:
        samples = draw(given.seed, split, given.count)
        found[split] = scores(samples, engine.answers(samples))
    write_json(given.folder / GOLDEN, golden(engine, given.folder, given.seed + 1))
    known = read_json(given.folder / CARD)
    known |= {"scores": found, "sha256": file_hashes(given.folder)}
    write_json(given.folder / CARD, known)


if __name__ == "__main__":
    main()
