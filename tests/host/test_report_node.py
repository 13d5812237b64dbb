"""The Report node, and the host's own vision models as its eyes (tiny, random)."""

from __future__ import annotations

from typing import Any

import comfy.clip_vision
import pytest
import torch
from style_aligned.nodes.report import StyleAlignedReport
from style_aligned.shared_attention.host.vision import see
from tiny_models import randomise

_SIZES = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "num_channels": 3, "patch_size": 8}
_CLIP = {**_SIZES, "image_size": 32, "intermediate_size": 64, "hidden_act": "gelu"}
_DINO = {**_SIZES, "layer_norm_eps": 1e-6, "image_size": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "clip_vision_model": {**_CLIP, "projection_dim": 16},
    "siglip_vision_model": _CLIP,
    "dinov2": {**_DINO, "use_swiglu_ffn": False, "use_mask_token": True},
    "dinov3": {**_DINO, "num_register_tokens": 4, "intermediate_size": 64, "rope_theta": 100.0},
}
KINDS = [kind for kind in CONFIGS if comfy.clip_vision.IMAGE_ENCODERS.get(kind)]
PATCHES = 16


def vision_model(kind: str) -> comfy.clip_vision.ClipVisionModel:
    model = comfy.clip_vision.ClipVisionModel({**CONFIGS[kind], "model_type": kind})
    model.model.float()
    randomise(model.model, seed=3)
    return model


def pictures(count: int, height: int = 40, width: int = 48, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", KINDS)
def test_every_vision_model_of_the_host_sees(kind: str):
    batch = pictures(3)
    seen = see(vision_model(kind), [*batch, batch[0, :, :33]])
    for each in seen:
        assert each.embedding.ndim == 1
        assert each.embedding.isfinite().all()
        assert each.tokens.shape == (PATCHES, 32)  # patches alone: no class token, no registers
    assert not torch.equal(seen[0].embedding, seen[1].embedding)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dinov3"])
def test_what_is_seen_is_the_hosts_own_encoding(kind: str):
    model, batch = vision_model(kind), pictures(2)
    encoded = model.encode_image(batch[:1])
    [seen] = see(model, [batch[0]])
    assert torch.equal(seen.tokens, encoded["penultimate_hidden_states"][0, -PATCHES:])
    embedding = encoded["image_embeds"][0]
    assert torch.equal(seen.embedding, embedding if embedding.ndim == 1 else embedding.mean(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_vision_model_adds_style_and_content(kind: str):
    picture, text = StyleAlignedReport.execute(pictures(3), clip_vision=vision_model(kind)).result
    assert picture.shape[0] == 1
    assert picture.dtype == torch.float32
    assert "style, pairs" in text
    assert "content, pairs" in text
    assert "style" not in StyleAlignedReport.execute(pictures(3)).result[1]


def test_both_sets_against_one_reference():
    batch = pictures(4, channels=4)
    _, text = StyleAlignedReport.execute(batch, batch[:1, :30], batch[:2]).result
    assert "images: 4 against the reference" in text
    assert "compared_with: 2 against the reference" in text


def test_a_second_set_has_a_reference_of_its_own():
    _, text = StyleAlignedReport.execute(pictures(4), compared_with=pictures(3)).result
    assert "images: 3 against the reference" in text
    assert "compared_with: 2 against the reference" in text


def test_the_report_is_shown_on_the_node():
    output = StyleAlignedReport.execute(pictures(2))
    assert output.ui["text"] == (output.result[1],)
    assert len(output.ui["images"]) == 1


def test_one_picture_alone_is_refused():
    with pytest.raises(ValueError, match="images has one picture and there is no reference"):
        StyleAlignedReport.execute(pictures(1))
    with pytest.raises(ValueError, match="compared_with has one picture"):
        StyleAlignedReport.execute(pictures(2), compared_with=pictures(1))
