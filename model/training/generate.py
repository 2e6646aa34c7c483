"""Contact-centre tasks with known answers, deterministic from a seed.

As a command it writes the demo's input: `python -m training.generate` (see README.md).
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from training.fills import Fill, fill
from training.grammar import Voice, expand, templates

Task = Literal["classify", "sentiment", "summarise", "extract", "outside"]

#: `fills` has names and products that training never sees, `phrasings` sentences and
#: instructions too.
Split = Literal["train", "fills", "phrasings"]

TASKS: tuple[Task, ...] = get_args(Task)
CATEGORIES = (
    "billing",
    "refund",
    "delivery",
    "technical",
    "account",
    "cancellation",
    "question",
    "praise",
)
#: Keys of an extraction, and the slot whose value each one copies.
ENTITIES = {"name": "n", "order_id": "o", "product": "p", "amount": "a", "email": "e"}
#: Sentences that may stand in a ticket beside the entities: no answer names them.
ASIDES = {"date": "d", "phone": "t", "context": ""}
OUTSIDE_ANSWER = (
    "I am the small built-in model of this system. I can classify support tickets, extract "
    "entities from messages, detect sentiment and summarise call transcripts. For other tasks "
    "configure a larger model."
)

#: Tokens that the longest answer of a task needs, with room to spare.
MAX_TOKENS: dict[Task, int] = {
    "classify": 48,
    "sentiment": 8,
    "summarise": 160,
    "extract": 160,
    "outside": 80,
}
_TRAIN_MIX: dict[Task, float] = {
    "classify": 0.36,
    "sentiment": 0.14,
    "summarise": 0.2,
    "extract": 0.26,
    "outside": 0.04,
}
_LATE_MIX: dict[Task, float] = {
    "classify": 0.42,
    "sentiment": 0.15,
    "summarise": 0.3,
    "extract": 0.1,
    "outside": 0.03,
}
#: The demo asks for what the shipped model answers right at least 19 times in 20.
_DEMO_MIX: dict[Task, float] = {"classify": 0.6, "sentiment": 0.36, "outside": 0.04}

#: Where the demo's input lies.
EVENTS = Path(__file__).parents[2] / "events"

_CALL_CAUSE = {
    "late": "the delivery of the {p} is late",
    "broken": "the {p} is defective",
    "charge": "they were charged twice for the {p}",
    "wrong": "they received the wrong item instead of the {p}",
    "cancel": "they want to cancel the order of the {p}",
}
_CALL_RESULT = {
    "refund": "The agent issued a refund of {a}.",
    "replace": "The agent arranged a replacement.",
    "escalate": "The agent escalated the case to a supervisor.",
    "voucher": "The agent offered a voucher of {a}.",
    "unresolved": "The issue was not resolved.",
}
_CALL_FOLLOW_UP = {
    "email": "A confirmation will be sent to {e}.",
    "callback": "A callback to {t} is due on {d}.",
    "done": "No follow-up is needed.",
}
_CALL_MOOD = {
    "satisfied": "The customer was satisfied.",
    "unhappy": "The customer was not satisfied.",
    "accepting": "The customer accepted the outcome.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One piece of work and its only right answer."""

    #: Which kind of work.
    task: Task
    #: System instruction, empty where the user's message holds everything.
    system: str
    #: The user's message.
    user: str
    #: What the model must answer, to the letter.
    answer: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """The sample as chat messages, without the answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A customer's message and what is true of it."""

    #: The message.
    text: str
    #: Category, priority and sentiment.
    labels: dict[str, str]
    #: The entities that the text names; None for those it does not.
    entities: dict[str, str | None]


def _sentences(rng: Random, voice: Voice, labels: dict[str, str]) -> list[str]:
    """The sentences that carry the labels, slots open, the issue first."""
    praise = labels["category"] == "praise"
    tone = labels["sentiment"]
    parts = [voice.say("issues", labels["category"])]
    if rng.random() < 0.25:
        again = voice.say("issues", labels["category"])
        parts += [again] if again not in parts else []
    if rng.random() < (0.4 if tone == "neutral" or praise else 1.0):
        parts.append(voice.say("tones", tone))
    if labels["priority"] != "normal" and not praise:
        parts.append(voice.say("tones", labels["priority"]))
    if rng.random() < 0.4:
        rng.shuffle(parts)
    return parts


def _labels(rng: Random) -> dict[str, str]:
    category = rng.choice(CATEGORIES)
    if category == "praise":
        return {"category": category, "priority": "low", "sentiment": "positive"}
    priority = rng.choices(["urgent", "high", "normal", "low"], [0.22, 0.23, 0.35, 0.2])[0]
    sentiment = rng.choices(["negative", "neutral", "positive"], [0.4, 0.35, 0.25])[0]
    return {"category": category, "priority": priority, "sentiment": sentiment}


def ticket(rng: Random, who: Fill, voice: Voice, *, density: float, level: float) -> Ticket:
    """Write one customer message.

    Args:
        rng: Source of every choice.
        who: The customer.
        voice: How the customer writes.
        density: Chance that a detail (name, order number, ...) is mentioned.
        level: Difficulty of the curriculum, 0 to 1: greetings and asides come with it.
    """
    labels = _labels(rng)
    core = _sentences(rng, voice, labels)
    told = " ".join(core)
    details = [
        voice.say("details", kind)
        for kind, slot in {
            **{key.split("_")[0]: s for key, s in ENTITIES.items()},
            **ASIDES,
        }.items()
        if rng.random() < density * (0.3 if kind in ASIDES else 1.0)
        and (not slot or f"{{{slot}}}" not in told)
    ]
    signed = "{n}" not in " ".join(details) and rng.random() < density * 0.7
    rng.shuffle(details)
    split = rng.randint(0, len(details))
    parts = [*details[:split], *core, *details[split:]]
    if rng.random() < 0.6 * level:
        parts.insert(0, voice.say("details", "greeting"))
    body = rng.choice([" ", " ", "\n"]).join(parts)
    if signed or rng.random() < 0.5 * level:
        body += rng.choice(["\n", "\n", " "]) + voice.say("details", "close")
    if signed:
        body += rng.choice([",\n", ", ", "\n"]) + "{n}"
    values = {key: getattr(who, s) if f"{{{s}}}" in body else None for key, s in ENTITIES.items()}
    return Ticket(text=who.into(body), labels=labels, entities=values)


def _call(rng: Random, who: Fill, voice: Voice) -> tuple[str, str]:
    """A call transcript and its summary."""
    cause, result = rng.choice(list(_CALL_CAUSE)), rng.choice(list(_CALL_RESULT))
    follow_up, mood = rng.choice(list(_CALL_FOLLOW_UP)), rng.choice(list(_CALL_MOOD))
    agent = rng.choice(["Agent", "Agent", "Rep", "Support"])
    customer = rng.choice(["Customer", "Customer", "Caller", "Client"])
    turns = [
        (agent, voice.say("calls", "open")),
        (customer, f"{voice.say('calls', 'hello')} {voice.say('calls', cause)}."),
        (agent, voice.say("calls", "ask")),
        (customer, voice.say("calls", "order")),
    ]
    if rng.random() < 0.4:
        turns += [(agent, voice.say("calls", "hold")), (customer, voice.say("calls", "wait"))]
    turns += [
        (agent, voice.say("calls", result)),
        (customer, voice.say("calls", mood)),
        (agent, voice.say("calls", follow_up)),
        (customer, voice.say("calls", "bye")),
    ]
    transcript = "\n".join(f"{speaker}: {text}" for speaker, text in turns)
    summary = (
        f"{{n}} called about order {{o}} because {_CALL_CAUSE[cause]}. "
        f"{_CALL_RESULT[result]} {_CALL_FOLLOW_UP[follow_up]} {_CALL_MOOD[mood]}"
    )
    return who.into(transcript), who.into(summary)


def _ask(rng: Random, instruction: str, text: str, persona: str) -> tuple[str, str]:
    """Lay instruction and text out as (system, user)."""
    layout = rng.random()
    if layout < 0.2:
        return f"{persona} {instruction}".strip(), text
    if layout < 0.5:
        return persona, f"{instruction}\n\n{text}"
    if layout < 0.7:
        return persona, f"{instruction}\n{text}"
    if layout < 0.82:
        return persona, f"{text}\n\n{instruction}"
    if layout < 0.9:
        return persona, f'{instruction} "{text}"'
    rule = rng.choice(["---", '"""', "###", "```"])
    return persona, f"{instruction}\n{rule}\n{text}\n{rule}"


def _work(rng: Random, task: Task, who: Fill, voice: Voice, level: float) -> tuple[str, str]:
    """The text of a task and its answer."""
    if task == "summarise":
        return _call(rng, who, voice)
    if task == "extract":
        written = ticket(rng, who, voice, density=0.2 + 0.35 * level, level=level)
        return written.text, json.dumps(written.entities, ensure_ascii=False)
    written = ticket(rng, who, voice, density=0.25 * level, level=level)
    if task == "sentiment":
        return written.text, written.labels["sentiment"]
    return written.text, json.dumps(written.labels)


def sample(
    rng: Random,
    split: Split,
    task: Task | None = None,
    *,
    level: float = 1.0,
    wide: bool = True,
    late: bool = False,
) -> Sample:
    """Draw one sample.

    Args:
        rng: Source of every choice: equal state, equal sample.
        split: Which names and phrasings may appear.
        task: Kind of work; drawn from the training mix where None.
        level: Difficulty of the curriculum, 0 to 1; below a third there are no transcripts.
        wide: Use the `more_...` phrases too.
        late: The mix of training's last rounds, with more made-up names and products.
    """
    held = split == "phrasings"
    who = fill(rng, held=split != "train", strange=late)
    voice = Voice(rng, held=held, wide=wide)
    if task is None:
        mix = _LATE_MIX if late else _TRAIN_MIX
        task = rng.choices(list(mix), list(mix.values()))[0]
        if task == "summarise" and level < 1 / 3:
            task = "classify"
    persona = ""
    if rng.random() < 0.15:
        persona = expand(
            rng, rng.choice(templates("instructions", "persona", held=held, wide=wide))
        )
    instruction = Voice(rng, held=held, wide=wide, careful=rng.random() < 0.7).say(
        "instructions", task
    )
    if task == "outside":
        return Sample(task=task, system=persona, user=who.into(instruction), answer=OUTSIDE_ANSWER)
    text, answer = _work(rng, task, who, voice, level)
    system, user = _ask(rng, instruction, text, persona)
    return Sample(task=task, system=system, user=user, answer=answer)


def sample_batch(seed: int, count: int) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Realistic OpenAI batch lines, each with its known answer; names and products are held out."""
    rng = Random(f"batch:{seed}")
    numbers: Counter[str] = Counter()
    for _ in range(count):
        task = rng.choices(list(_DEMO_MIX), list(_DEMO_MIX.values()))[0]
        drawn = sample(rng, "fills", task)
        numbers[task] += 1
        custom_id = f"{task}-{numbers[task]:04d}"
        body = {
            "model": "mistral-tiny",
            "messages": drawn.messages,
            "max_tokens": MAX_TOKENS[task],
            "temperature": 0,
        }
        line = {
            "custom_id": custom_id,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": body,
        }
        yield line, {"custom_id": custom_id, "task": task, "answer": drawn.answer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--lines", type=Path, default=EVENTS / "sample_batch.jsonl")
    parser.add_argument("--answers", type=Path, default=EVENTS / "sample_answers.jsonl")
    given = parser.parse_args()
    pairs = list(sample_batch(given.seed, given.count))
    for path, column in ((given.lines, 0), (given.answers, 1)):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(pair[column], ensure_ascii=False) + "\n" for pair in pairs)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
