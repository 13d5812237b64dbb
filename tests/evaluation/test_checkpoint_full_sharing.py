"""Full sharing in a transformer, against a softmax in float64, and in a whole model."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch
from style_aligned.nodes.prompts import StyleAlignedPrompts
from style_aligned.shared_attention.host.families.noting import current_layer

from devtools.checkpoint_evaluation.full_sharing import attend, full_sharing
from devtools.checkpoint_evaluation.studio import Studio, load_checkpoint
from devtools.comfyui.icon_model import Loaded
from devtools.comfyui.server import FLUX_CHECKPOINT

CHUNKS, IMAGES, TOKENS, HEADS, CHANNELS = 2, 3, 7, 2, 8
IMAGE = slice(2, 6)  # text before it, and a token after it


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def projections(seed: int = 0) -> torch.Tensor:
    """(3, rows, heads, tokens, channels)"""
    shape = (3, CHUNKS * IMAGES, HEADS, TOKENS, CHANNELS)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def expected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: set[int]) -> torch.Tensor:
    """Row by row; `hidden` own tokens are masked."""
    q, k, v = q.double(), k.double(), v.double()
    out = []
    for row in range(CHUNKS * IMAGES):
        first = row // IMAGES * IMAGES
        seen = [(row, token) for token in range(TOKENS) if token not in hidden]
        others = [other for other in range(first, first + IMAGES) if other != row]
        seen += [(other, token) for other in others for token in range(IMAGE.start, IMAGE.stop)]
        keys, values = (torch.stack([x[other, :, token] for other, token in seen], 1) for x in (k, v))
        out.append((q[row] @ keys.mT / CHANNELS**0.5).softmax(-1) @ values)
    return torch.stack(out).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("heads_apart", [True, False])
@pytest.mark.parametrize("masked", [None, "bool", "float"])
def test_each_image_attends_to_all_images_and_its_own_text(heads_apart: bool, masked: str | None):
    q, k, v = projections()
    visible = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    visible[:, 1] = False
    mask = {None: None, "bool": visible, "float": torch.zeros(TOKENS, TOKENS).masked_fill(~visible, -1e9)}[masked]
    given = (q, k, v) if heads_apart else tuple(x.transpose(1, 2).flatten(2) for x in (q, k, v))
    token = current_layer.set(SimpleNamespace(image=lambda _tokens: IMAGE))  # type: ignore[arg-type]
    try:
        found = attend(IMAGES, attention_pytorch, *given, HEADS, mask=mask, skip_reshape=heads_apart)
    finally:
        current_layer.reset(token)
    wanted = expected(q, k, v, {1} if masked else set())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_outside_of_a_layer_attention_is_the_hosts():
    q, k, v = projections()
    found = attend(IMAGES, attention_pytorch, q, k, v, HEADS, skip_reshape=True)
    assert torch.equal(found, attention_pytorch(q, k, v, HEADS, skip_reshape=True))


@pytest.mark.parametrize("padded", [True, False])
def test_pictures_meet_where_the_text_encoder_pads(padded: bool):
    class Clip:
        """As many tokens as words, or always a hundred."""

        def tokenize(self, text: str) -> dict:
            return {"words": [[(1, 1.0)] * (100 if padded else len(text.split()))]}

        def encode_from_tokens_scheduled(self, tokens: dict) -> list:
            return [[torch.zeros(1, len(tokens["words"][0]), 128), {"pooled_output": torch.zeros(1, 128)}]]

    model = load_checkpoint(FLUX_CHECKPOINT).model
    studio = Studio.of(Loaded(model, Clip(), None), 0)
    assert studio.meets is padded
    assert ("everyone" in studio.variants(None)) is padded


def test_in_a_whole_model_each_image_depends_on_all_and_on_no_order():
    """A model call with guidance; images in another order give the same, in that order."""
    studio = Studio.of(load_checkpoint(FLUX_CHECKPOINT), 0)
    assert studio.meets
    [[text, options]] = StyleAlignedPrompts.execute(studio.loaded.clip, "star\nheart\ntree", "").result[0]
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    shared = full_sharing(studio.loaded.model)

    def call(order: list[int], x: torch.Tensor = x, model=shared) -> torch.Tensor:
        twice = order + [3 + row for row in order]
        given = {"c_crossattn": text, "y": options["pooled_output"]}
        more = {"cond_or_uncond": [1, 0], "wrappers": model.wrappers}
        rows = {name: torch.cat([each, each.flip(0)])[twice] for name, each in given.items()}
        latents = torch.cat([x, x])[twice]
        return model.model.apply_model(latents, torch.ones(6) * 0.7, transformer_options=more, **rows)

    straight, turned = call([0, 1, 2]), call([2, 0, 1])
    torch.testing.assert_close(turned, straight[[2, 0, 1, 5, 3, 4]], rtol=1e-3, atol=1e-4)
    changed = x.clone()
    changed[2] += 1
    assert ((call([0, 1, 2], changed) - straight)[[0, 1, 3, 4]].flatten(1).abs().amax(1) > 1e-3).all()
    plain = call([0, 1, 2], model=studio.loaded.model)
    assert (plain - straight).abs().amax() > 1e-2
    assert "forward" not in studio.loaded.model.model.diffusion_model.double_blocks[0].__dict__
