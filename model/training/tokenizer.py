"""Trains the tokenizer: byte-level BPE, single digits, a tekken-like chat template.

`python -m training.tokenizer --out RUN/tokenizer`
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.generate import sample

VOCABULARY = 1536
CONTEXT = 1024
SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>")
_ROLES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
BOS, EOS, INST, END_INST, PAD = 1, 2, 3, 4, 5

CHAT_TEMPLATE = (
    "{%- set ns = namespace(system='') -%}{{- bos_token -}}{%- for m in messages -%}"
    "{%- if m['role'] == 'system' -%}{%- set ns.system = m['content'] + '\n\n' -%}"
    "{%- elif m['role'] == 'user' -%}"
    "{{- '[INST]' + ns.system + m['content'] + '[/INST]' -}}{%- set ns.system = '' -%}"
    "{%- elif m['role'] == 'assistant' -%}{{- m['content'] + eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
)


def corpus(seed: int, count: int) -> Iterator[str]:
    """Texts of the training split, questions and answers."""
    rng = Random(f"tokenizer:{seed}")
    for _ in range(count):
        drawn = sample(rng, "train", wide=False)
        yield prompt(drawn.system, drawn.user)
        yield drawn.answer


def prompt(system: str, user: str) -> str:
    """What the chat template writes between [INST] and [/INST]."""
    return f"{system}\n\n{user}" if system else user


def train(seed: int) -> PreTrainedTokenizerFast:
    """Train on generated text. The chat template alone writes <s>, so that none can double it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        max_token_length=16,
        show_progress=False,
    )
    bpe.train_from_iterator(corpus(seed, 30_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        **_ROLES,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    train(given.seed).save_pretrained(given.out)


if __name__ == "__main__":
    main()
