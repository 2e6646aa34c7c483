"""Turns a training run into the shipped folder: a Hugging Face model and its OpenVINO IR.

`python -m training.export --run RUN --out FOLDER`. Both hold the same float16 values. The
configuration is written in the words of transformers 4 and of transformers 5, so that any server
loads it.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.openvino import main_export
from optimum.intel import OVConfig
from transformers import MistralForCausalLM, PreTrainedTokenizerFast

from training.artifact import CARD, data_hash, read_json, write_json
from training.fills import UNSEEN_NOUNS
from training.grammar import words
from training.tokenizer import CHAT_TEMPLATE, CONTEXT, PAD
from training.train import ROPE_THETA, new_model


def write_model(kept: dict[str, Any], vocabulary: int, folder: Path) -> MistralForCausalLM:
    """Write float16 weights and a configuration that both transformers generations read."""
    model = new_model(vocabulary, kept["plan"]["seed"])
    model.load_state_dict(kept["model"])
    model.half()
    model.generation_config.pad_token_id = PAD
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    path = folder / "config.json"
    both = {"dtype": "float16", "torch_dtype": "float16", "rope_theta": ROPE_THETA}
    write_json(path, read_json(path) | both)
    return model


def write_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer, its chat template both as a file and inside the configuration."""
    tokenizer.init_kwargs.pop("is_local", None)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    path = folder / "tokenizer_config.json"
    both = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
        # Transformers 4 would add token types, which its Mistral refuses.
        "model_input_names": ["input_ids", "attention_mask"],
    }
    write_json(path, read_json(path) | both)


def write_openvino(folder: Path) -> None:
    """Export the folder to OpenVINO IR with float16 weights, tokenizer and detokenizer included."""
    main_export(
        str(folder),
        output=folder / "openvino",
        task="text-generation-with-past",
        ov_config=OVConfig(dtype="fp16"),
        convert_tokenizer=True,
    )
    (folder / "openvino" / "tokenizer.json").unlink()
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(folder / name, folder / "openvino" / name)


def card(kept: dict[str, Any], model: MistralForCausalLM) -> dict[str, Any]:
    """What is known of the model before it is scored."""
    plan, progress = kept["plan"], kept["progress"]
    return {
        "name": "mistral-tiny",
        "made_by": "python -m training.train",
        "seed": plan["seed"],
        "plan": plan,
        "complete": progress["rounds"] == plan["rounds"],
        "training": progress | {"seconds": round(progress["seconds"])},
        "data_sha256": data_hash(plan["seed"]),
        "held_out": {
            "given_names": len(words("first", held=True)),
            "family_names": len(words("last", held=True)),
            "nouns": len(UNSEEN_NOUNS),
        },
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "vocabulary": model.config.vocab_size,
        "context": CONTEXT,
        "dtype": "float16",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    kept = torch.load(given.run / "checkpoint.pt", weights_only=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(given.run / "tokenizer")
    model = write_model(kept, len(tokenizer), given.out)
    write_tokenizer(tokenizer, given.out)
    write_openvino(given.out)
    write_json(given.out / CARD, card(kept, model))


if __name__ == "__main__":
    main()
