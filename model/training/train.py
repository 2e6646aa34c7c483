"""Trains `mistral-tiny` from scratch on generated data; every sample follows from the seed.

`python -m training.train --run RUN --rounds N --decay D` (see README.md).
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn import functional
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from training.circuits import Circuits
from training.generate import TASKS, Sample, Split, Task, sample
from training.tokenizer import BOS, CONTEXT, END_INST, EOS, INST, PAD, prompt

SAMPLES_A_ROUND = 768
BATCH_TOKENS = 4096
#: Lengths are padded to multiples of this, because each new shape is compiled anew.
PADDING = 16
PLACES_PADDING = 512
IGNORED = -100

ROPE_THETA = 10_000.0
PEAK_RATE = 2e-3
WARM_UP_STEPS = 200
#: Rounds until the curriculum reaches full difficulty, and the `more_...` phrases join in.
RAMP_ROUNDS = 90
#: From this round on, more names and products are made up, and fewer extractions asked for.
LATE_ROUND = 145
#: Pure copying practice at the very start, then one step in eight until the ramp ends.
COPY_STEPS = 120
COPY_EVERY = 8
#: Weight of a prompt's token during the ramp; after it only answers count. An answer's token weighs
#: ANSWER_WEIGHT / length ** 0.7, so that long answers of mostly fixed text do not drown short ones.
PROMPT_WEIGHT = 0.3
ANSWER_WEIGHT = 12.0

CHECKPOINT_EVERY = 5
EVALUATE_EVERY = 20


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    #: Rounds done.
    rounds: int = 0
    #: Optimiser steps done.
    steps: int = 0
    #: Tokens seen, padding included.
    tokens: int = 0
    #: Wall seconds spent.
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Length and seed of a run."""

    #: Seed of weights and data.
    seed: int
    #: Rounds in all.
    rounds: int
    #: The last rounds, over which the learning rate falls to zero.
    decay: int

    def rate(self, at: float, step: int) -> float:
        """Learning rate at a (fractional) round: warm-up, plateau, straight fall to zero."""
        fall = max(0.0, min(1.0, (self.rounds - at) / self.decay))
        return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * fall


@dataclass(frozen=True, slots=True)
class Tokens:
    """A sample as token ids."""

    #: Beginning of sequence up to and with [/INST].
    asked: list[int]
    #: The answer, with the end of sequence.
    answered: list[int]

    def __len__(self) -> int:
        return len(self.asked) + len(self.answered)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors of one step, all of one shape."""

    #: Token ids.
    inputs: torch.Tensor
    #: The next token at each place, or IGNORED.
    targets: torch.Tensor
    #: Weight of each place in the loss.
    weights: torch.Tensor


def new_model(vocabulary: int, seed: int) -> MistralForCausalLM:
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        sliding_window=None,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    model = MistralForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.num_hidden_layers))
    Circuits(model, seed).write()
    return model


def new_optimiser(model: MistralForCausalLM) -> torch.optim.AdamW:
    named = list(model.named_parameters())
    inner = [p for n, p in named if p.ndim == 2 and "layers" in n]
    outer = [p for n, p in named if not (p.ndim == 2 and "layers" in n)]
    groups = [{"params": inner, "weight_decay": 0.05}, {"params": outer, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), fused=True)


def encode(tokenizer: PreTrainedTokenizerFast, drawn: list[Sample]) -> list[Tokens]:
    def ids(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, add_special_tokens=False).input_ids

    asked = ids([prompt(each.system, each.user) for each in drawn])
    answered = ids([each.answer for each in drawn])
    return [
        Tokens([BOS, INST, *question, END_INST], [*answer, EOS])
        for question, answer in zip(asked, answered, strict=True)
    ]


def _padded(length: int) -> int:
    return -(-length // PADDING) * PADDING


def batched(samples: list[Tokens]) -> list[list[Tokens]]:
    """Pack samples of like length into batches of at most BATCH_TOKENS, padding included."""
    batches: list[list[Tokens]] = []
    current: list[Tokens] = []
    for each in sorted(samples, key=len):
        if current and _padded(len(each)) * (len(current) + 1) > BATCH_TOKENS:
            batches.append(current)
            current = []
        current.append(each)
    return [*batches, current]


def tensors(samples: list[Tokens], *, prompts: bool) -> Batch:
    """Lay samples out; `prompts` makes the prompts' tokens targets too."""
    length = _padded(max(len(each) for each in samples))
    shape = (max(len(samples), BATCH_TOKENS // length), length)
    inputs = torch.full(shape, PAD)
    targets = torch.full(shape, IGNORED)
    weights = torch.full(shape, PROMPT_WEIGHT)
    for row, each in enumerate(samples):
        whole = torch.tensor(each.asked + each.answered)
        inputs[row, : len(whole)] = whole
        answer = slice(len(each.asked) - 1, len(whole) - 1)
        aimed_at = slice(0, answer.stop) if prompts else answer
        targets[row, aimed_at] = whole[aimed_at.start + 1 :]
        weights[row, answer] = ANSWER_WEIGHT / len(each.answered) ** 0.7
    return Batch(inputs, targets, weights)


def copying(vocabulary: int, random: torch.Generator) -> Batch:
    """Practice in copying: random tokens that repeat after a random period."""
    rows, length, longest = BATCH_TOKENS // 96, 96, 44
    period = torch.randint(4, longest, (rows, 1), generator=random)
    pattern = torch.randint(PAD + 1, vocabulary, (rows, longest), generator=random)
    text = pattern.gather(1, torch.arange(length + 1)[None] % period)
    targets = text[:, 1:].clone()
    targets[torch.arange(length)[None].expand(rows, length) < period] = IGNORED
    return Batch(text[:, :-1].clone(), targets, torch.ones(rows, length))


def loss_of(model: MistralForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted cross-entropy over the targets."""
    targets, weights = batch.targets.flatten(), batch.weights.flatten()
    places = (targets != IGNORED).nonzero().squeeze(1)
    # Filled up to a multiple of a few hundred with a place that is ignored: again, few shapes.
    ignored = (targets == IGNORED).nonzero()[0]
    places = torch.cat([places, ignored.expand(-len(places) % PLACES_PADDING)])
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=batch.inputs, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[places])
    losses = functional.cross_entropy(
        logits.float(), targets[places], ignore_index=IGNORED, reduction="none"
    )
    counted = weights[places] * (targets[places] != IGNORED)
    return (losses * counted).sum() / counted.sum()


@torch.no_grad()
def exact(model: MistralForCausalLM, samples: list[Tokens]) -> float:
    """Share of whole answers right: a greedy answer is right if each token of it is."""
    right = 0
    for batch in batched(samples):
        made = tensors(batch, prompts=False)
        best = model(input_ids=made.inputs, use_cache=False).logits.argmax(-1)
        wrong = ((best != made.targets) & (made.targets != IGNORED)).any(1)[: len(batch)]
        right += int((~wrong).sum())
    return right / len(samples)


class Run:
    """One training run in a folder, which may be interrupted between rounds and resumed."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Start anew, or where the folder's checkpoint stands.

        Args:
            folder: Holds `tokenizer/`; receives `checkpoint.pt` and `log.jsonl`.
            plan: Seed and length. A longer or shorter plan may resume a run on its plateau.
        """
        self._folder = folder
        self._plan = plan
        self._tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
        self._model = new_model(len(self._tokenizer), plan.seed)
        self._optimiser = new_optimiser(self._model)
        self._progress = Progress()
        self._state = folder / "checkpoint.pt"
        if self._state.exists():
            kept = torch.load(self._state, weights_only=True)
            self._model.load_state_dict(kept["model"])
            self._optimiser.load_state_dict(kept["optimiser"])
            self._progress = Progress(**kept["progress"])

    def train(self, until: int) -> None:
        """Train up to a round, the plan's last or one before it."""
        while self._progress.rounds < until:
            self._round()
            done = self._progress.rounds
            if done % CHECKPOINT_EVERY == 0 or done == until:
                self._keep()
            if done % EVALUATE_EVERY == 0:
                self._log(scores=self._scores(24))
        self._log(scores=self._scores(200))

    def _round(self) -> None:
        began, now = time.monotonic(), self._progress.rounds
        losses = []
        steps = list(self._steps(Random(f"{self._plan.seed}:{now}")))
        for i, batch in enumerate(steps):
            rate = self._plan.rate(now + i / len(steps), self._progress.steps)
            for group in self._optimiser.param_groups:
                group["lr"] = rate
            loss = loss_of(self._model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            losses.append(loss.item())
            self._progress.steps += 1
            self._progress.tokens += batch.inputs.numel()
        self._progress.rounds += 1
        self._progress.seconds += time.monotonic() - began
        self._log(loss=round(sum(losses) / len(losses), 4), rate=round(rate, 6))

    def _steps(self, rng: Random) -> Iterator[Batch]:
        """The batches of one round, copying practice among them."""
        level = min(1.0, self._progress.rounds / RAMP_ROUNDS)
        kind = {"wide": level == 1.0, "late": self._progress.rounds >= LATE_ROUND}
        drawn = [sample(rng, "train", level=level, **kind) for _ in range(SAMPLES_A_ROUND)]
        batches = batched(encode(self._tokenizer, drawn))
        rng.shuffle(batches)
        random = torch.Generator().manual_seed(rng.getrandbits(32))
        if self._progress.rounds == 0:
            for _ in range(COPY_STEPS):
                yield copying(len(self._tokenizer), random)
        for i, batch in enumerate(batches):
            if level < 1.0 and i % COPY_EVERY == 0:
                yield copying(len(self._tokenizer), random)
            yield tensors(batch, prompts=level < 1.0)

    def _scores(self, count: int) -> dict[str, dict[str, float]]:
        splits: tuple[Split, ...] = ("fills", "phrasings")
        return {
            split: {task: round(self._score(split, task, count), 3) for task in TASKS}
            for split in splits
        }

    def _score(self, split: Split, task: Task, count: int) -> float:
        rng = Random(f"watch:{split}:{task}")
        drawn = [sample(rng, split, task) for _ in range(count)]
        return exact(self._model, encode(self._tokenizer, drawn))

    def _keep(self) -> None:
        fresh = self._state.with_suffix(".new")
        kept = {
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "progress": asdict(self._progress),
            "plan": asdict(self._plan),
        }
        torch.save(kept, fresh)
        fresh.replace(self._state)

    def _log(self, **what: object) -> None:
        line = json.dumps({**asdict(self._progress), **what})
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--decay", type=int, required=True)
    parser.add_argument("--until", type=int, help="stop after this round; --rounds if not given")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    plan = Plan(seed=given.seed, rounds=given.rounds, decay=given.decay)
    Run(given.run, plan).train(given.until or plan.rounds)


if __name__ == "__main__":
    main()
