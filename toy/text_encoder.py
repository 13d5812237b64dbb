"""The icon model's text encoder in plain torch, for training.

It computes what the host's CLIPTextModel computes and names its parameters the same, so that a trained state dict is a
checkpoint's. Training cannot use the host's own class: that one adds its residuals in place, which autograd refuses.
Activations are `(rows, tokens, channels)`.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .architecture import TEXT_HEADS as HEADS
from .architecture import TEXT_LAYERS as LAYERS
from .architecture import TEXT_WIDTH as WIDTH
from .icons import CONTEXT_LENGTH, VOCABULARY

TEXT_PREFIX = "cond_stage_model.transformer.text_model."  # of its weights' names in a checkpoint
QUICK_GELU = 1.702


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            project(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        return self.fc2(hidden * torch.sigmoid(QUICK_GELU * hidden))


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attn, self.mlp = _Attention(), _FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class TextEncoder(nn.Module):
    """Tokens `(rows, CONTEXT_LENGTH)` to the last hidden state after the final norm: the UNet's context."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.encoder = nn.Module(), nn.Module()
        self.embeddings.token_embedding = nn.Embedding(len(VOCABULARY), WIDTH)
        self.embeddings.position_embedding = nn.Embedding(CONTEXT_LENGTH, WIDTH)
        self.encoder.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embeddings.token_embedding(tokens) + self.embeddings.position_embedding.weight
        for layer in self.encoder.layers:
            x = layer(x)
        return self.final_layer_norm(x)


def load_text_encoder(path: Path) -> TextEncoder:
    """That of an exported checkpoint, to be used and not trained."""
    weights = {name: weight.float() for name, weight in load_file(path).items() if name.startswith(TEXT_PREFIX)}
    encoder = TextEncoder()
    encoder.load_state_dict({name.removeprefix(TEXT_PREFIX): weight for name, weight in weights.items()})
    return encoder.requires_grad_(False).eval()
