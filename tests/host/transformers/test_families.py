"""What the families say of a model's layers, against the positions that the tests know of it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from oracles import relative_error
from runs import run, shared_everywhere, variants
from sampling import sample
from style_aligned.shared_attention.host import families
from style_aligned.shared_attention.host.families.noting import current_layer, noting_layers
from style_aligned.shared_attention.host.families.transformer import Layer, Transformer
from style_aligned.shared_attention.layers import LayerKey, LayerSelection
from style_aligned.shared_attention.rotary import frequency_scales
from variant import Variant

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = {
    "anima": "Anima",
    "auraflow": "AuraFlow",
    "boogu": "Boogu",
    "chroma": "Chroma",
    "cosmos_predict2": "Cosmos-Predict2",
    "flux_": "Flux.1",
    "flux2": "Flux.2",
    "hidream_i1": "HiDream I1",
    "hunyuan_image": "HunyuanImage 2.1",
    "ideogram4": "Ideogram 4",
    "joyimage": "JoyImage",
    "kandinsky5": "Kandinsky 5 Image",
    "krea2": "Krea 2",
    "lens": "Lens",
    "longcat": "LongCat-Image and Ovis-Image",
    "lumina2": "Lumina 2",
    "mage_flow": "Mage-Flow",
    "omnigen2": "OmniGen2",
    "qwen_image": "Qwen-Image",
    "sd3": "Stable Diffusion 3",
    "z_image": "Z-Image",
}
"""What users call the variants, by what the variants' names begin with."""

every_variant = pytest.mark.parametrize("variant", variants(), indirect=True)


@dataclass
class Seen:
    """One model call: its network, the shape of its input, and each noted attention's layer and tokens.

    keys: of each attention, noted or not, the key by the note and that of the variant's module it is in.
    """

    unet: Any
    shape: torch.Size
    attentions: list[tuple[Layer, int]] = field(default_factory=list)
    keys: list[tuple[LayerKey | None, LayerKey | None]] = field(default_factory=list)


def seen(variant: Variant, **options: Any) -> list[Seen]:
    """What a run of one step notes, in each of its model calls."""
    model, calls, inside = variant.model(), [], []
    for key, module in variant.layers(model.model.diffusion_model):
        module.register_forward_pre_hook(lambda *_, key=key: inside.append(key))
        module.register_forward_hook(lambda *_: inside.__delitem__(-1))

    def call(executor: Any, x: torch.Tensor, t: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(Seen(executor.class_obj.diffusion_model, x.shape))
        with noting_layers(families.find(calls[-1].unet), calls[-1].unet, x, LayerSelection.parse("all")):
            return executor(x, t, *args, **kwargs)

    def attend(function: Any, q: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        layer = current_layer.get()
        calls[-1].keys.append((layer and layer.key, inside[-1] if inside else None))
        if layer is not None:
            calls[-1].attentions.append((layer, q.shape[2 if kwargs.get("skip_reshape") else 1]))
        return function(q, *args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", call)
    model.model_options["transformer_options"].update(options, optimized_attention_override=attend)
    positive, negative = variant.conditioning(2, 1), variant.conditioning(1, 2)
    sample(model, 2, 1, positive=positive, negative=negative, initial=variant.noise(2), scheduler="simple")
    assert not any("forward" in module.__dict__ for module in model.model.diffusion_model.modules())
    assert calls
    return calls


@every_variant
def test_models_have_the_family_that_users_know(variant: Variant):
    unet = variant.model().model.diffusion_model
    (name,) = (name for start, name in FAMILIES.items() if variant.name.startswith(start))
    assert families.find(unet).name == name
    assert families.find(torch.compile(unet)).name == name


@every_variant
def test_every_joint_attention_is_noted_and_no_other(variant: Variant):
    for call in seen(variant):
        assert [noted for noted, _ in call.keys] == [expected for _, expected in call.keys]
        noted = dict.fromkeys(layer.key for layer, _ in call.attentions)
        assert list(noted) == families.find(call.unet).layers(call.unet)


@every_variant
def test_layers_know_where_the_image_is_and_how_it_is_rotated(variant: Variant):
    for call in seen(variant):
        rope = variant.rope(call.unet)
        for layer, count in call.attentions:
            tokens = variant.tokens(call.unet, call.shape, count)
            assert layer.image(count) == tokens.image
            assert (layer.rotary is None) == (rope is None)
            if rope is None:
                continue
            x = torch.randn(1, 3, count, 2 * len(rope.axes), generator=torch.Generator().manual_seed(5))
            image = tokens.image
            rotated = layer.rotary.of_tokens(image)(x[:, :, image])
            expected = rope.rotate(x[0].double(), tokens.positions)[None, :, image]
            assert relative_error(rotated, expected) < 1e-5
            assert relative_error(layer.rotary.of_tokens(image).inverse()(rotated), x[:, :, image]) < 1e-6


@every_variant
def test_turning_moves_along_x(variant: Variant):
    unet = variant.model().model.diffusion_model
    family, rope = families.find(unet), variant.rope(unet)
    offset = 5 * family.step(unet, {})
    turn = family.turn(unet, offset, torch.device("cpu"))
    assert (turn is None) == (rope is None)
    if rope is not None:
        x = torch.randn(1, 3, 4, 2 * len(rope.axes), generator=torch.Generator().manual_seed(5))
        moved = torch.zeros(4, 1 + max(rope.axes), dtype=torch.float64)
        moved[:, rope.spatial[-1]] = offset
        assert relative_error(turn(x), rope.rotate(x[0].double(), moved)[None]) < 1e-6


@every_variant
def test_pairs_belong_to_their_axes(variant: Variant):
    unet = variant.model().model.diffusion_model
    axes, rope = families.find(unet).pair_axes(unet), variant.rope(unet)
    assert (axes is None) == (rope is None)
    if rope is not None:
        x = torch.randn(3, 4, 2 * len(rope.axes), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        turn = families.find(unet).turn(unet, 0.0, torch.device("cpu"))
        scaled = turn.scaled(frequency_scales(axes, 0.25, 1.5))(x[None])
        assert relative_error(scaled, rope.scale(x, 0.25, 1.5)[None]) < 1e-6


@pytest.mark.parametrize("options", [{}, {"rope_options": {"scale_x": 0.25}}], ids=["own", "scaled"])
@every_variant
def test_neighbours_along_x_are_a_step_apart(variant: Variant, options: dict[str, Any]):
    """Also under the host's node that scales positions, which only some models read."""
    for call in seen(variant, **options):
        family = families.find(call.unet)
        layer, count = call.attentions[0]
        if layer.rotary is not None:
            at = layer.image(count).start
            first, second = (layer.rotary.of_tokens(slice(at + i, at + i + 1)) for i in (0, 1))
            step = family.turn(call.unet, family.step(call.unet, options), torch.device("cpu"))
            assert relative_error(first.then(step).matrices, second.matrices) < 1e-5


def network(module: str, name: str, **attributes: Any) -> torch.nn.Module:
    """An empty network of one of the host's classes."""
    cls = getattr(importlib.import_module(module), name)
    unet = cls.__new__(cls)
    torch.nn.Module.__init__(unet)
    for attribute, value in attributes.items():
        setattr(unet, attribute, value)
    return unet


@pytest.mark.parametrize(
    ("unet", "called"),
    [
        (("comfy.ldm.wan.model", "VaceWanModel", {}), "it is Wan, a video model"),
        (("comfy.ldm.lightricks.model", "LTXVModel", {}), "it is LTX-Video"),
        (("comfy.ldm.hunyuan_video.model", "HunyuanVideo", {"patch_size": [1, 2, 2]}), "it is HunyuanVideo"),
        (("comfy.ldm.cosmos.predict2", "MiniTrainDIT", {"in_channels": 17, "out_channels": 16}), "Video2World"),
        (
            ("comfy.ldm.kandinsky5.model", "Kandinsky5",
             {"in_visual_dim": 16, "visual_embed_dim": 132, "patch_size": (1, 2, 2)}),
            "it is Kandinsky 5 Video",
        ),
        (("comfy.ldm.pixart.pixartms", "PixArtMS", {}), "it is PixArt"),
        (("comfy.ldm.lumina.model", "NextDiT", {"__ming_image__": torch.empty(0)}), "it is Ming-Image"),
        (("torch.nn", "Linear", {}), r"of a kind that this pack does not know \(Linear\)"),
    ],
    ids=lambda case: case[1] if isinstance(case, tuple) else "",
)  # fmt: skip
def test_what_is_not_served_is_refused_by_the_name_that_users_know(unet: tuple[str, str, dict[str, Any]], called: str):
    module, name, attributes = unet
    with pytest.raises(ValueError, match=f"cannot share attention.*{called}.*Flux.1, Flux.2"):
        families.find(network(module, name, **attributes))


@pytest.mark.parametrize("variant", variants("hidream_i1"), indirect=True)
def test_a_picture_to_edit_in_hidreams_rows_is_refused(variant: Variant):
    positive = variant.conditioning(2, 1)
    for _, options in positive:
        options["concat_latent_image"] = variant.noise(1)
    with pytest.raises(ValueError, match="HiDream E1 cannot share attention"):
        run(shared_everywhere(variant.model()), variant, images=2, positive=positive)
    alone = variant.conditioning(1, 1)
    alone[0][1]["concat_latent_image"] = variant.noise(1)
    assert run(shared_everywhere(variant.model()), variant, images=1, positive=alone).isfinite().all()


@pytest.mark.parametrize("family", families.TRANSFORMERS, ids=lambda family: family.name)
def test_the_page_about_families_has_it_and_why_its_blocks_share(family: Transformer):
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    (row,) = (row for row in rows if len(row) == 4 and family.name in row[0].split(", "))
    assert not family.shared_by_default or row[3] != "nothing published"
    assert ("absolute" in row[2]) == isinstance(family, (families.SD3, families.AuraFlow))
