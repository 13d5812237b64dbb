"""The icon transformer in plain torch, for training.

It computes what the host's Flux computes and names its parameters the same, so that a trained state dict is a
checkpoint's. Training cannot use the host's own class: that one adds its residuals in place, which autograd refuses.
Tokens are `(rows, tokens, WIDTH)`, the text's before the picture's.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pixel_shuffle, pixel_unshuffle, silu

from .architecture import FLUX, TEXT_WIDTH

WIDTH, HEADS, PATCH, MLP = FLUX["hidden_size"], FLUX["num_heads"], FLUX["patch_size"], 4 * FLUX["hidden_size"]
PIXELS = FLUX["in_channels"] * PATCH**2  # numbers in a patch
LEVEL_WIDTH, LEVEL_SCALE, LONGEST_PERIOD = 256, 1000, 10000  # of the noise level's embedding
EPSILON = 1e-6


class _Embedder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(width, WIDTH), nn.Linear(WIDTH, WIDTH)
        nn.init.normal_(self.in_layer.weight, std=width**-0.5)
        nn.init.normal_(self.out_layer.weight, std=0.05)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(silu(self.in_layer(x)))


class _Modulation(nn.Module):
    """Shifts, scales and gates that follow from noise level and caption; at first none (Peebles and Xie 2023)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.lin, self.count = _zero(nn.Linear(WIDTH, count * WIDTH)), count

    def forward(self, asked: Tensor) -> tuple[Tensor, ...]:
        return self.lin(silu(asked))[:, None].chunk(self.count, -1)


class _QueryKeyNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query_norm, self.key_norm = (nn.RMSNorm(WIDTH // HEADS, eps=EPSILON) for _ in range(2))

    def forward(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `(rows, HEADS, tokens, channels)` of one projection `(rows, tokens, 3 * WIDTH)`."""
        query, key, value = qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.query_norm(query), self.key_norm(key), value


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj, self.norm = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), _QueryKeyNorm()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.norm(self.qkv(x))


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, MLP), nn.GELU(approximate="tanh"), nn.Linear(MLP, WIDTH))


class _DoubleBlock(nn.Module):
    """Text and picture have weights of their own and attend to both."""

    def __init__(self) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = _Modulation(6), _Modulation(6)
        self.img_attn, self.txt_attn = _Attention(), _Attention()
        self.img_mlp, self.txt_mlp = _mlp(), _mlp()

    def forward(self, image: Tensor, text: Tensor, asked: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        of_text, of_image = self.txt_mod(asked), self.img_mod(asked)
        parts = zip(self.txt_attn(_moved(text, *of_text[:2])), self.img_attn(_moved(image, *of_image[:2])), strict=True)
        attended = _attend(*(torch.cat(part, 2) for part in parts), turn)
        for_text, for_image = attended.split((text.shape[1], image.shape[1]), 1)
        image = image + of_image[2] * self.img_attn.proj(for_image)
        text = text + of_text[2] * self.txt_attn.proj(for_text)
        image = image + of_image[5] * self.img_mlp(_moved(image, *of_image[3:5]))
        return image, text + of_text[5] * self.txt_mlp(_moved(text, *of_text[3:5]))


class _SingleBlock(nn.Module):
    """One set of weights for all tokens; attention and MLP side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(WIDTH, 3 * WIDTH + MLP), nn.Linear(WIDTH + MLP, WIDTH)
        self.modulation, self.norm = _Modulation(3), _QueryKeyNorm()

    def forward(self, x: Tensor, asked: Tensor, turn: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(asked)
        qkv, hidden = self.linear1(_moved(x, shift, scale)).split((3 * WIDTH, MLP), -1)
        both = torch.cat((_attend(*self.norm(qkv), turn), nn.functional.gelu(hidden, approximate="tanh")), -1)
        return x + gate * self.linear2(both)


class _LastLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), _zero(nn.Linear(WIDTH, 2 * WIDTH)))
        self.linear = _zero(nn.Linear(WIDTH, PIXELS))

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        return self.linear(_moved(x, *self.adaLN_modulation(asked)[:, None].chunk(2, -1)))


class FluxTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.img_in, self.txt_in = nn.Linear(PIXELS, WIDTH), nn.Linear(TEXT_WIDTH, WIDTH)
        self.time_in, self.vector_in = _Embedder(LEVEL_WIDTH), _Embedder(TEXT_WIDTH)
        self.double_blocks = nn.ModuleList(_DoubleBlock() for _ in range(FLUX["depth"]))
        self.single_blocks = nn.ModuleList(_SingleBlock() for _ in range(FLUX["depth_single_blocks"]))
        self.final_layer = _LastLayer()
        self._hand_pixels_on()

    @torch.no_grad()
    def _hand_pixels_on(self) -> None:
        """Let the noised pixels pass from the first layer to the last, in channels of their own.

        The noise in them is half of what is to be predicted. A narrow model else spends its first thousand steps on
        learning to hand it on. A constant in the other channels keeps the layer norms' gain alike for every token.
        """
        for end in (self.img_in.weight[:PIXELS], self.final_layer.linear.weight[:, :PIXELS]):
            end.copy_(torch.eye(PIXELS))
        self.img_in.weight[PIXELS:] *= 0.3
        self.img_in.bias[PIXELS:] = torch.randn(WIDTH - PIXELS).sign()

    def forward(self, noised: Tensor, noise_level: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
        """Velocity `(rows, 3, height, width)`; noise_level `(rows,)` of 0..1, context `(rows, tokens, TEXT_WIDTH)`."""
        patches = pixel_unshuffle(noised, PATCH)
        image, text = self.img_in(patches.flatten(2).mT), self.txt_in(context)
        asked = self.time_in(_waves(noise_level)) + self.vector_in(pooled)
        turn = _turn(text.shape[1], *patches.shape[2:], noised.device)
        for block in self.double_blocks:
            image, text = block(image, text, asked, turn)
        tokens = torch.cat((text, image), 1)
        for block in self.single_blocks:
            tokens = block(tokens, asked, turn)
        velocity = self.final_layer(tokens[:, text.shape[1] :], asked)
        return pixel_shuffle(velocity.mT.unflatten(-1, patches.shape[2:]), PATCH)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _moved(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return layer_norm(x, (WIDTH,), eps=EPSILON) * (1 + scale) + shift


def _attend(query: Tensor, key: Tensor, value: Tensor, turn: Tensor) -> Tensor:
    """Rotary positions, attention, and the heads side by side: `(rows, tokens, WIDTH)`.

    Written out: of few tokens that is faster on a CPU than torch's own attention, whose backward pass is slow there.
    """
    query, key = (_turned(x.float(), turn).type_as(value) for x in (query, key))
    weights = ((query @ key.mT).float() * query.shape[-1] ** -0.5).softmax(-1)
    return (weights.type_as(value) @ value).transpose(1, 2).flatten(2)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Pairs of channels, each turned by its angle."""
    (left, right), (cosine, sine) = x.unflatten(-1, (-1, 2)).unbind(-1), turn
    return torch.stack((left * cosine - right * sine, left * sine + right * cosine), -1).flatten(-2)


def _turn(text: int, height: int, width: int, device: torch.device) -> Tensor:
    """Cosines and sines `(2, tokens, pairs)` of each token's rotation: text is at 0, a patch at (0, row, column)."""
    row, column = torch.meshgrid(*(torch.arange(size, device=device) for size in (height, width)), indexing="ij")
    places = torch.zeros(text + height * width, 3, device=device)
    places[text:, 1], places[text:, 2] = row.flatten(), column.flatten()
    angles = [
        place[:, None] * FLUX["theta"] ** -(torch.arange(0, size, 2, device=device) / size)
        for place, size in zip(places.T, FLUX["axes_dim"], strict=True)
    ]
    every = torch.cat(angles, 1)
    return torch.stack((every.cos(), every.sin()))


def _waves(noise_level: Tensor) -> Tensor:
    half = LEVEL_WIDTH // 2
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(half, device=noise_level.device) / half)
    angles = LEVEL_SCALE * noise_level[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), -1)
