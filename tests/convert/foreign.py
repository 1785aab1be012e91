"""Models built and called as other libraries build and call theirs; nothing of those libraries is needed."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIM, HEADS = 16, 4


def split(x: Tensor, heads: int = HEADS) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def softmax(q: Tensor, k: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


class BertSelfAttention(nn.Module):
    def __init__(self, is_decoder: bool = False):
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.all_head_size = HEADS, DIM // HEADS, DIM
        self.query, self.key, self.value = (nn.Linear(DIM, DIM) for _ in range(3))
        self.dropout = nn.Dropout(0.1)
        self.position_embedding_type = "absolute"
        self.is_decoder = is_decoder

    def forward(
        self,
        hidden_states,
        attention_mask=None,
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        past_key_value=None,
        output_attentions=False,
    ):
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        mask = attention_mask if encoder_hidden_states is None else encoder_attention_mask
        weights = self.dropout(softmax(split(self.query(hidden_states)), split(self.key(read)), mask))
        out = merge(weights @ split(self.value(read)))
        outputs = (out, weights) if output_attentions else (out,)
        return (*outputs, None) if self.is_decoder else outputs


class BertSelfOutput(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.norm = nn.Linear(DIM, DIM), nn.LayerNorm(DIM)

    def forward(self, hidden_states, input_tensor):
        return self.norm(self.dense(hidden_states) + input_tensor)


class BertAttention(nn.Module):
    def __init__(self, is_decoder: bool = False):
        super().__init__()
        self.self, self.output = BertSelfAttention(is_decoder), BertSelfOutput()

    def forward(self, hidden_states, attention_mask=None, head_mask=None, *more, output_attentions=False):
        outputs = self.self(hidden_states, attention_mask, head_mask, *more, output_attentions=output_attentions)
        return (self.output(outputs[0], hidden_states), *outputs[1:])


class Bert(nn.Module):
    """Additive masks (batch, 1, 1, keys) with the least number of the dtype; tuples that grow."""

    def __init__(self, is_decoder: bool = False):
        super().__init__()
        self.is_decoder = is_decoder
        self.embeddings = nn.Embedding(30, DIM)
        self.layer = nn.ModuleList(BertAttention(is_decoder) for _ in range(2))

    def forward(self, input_ids, attention_mask=None, output_attentions=False):
        x = self.embeddings(input_ids)
        n = x.shape[1]
        kept = torch.ones(x.shape[:2], dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        kept = kept[:, None, None]
        if self.is_decoder:
            kept = kept & torch.ones(n, n, dtype=torch.bool).tril()
        mask = torch.zeros(kept.shape).masked_fill(~kept, torch.finfo(torch.float32).min)
        weights = []
        for layer in self.layer:
            outputs = layer(x, mask, None, output_attentions=output_attentions)
            x = outputs[0]
            weights += outputs[1:2]
        return (x, weights) if output_attentions else x


class BertPairSelfAttention(nn.Module):
    """A later generation: always a pair, masks of booleans that say what is kept, further keyword arguments."""

    def __init__(self):
        super().__init__()
        self.num_attention_heads = HEADS
        self.query, self.key, self.value = (nn.Linear(DIM, DIM) for _ in range(3))
        self.dropout = nn.Dropout(0.1)
        self.is_causal = False

    def forward(self, hidden_states, attention_mask=None, past_key_values=None, cache_position=None, **kwargs):
        weights = softmax(split(self.query(hidden_states)), split(self.key(hidden_states)), attention_mask)
        return merge(weights @ split(self.value(hidden_states))), weights


class BertPairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.ModuleList(BertPairSelfAttention() for _ in range(2))

    def forward(self, x, attention_mask=None):
        kept = None
        if attention_mask is not None:
            kept = attention_mask.bool()[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        for layer in self.layer:
            out, _ = layer(x, attention_mask=kept, position_ids=torch.arange(x.shape[1]))
            x = x + out
        return x


class ViTSelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_attention_heads = HEADS
        self.query, self.key, self.value = (nn.Linear(DIM, DIM, bias=False) for _ in range(3))
        self.dropout = nn.Dropout(0.0)

    def forward(self, hidden_states, head_mask=None, output_attentions=False):
        weights = softmax(split(self.query(hidden_states)), split(self.key(hidden_states)), None)
        out = merge(weights @ split(self.value(hidden_states)))
        return (out, weights) if output_attentions else (out,)


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Linear(12, DIM)
        self.layer = nn.ModuleList(ViTSelfAttention() for _ in range(2))

    def forward(self, x):
        x = self.patches(x)
        for layer in self.layer:
            x = x + layer(x, None, output_attentions=False)[0]
        return x


class Conv1D(nn.Module):
    """A linear map with its weight the other way round."""

    def __init__(self, nf: int, nx: int):
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(0.2 * torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


class GPT2Attention(nn.Module):
    def __init__(self, by_layer: bool = False):
        super().__init__()
        self.register_buffer("bias", torch.ones(1, 1, 64, 64, dtype=torch.bool).tril())
        self.num_heads, self.head_dim, self.split_size = HEADS, DIM // HEADS, DIM
        self.scale_attn_weights, self.scale_attn_by_inverse_layer_idx = True, by_layer
        self.is_cross_attention = False
        self.c_attn, self.c_proj = Conv1D(3 * DIM, DIM), Conv1D(DIM, DIM)
        self.attn_dropout, self.resid_dropout = nn.Dropout(0.1), nn.Dropout(0.1)

    def read(self, x, mask):
        n = x.shape[1]
        q, k, v = (split(part) for part in self.c_attn(x).split(self.split_size, dim=2))
        order = torch.zeros(n, n).masked_fill(~self.bias[0, 0, :n, :n], -torch.inf)
        mask = order if mask is None else order + mask
        weights = softmax(q, k, mask)
        return self.resid_dropout(self.c_proj(merge(weights @ v))), weights

    def forward(
        self,
        hidden_states,
        layer_past=None,
        attention_mask=None,
        head_mask=None,
        encoder_hidden_states=None,
        encoder_attention_mask=None,
        use_cache=False,
        output_attentions=False,
    ):
        out, weights = self.read(hidden_states, attention_mask)
        return (out, None, weights) if output_attentions else (out, None)


class GPT2PairAttention(GPT2Attention):
    """A later generation: always a pair, the whole mask in one."""

    def forward(self, hidden_states, past_key_values=None, cache_position=None, attention_mask=None, **kwargs):
        return self.read(hidden_states, attention_mask)


class GPT2(nn.Module):
    def __init__(self, later: bool = False):
        super().__init__()
        self.wte, self.later = nn.Embedding(30, DIM), later
        self.h = nn.ModuleList((GPT2PairAttention if later else GPT2Attention)() for _ in range(2))
        self.ln = nn.LayerNorm(DIM)

    def forward(self, input_ids, attention_mask=None, use_cache=False):
        x = self.wte(input_ids)
        n, mask = x.shape[1], None
        if attention_mask is not None:
            mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            if self.later:
                kept = attention_mask.bool()[:, None, None] & torch.ones(n, n, dtype=torch.bool).tril()
                mask = torch.zeros(kept.shape).masked_fill(~kept, torch.finfo(torch.float32).min)
        for block in self.h:
            kwargs = {"cache_position": torch.arange(n)} if self.later else {"use_cache": use_cache}
            x = x + block(self.ln(x), attention_mask=mask, **kwargs)[0]
        return x


class TimmAttention(nn.Module):
    def __init__(self, norm: type[nn.Module] = nn.Identity):
        super().__init__()
        self.num_heads, self.scale = HEADS, 0.3
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.q_norm, self.k_norm = (norm() if norm is nn.Identity else norm(DIM // HEADS) for _ in range(2))
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x, attn_mask=None):
        q, k, v = (split(part) for part in self.qkv(x).chunk(3, -1))
        return self.proj(merge(softmax(self.q_norm(q), self.k_norm(k), attn_mask, self.scale) @ v))


class ClipAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_heads, self.scale, self.dropout, self.is_causal = HEADS, (DIM // HEADS) ** -0.5, 0.0, False
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(DIM, DIM) for _ in range(4))

    def forward(self, hidden_states, attention_mask=None, **kwargs):
        weights = softmax(split(self.q_proj(hidden_states)), split(self.k_proj(hidden_states)), attention_mask)
        return self.out_proj(merge(weights @ split(self.v_proj(hidden_states)))), weights


class LaterViTAttention(nn.Module):
    """The names of a later generation."""

    def __init__(self):
        super().__init__()
        self.num_attention_heads, self.scaling = HEADS, (DIM // HEADS) ** -0.5
        self.attention_dropout, self.is_causal = 0.1, False
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(DIM, DIM) for _ in range(4))

    def forward(self, hidden_states, attention_mask=None, **kwargs):
        weights = softmax(split(self.q_proj(hidden_states)), split(self.k_proj(hidden_states)), attention_mask)
        return self.o_proj(merge(weights @ split(self.v_proj(hidden_states)))), weights


class SwinSelfAttention(ViTSelfAttention):
    """Looks like ViT, but its scores have a bias by position."""

    def __init__(self):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, HEADS))


class Encoder(nn.Module):
    """What `nn.MultiheadAttention` is used in, with a mask of padding."""

    def __init__(self, **options):
        super().__init__()
        self.first = nn.MultiheadAttention(DIM, HEADS, dropout=0.1, batch_first=True, **options)
        self.second = nn.MultiheadAttention(DIM, HEADS, batch_first=True, **options)

    def forward(self, x, padding=None):
        x = x + self.first(x, x, x, key_padding_mask=padding)[0]
        return F.relu(x) + self.second(x, x, x, key_padding_mask=padding, need_weights=False)[0]
