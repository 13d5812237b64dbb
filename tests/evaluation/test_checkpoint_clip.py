"""Pictures and texts are compared as CLIP compares them: the oracle is CLIP as transformers has it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import comfy.clip_vision
import pytest
import torch
from comfy.sdxl_clip import SDXLClipModel
from small_clip import WIDTH, let_the_host_load_small_ones, save, small_clip
from torch.nn.functional import cosine_similarity

from devtools.checkpoint_evaluation import judges
from devtools.checkpoint_evaluation.clip_pair import pair
from devtools.checkpoint_evaluation.errors import EvaluationError
from devtools.checkpoint_evaluation.judges import Asked, load_judges
from devtools.comfyui.icon_model import load_icon_model
from devtools.comfyui.server import TOY_CHECKPOINT

TEXTS = ["a lighthouse on a cliff", "a fox", "a coffee cup with a long name"]


@pytest.fixture(scope="module")
def clip():
    return small_clip()


@pytest.fixture(autouse=True)
def _loadable(monkeypatch: pytest.MonkeyPatch):
    let_the_host_load_small_ones(monkeypatch)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def folder(clip, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save(clip, folder / "both.safetensors")
    save(clip, folder / "vision.safetensors", text=False)
    save(clip, folder / "text.safetensors", vision=False)
    return folder


@pytest.fixture(scope="module")
def icons():
    return load_icon_model().clip


def loaded(folder: Path, own_clip, vision: str | None = None, clip: str | None = None, text: str | None = None):
    paths = (str(folder / name) if name else None for name in (vision, clip, text))
    return load_judges(Asked(*paths), TOY_CHECKPOINT, own_clip)


@pytest.mark.parametrize("files", [("both.safetensors",), ("vision.safetensors", None, "text.safetensors")], ids=str)
def test_the_cosines_are_clips_own(clip, folder: Path, icons, files: tuple):
    found = loaded(folder, icons, *files)
    assert found.lacking == ""
    pictures = torch.rand(2, 224, 224, 3, generator=torch.Generator().manual_seed(1))
    pictures = (pictures * 255).round() / 255  # the host rounds to bytes
    normalised = comfy.clip_vision.clip_preprocess(pictures)
    tokens = [[token for token, _ in found.pair.text.tokenize(text)["l"][0]] for text in TEXTS]
    given = {"pixel_values": normalised, "input_ids": torch.tensor(tokens)}
    expected = clip(**given)
    torch.testing.assert_close(found.pair.of_pictures(pictures), expected.image_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.pair.of_texts(TEXTS), expected.text_embeds, rtol=1e-4, atol=1e-5)
    assert cosine_similarity(expected.text_embeds[0], expected.text_embeds[1], dim=0) < 0.999


def test_a_text_half_of_another_width_is_refused(folder: Path, tmp_path: Path, icons):
    """The icon model's own text encoder, and a CLIP without its projection, whose place in memory holds anything."""
    found = loaded(folder, icons, "vision.safetensors")
    assert found.pair is None
    assert found.vision is not None
    assert "icons.safetensors has no text half of CLIP" in found.lacking
    assert "--clip-text" in found.lacking
    with pytest.raises(EvaluationError, match=rf"projection to the vision model's {WIDTH} channels"):
        loaded(folder, icons, clip="vision.safetensors")
    whole = loaded(folder, icons, "both.safetensors").pair
    weights = {"text_model.encoder.layers.0.mlp.fc1.weight": (64, WIDTH)}
    with pytest.raises(EvaluationError, match=r"no text half of CLIP with a projection"):
        pair(whole.vision, whole.text, weights, "clip_l.safetensors")


def test_a_vision_model_without_texts_leaves_them_out(folder: Path, icons, monkeypatch: pytest.MonkeyPatch):
    """As DINO and SigLIP are in the host; where the user asked for texts it is an error."""

    def of_pictures_alone(_path: Path):
        model = comfy.clip_vision.ClipVisionModel({})
        model.model_type = "siglip_vision_model"
        return model

    monkeypatch.setattr(comfy.clip_vision, "ClipVisionModel", lambda _config: type("Model", (), {"config": {}})())
    monkeypatch.setattr(judges, "load_vision", of_pictures_alone)
    found = loaded(folder, icons, "both.safetensors")
    assert found.pair is None
    assert "both.safetensors is no CLIP with a projection" in found.lacking
    with pytest.raises(EvaluationError, match="name one with --clip"):
        loaded(folder, icons, "both.safetensors", text="text.safetensors")


def test_no_vision_model_no_texts(icons, folder: Path):
    assert "for want of --vision" in loaded(folder, icons).lacking
    with pytest.raises(EvaluationError, match="--clip-text needs the other half"):
        loaded(folder, icons, text="text.safetensors")


def test_what_the_host_does_not_know_is_refused(folder: Path, icons):
    """The text half alone is no vision model; the icon model's checkpoint is no text half."""
    with pytest.raises(EvaluationError, match=r"no vision model like text\.safetensors.*SigLIP, DINOv2"):
        loaded(folder, icons, "text.safetensors")
    with pytest.raises(EvaluationError, match=r"flux\.safetensors is no text half of a CLIP"):
        loaded(folder, icons, "both.safetensors", text=str(TOY_CHECKPOINT.with_name("flux.safetensors")))


@pytest.mark.parametrize(("width", "tower"), [(1280, "clip_g"), (768, None), (1024, None)])
def test_of_sdxls_two_text_halves_one_projects(width: int, tower: str | None):
    """Its ViT-L has no projection in the file, so that the host leaves that place in memory as it was."""
    text = Mock(cond_stage_model=SDXLClipModel(device="meta", dtype=torch.float16))
    vision = Mock(model_type="clip_vision_model", config={"projection_dim": width})
    weights = {
        "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
    }
    if tower:
        assert pair(vision, text, weights, "xl.safetensors").tower == tower
    else:
        with pytest.raises(EvaluationError, match=rf"xl\.safetensors has .* {width} channels .*768, 1280"):
            pair(vision, text, weights, "xl.safetensors")


def test_a_text_encoder_without_a_half_of_clip_is_refused():
    """SD 3's and HiDream's have the places, and None where a file had none."""
    text = Mock(cond_stage_model=Mock(clip_l=None, clip_g=None, clip_h=None))
    vision = Mock(model_type="clip_vision_model", config={"projection_dim": 768})
    with pytest.raises(EvaluationError, match="halves in it: none"):
        pair(vision, text, {}, "t5.safetensors")
