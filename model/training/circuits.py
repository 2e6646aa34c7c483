"""Seeds a fresh model with the attention circuits that copying needs.

Layer 0 starts with two heads that look exactly one and two tokens back and write what they find
into reserved dimensions; layer 1 with an induction head, which finds an earlier place with the
same two last tokens and copies what followed. Copying names and numbers then works from the first
step instead of after a long plateau. All else stays random, and all of it is trained on.
"""

import math

import torch
from transformers import MistralForCausalLM

#: Reserved dimensions of the residual stream: a constant, the token itself, the one before, and
#: the one before that.
CONSTANT = 0
WIDTH = 63
TOKEN = slice(1, 1 + WIDTH)
BEFORE = slice(64, 64 + WIDTH)
BEFORE_THAT = slice(128, 128 + WIDTH)

#: How sharply a previous-token head looks at its one place.
_SHARPNESS = 60.0
#: Rotary frequencies below this hardly turn within a prompt: there, matching is by content alone.
_SLOW = 0.003


def _own_slice(head: int, size: int) -> slice:
    return slice(head * size, (head + 1) * size)


class Circuits:
    """Writes the circuits into one model, in place."""

    def __init__(self, model: MistralForCausalLM, seed: int) -> None:
        """Read the shapes off the model.

        Args:
            model: A freshly initialised Mistral of hidden size 256 or more.
            seed: Seed of the random parts.
        """
        self._model = model
        self._random = torch.Generator().manual_seed(seed)
        config = model.config
        self._size = config.head_dim
        self._group = config.num_attention_heads // config.num_key_value_heads
        theta = config.rope_parameters["rope_theta"]
        half = torch.arange(0, self._size // 2, dtype=torch.float64)
        self._speed = theta ** (-half * 2 / self._size)

    @torch.no_grad()
    def write(self) -> None:
        table = self._model.model.embed_tokens.weight
        table.normal_(std=0.5, generator=self._random)
        table[:, CONSTANT] = 1.5
        table[:, BEFORE] *= 0.05
        table[:, BEFORE_THAT] *= 0.05
        scale = table.pow(2).mean(-1).sqrt().mean().item()
        self._look_back(0, 1, BEFORE, scale)
        self._look_back(1, 2, BEFORE_THAT, scale)
        self._induct(scale)
        head = self._model.lm_head.weight
        head.normal_(std=0.02, generator=self._random)
        head[:, TOKEN] += table[:, TOKEN] * 0.5
        head[:, CONSTANT] = 0

    def _look_back(self, group: int, distance: int, into: slice, scale: float) -> None:
        """Make the first head of a group of layer 0 read the token `distance` back."""
        attention = self._model.model.layers[0].self_attn
        # A key of ones on the cosine half; the query is the same, turned by the distance, so that
        # the rotary embedding makes their product largest exactly there.
        key = torch.zeros(self._size, dtype=torch.float64)
        key[: self._size // 2] = 1.0
        angle = -distance * self._speed
        query = torch.cat([torch.cos(angle), torch.sin(angle)])
        gain = math.sqrt(_SHARPNESS) / (1.5 / scale)
        keys, queries = _own_slice(group, self._size), _own_slice(group * self._group, self._size)
        attention.k_proj.weight[keys] *= 0.1
        attention.k_proj.weight[keys, CONSTANT] = (key * gain).float()
        attention.q_proj.weight[queries] *= 0.1
        attention.q_proj.weight[queries, CONSTANT] = (query * gain).float()
        self._carry(attention, group, into, scale)

    def _induct(self, scale: float) -> None:
        """Make the first head of layer 1 match the last two tokens and copy what followed them."""
        attention = self._model.model.layers[1].self_attn
        half = self._size // 2
        slow = [i for i in range(half) if self._speed[i] < _SLOW]
        rows = torch.tensor(slow + [i + half for i in slow])
        one, two = self._mixer(len(rows)), self._mixer(len(rows))
        query = attention.q_proj.weight[_own_slice(0, self._size)]
        key = attention.k_proj.weight[_own_slice(0, self._size)]
        query.mul_(0.1)
        key.mul_(0.1)
        query[rows, TOKEN], query[rows, BEFORE] = one * 2.0, two * 2.0
        key[rows, BEFORE], key[rows, BEFORE_THAT] = one * 2.0, two * 2.0
        self._carry(attention, 0, TOKEN, scale * 6.0)

    def _mixer(self, rows: int) -> torch.Tensor:
        drawn = torch.randn(WIDTH, rows, generator=self._random)
        return torch.linalg.qr(drawn)[0].T * math.sqrt(WIDTH / rows)

    def _carry(self, attention: torch.nn.Module, group: int, into: slice, gain: float) -> None:
        """Let a head carry the token dimensions, unmixed, into another slice."""
        values = _own_slice(group, self._size)
        first = group * self._group * self._size
        attention.v_proj.weight[values] = 0
        attention.v_proj.weight[values.start : values.start + WIDTH, TOKEN] = torch.eye(WIDTH)
        attention.o_proj.weight[:, first : first + self._size] = 0
        attention.o_proj.weight[into, first : first + WIDTH] = torch.eye(WIDTH) * gain
