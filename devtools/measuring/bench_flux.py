"""The bench's transformer: an attention and a few blocks of Flux, of their real sizes, with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from devtools.measuring.bench_apart import SIZES, Apart, apart_variants, merged_by_mass
from devtools.measuring.timing import Measured, flops

HEADS, CHANNELS, TEXT, SIDE = 24, 128, 512, 64
AXES = [16, 56, 56]
BEFORE = "before"
VARIANTS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "sharing off (strength 0)": {"strength": 0.0},
    "shared": {},
    "shared, shift ln 2": {"shift": 0.6931},
    "shared, no AdaIN": {"adain_queries": False, "adain_keys": False},
}
OF_ATTENTION: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "shared, aligned before rotation (Flux, Qwen-Image, Krea 2)": {BEFORE: True},
    "shared, taken back and rotated again (Z-Image, HiDream)": {},
    "shared, shift ln 2": {BEFORE: True, "shift": 0.6931},
    "shared, no AdaIN": {"adain_queries": False, "adain_keys": False},
}


def joint_attention_variants(device: torch.device, dtype: torch.dtype, images: int) -> list[Measured]:
    """Of 512 text and 64 x 64 image tokens, without guidance: rotation of queries and keys, and attention."""
    measured = []
    for name, options in OF_ATTENTION.items():
        variant = Measured(name, _attention(device, dtype, images, options))
        with FlopCounterMode(display=False) as counter:
            _attention(torch.device("meta"), dtype, images, options)()
        variant.flops = counter.get_total_flops()
        measured.append(variant)
    for ending, thin in SIZES.items():
        measured.append(_apart_attention(f"reference apart{ending}", device, dtype, images, thin))
    name = "reference apart, without its own pass"
    return [*measured, _apart_attention(name, device, dtype, images, "all", own_pass=False)]


def _apart_attention(
    name: str, device: torch.device, dtype: torch.dtype, images: int, thin: str, own_pass: bool = True
) -> Measured:
    """The attention of a reference alone, where it has one here, and that of its targets."""

    def run(where: torch.device) -> Callable[[], object]:
        from style_aligned.shared_attention.keeping import THINNINGS, Keeping
        from style_aligned.shared_attention.rows import Rows
        from style_aligned.shared_attention.sources import Bank, BankOfChunks, Reading, Recording

        of_reference, of_targets = (_attention(where, dtype, rows, {BEFORE: True}) for rows in (1, images - 1))

        def recorded() -> Bank:
            bank = Bank(Keeping(THINNINGS[thin]))
            of_reference(Recording(bank, [0]))
            return bank

        made = None if own_pass else recorded()

        def attend() -> Tensor:
            bank = BankOfChunks(made or recorded(), (0,))
            return of_targets(Reading([bank], Rows(1, images - 1, None)))

        return attend

    return Measured(name, run(device), flops(run(torch.device("meta"))))


def _attention(
    device: torch.device, dtype: torch.dtype, images: int, options: dict[str, Any] | None
) -> Callable[..., Tensor]:
    """What takes the source of references' features, that of a batch's first row where there is none."""
    from comfy.ldm.flux.math import apply_rope
    from comfy.ldm.modules.attention import attention_pytorch
    from style_aligned.shared_attention.host.families.flux import Flux1
    from style_aligned.shared_attention.host.families.joint_attention import (
        Placing,
        align_before_rotation,
        shared_joint_attention,
    )
    from style_aligned.shared_attention.host.families.noting import current_layer
    from style_aligned.shared_attention.host.families.transformer import Layer, blocks_of_pairs
    from style_aligned.shared_attention.positions import ReferencePositions
    from style_aligned.shared_attention.rotary import Rotary

    pe, turn = _rotations(device)
    tokens = pe.shape[2]
    q, k, v = torch.randn((3, images, HEADS, tokens, CHANNELS), device=device).to(dtype)
    if options is None:
        return lambda: attention_pytorch(*apply_rope(q, k, pe), v, HEADS, skip_reshape=True)
    settings = {name: value for name, value in options.items() if name != BEFORE}
    layer = Layer(("single", 0), lambda _: slice(TEXT, tokens), Rotary(pe))
    placing = Placing(ReferencePositions(), Rotary(turn), blocks_of_pairs(Flux1.axes, AXES), (1, SIDE, SIDE), False)

    def run(source: Any = None) -> Tensor:
        with _call_going_on(images, settings, placing, source):
            token = current_layer.set(layer)
            try:
                changed = {"q": q, "k": k, "v": v}
                if BEFORE in options:
                    changed |= align_before_rotation(q, k, v, pe)
                rotated = apply_rope(changed["q"], changed["k"], pe)
                return shared_joint_attention(attention_pytorch, *rotated, changed["v"], HEADS, skip_reshape=True)
            finally:
                current_layer.reset(token)

    return run


def _rotations(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of all tokens, and by the width of the image."""
    from comfy.ldm.flux.layers import EmbedND

    ids = torch.zeros(1, TEXT + SIDE * SIDE, 3, device=device)
    ids[0, TEXT:, 1:] = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).to(device)
    offset = torch.tensor([[[0.0, 0.0, SIDE]]], device=device)
    embedder = EmbedND(CHANNELS, 10000, AXES)
    return embedder(ids), embedder(offset)


@contextmanager
def _call_going_on(images: int, options: dict[str, Any], placing: Any, source: Any) -> Iterator[None]:
    """Within the context the layers are in a model call of `images` images that shares with `options`."""
    from style_aligned.shared_attention.host.calls import Call, Run, current_call
    from style_aligned.shared_attention.host.families.joint_attention import PLACING
    from style_aligned.shared_attention.layers import LayerSelection
    from style_aligned.shared_attention.rows import Rows
    from style_aligned.shared_attention.sharing import SharingSettings
    from style_aligned.shared_attention.sources import RowsOfCall

    source, layers = source or RowsOfCall(Rows(1, images)), LayerSelection.parse("all")
    call = Call(Run(images), source, SharingSettings(**options), layers, notes={PLACING: placing})
    token = current_call.set(call)
    try:
        yield
    finally:
        current_call.reset(token)


def bank_attention_variants(targets: int) -> list[Measured]:
    """Aligned and rotated: a copy of the bank's keys and values behind each target's, and two attentions merged."""
    from comfy.ldm.modules.attention import attention_pytorch
    from style_aligned.shared_attention.attending import Extension, Projections
    from style_aligned.shared_attention.host.backend import HostAttention
    from style_aligned.shared_attention.host.calls import Run
    from style_aligned.shared_attention.sharing import share

    def compute(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return attention_pytorch(q, k, v, HEADS, mask=mask, skip_reshape=True, skip_output_reshape=True)

    attend, image = HostAttention(compute, True, Run(targets)), SIDE * SIDE

    def copied(own: Projections, tokens: int) -> Tensor:
        given = [Extension(*_given(own, tokens), math.log(image / tokens))] if tokens else []
        return share(own, given, 1.0, attend)

    def merged(own: Projections, tokens: int) -> Tensor:
        query, key, value = (x[0] for x in own)
        given = tuple(x[0] for x in _given(own, tokens))
        return merged_by_mass(query, (key, value), given, math.log(image / tokens))

    real, on_shapes = (_projections(targets, device) for device in ("cpu", "meta"))
    measured = []
    for name, stride in {"own tokens alone": 0, "and a bank's": 1, "and 1/4 of a bank's": 2}.items():
        tokens = image // stride**2 if stride else 0
        count = flops(partial(copied, on_shapes, tokens))
        measured.append(Measured(name, partial(copied, real, tokens), count))
        if tokens:
            measured.append(Measured(f"{name}, not copied", partial(merged, real, tokens), count))
    return measured


def _projections(targets: int, device: str) -> Any:
    from style_aligned.shared_attention.attending import Projections

    return Projections(*torch.randn((3, 1, targets, HEADS, TEXT + SIDE * SIDE, CHANNELS), device=device))


def _given(own: Any, tokens: int) -> tuple[Tensor, Tensor]:
    """Keys and values of a bank: (1, 1, heads, tokens, channels)."""
    return own.key[:, :1, :, :tokens], own.value[:, :1, :, :tokens]


def block_variants(device: torch.device, dtype: torch.dtype, images: int) -> list[Measured]:
    """A step of a double and two single blocks, 128 text and 32 x 32 image tokens, without guidance."""
    model, counted = _flux(device, dtype), _flux(torch.device("meta"), dtype)
    measured = []
    for name, options in VARIANTS.items():
        variant = Measured(name, _step(_with_sharing(model, options), images, device, dtype))
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            is_off = options is not None and options.get("strength") == 0.0
            _step(_with_sharing(counted, None if is_off else options), images, torch.device("meta"), dtype)()
        variant.flops = counter.get_total_flops()
        measured.append(variant)
    real, on_shapes = (
        Apart(_with_sharing(patcher, {}), partial(_inputs, device=where, dtype=dtype))
        for patcher, where in ((model, device), (counted, torch.device("meta")))
    )
    return measured + apart_variants(real, on_shapes, images - 1)


def _flux(device: torch.device, dtype: torch.dtype) -> Any:
    """The host's Flux at its real width, three blocks deep."""
    import comfy.model_patcher
    import comfy.supported_models

    settings = {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": 768,
        "context_in_dim": 4096, "hidden_size": HEADS * CHANNELS, "mlp_ratio": 4.0, "num_heads": HEADS, "depth": 1,
        "depth_single_blocks": 2, "axes_dim": AXES, "theta": 10000, "qkv_bias": True, "guidance_embed": False,
        "txt_ids_dims": [],
    }  # fmt: skip
    config = comfy.supported_models.FluxSchnell(settings)
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device).eval()
    for parameter in model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data.normal_(0, fan_in**-0.5)
    return comfy.model_patcher.ModelPatcher(model.to(device), device, device)


def _with_sharing(model: Any, options: dict[str, Any] | None) -> Any:
    from style_aligned.shared_attention.host.attention import SharedAttention, share_attention
    from style_aligned.shared_attention.layers import LayerSelection
    from style_aligned.shared_attention.schedule import SamplingRange
    from style_aligned.shared_attention.sharing import SharingSettings

    if options is None:
        return model
    sharing = SharedAttention(SharingSettings(**options), LayerSelection.parse("all"), SamplingRange())
    return share_attention(model, sharing)


def _step(patcher: Any, images: int, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    from comfy.patcher_extension import WrappersMP
    from style_aligned.shared_attention.host.calls import KEY, Run

    inputs = _inputs(images, device, dtype)
    wrappers = {WrappersMP.APPLY_MODEL: dict(patcher.wrappers.get(WrappersMP.APPLY_MODEL, {}))}

    def step() -> object:
        options = {"cond_or_uncond": [0], "wrappers": wrappers, KEY: Run(images)}
        return patcher.model.apply_model(**inputs, transformer_options=options)

    return step


def _inputs(rows: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Of the host's apply_model."""
    return {
        "x": torch.randn(rows, 16, 64, 64, device=device),
        "t": torch.ones(rows, device=device) * 0.7,
        "c_crossattn": torch.randn(rows, 128, 4096, device=device).to(dtype),
        "y": torch.randn(rows, 768, device=device).to(dtype),
    }
