"""What sharing costs beside the plain model and beside the floor: the FLOPs that the method must spend.

Times are ratios to the plain model's, all variants measured in turn in one run, so that a slow moment of the machine
hits all of them. Weights are random: they change nothing about the cost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from devtools.comfyui.inprocess import load_pack, start_host
from devtools.measuring.bench_apart import Apart, Model, apart_variants, randomise, report_banks
from devtools.measuring.bench_flux import bank_attention_variants, block_variants, joint_attention_variants
from devtools.measuring.bench_sdxl import BATCHES, report_sdxl
from devtools.measuring.timing import Measured, measure, report

SD15: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "use_temporal_attention": False,
    "adm_in_channels": None,
    "legacy": False,
}
VARIANTS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "sharing off (end_percent 0)": {"end_percent": 0.0},
    "shared": {},
    "shared, shift ln 2": {"shift": 0.6931},
    "shared, group norm": {"share_group_norm": True},
    "shared, reference latent": {"reference_latent": True},
}
NOT_OF_ATTENTION = {"end_percent", "share_group_norm", "reference_latent"}
SDXL_1024 = {"64 x 64 tokens, 10 heads": (4096, 10), "32 x 32 tokens, 20 heads": (1024, 20)}
HEAD_CHANNELS = 64
PARTS = ("unet", "attention", "flux-attention", "bank-attention", "flux", "bank")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each variant is measured (default 3)")
    parser.add_argument("--images", type=int, help="images in the batch, the reference included (default 4)")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels for SD 1.5 (default 512)")
    parser.add_argument("--only", choices=PARTS, help="measure one of the parts")
    parser.add_argument("--sdxl", action="store_true",
        help="instead, on a GPU: SDXL at 1024 x 1024 in float16 and bfloat16, with each attention backend, "
        f"{', '.join(map(str, BATCHES))} images or --images")  # fmt: skip
    chosen = parser.parse_args(arguments)
    if chosen.images is not None and chosen.images < 2:
        parser.error("sharing takes two images or more, the reference included")
    if chosen.sdxl:
        return sdxl(chosen)
    chosen.images = chosen.images or 4
    start_host("--use-pytorch-cross-attention", *([] if torch.cuda.is_available() else ["--cpu"]))
    load_pack()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    print(f"{device}, {dtype}, torch {torch.__version__}, {torch.get_num_threads()} threads, PyTorch attention\n")
    parts = [chosen.only] if chosen.only else PARTS
    with torch.inference_mode():
        if "unet" in parts:
            title = f"One step of an SD 1.5 UNet, {chosen.size} x {chosen.size}, {chosen.images} images, CFG"
            report(title, measure(unet_variants(device, dtype, chosen), chosen.rounds, device))
        if "attention" in parts:
            for shape, (tokens, heads) in SDXL_1024.items():
                variants = attention_variants(device, dtype, chosen.images, tokens, heads)
                report(f"One self-attention of SDXL at 1024 x 1024, {shape}", measure(variants, chosen.rounds, device))
        if "flux-attention" in parts:
            title = f"One joint attention of Flux at 1024 x 1024, {chosen.images} images"
            report(title, measure(joint_attention_variants(device, dtype, chosen.images), chosen.rounds, device))
        if "bank-attention" in parts and device.type == "cpu":  # the kernel that is called is the CPU's
            title = f"The same attention of {chosen.images - 1} targets alone, to their own and a bank's tokens"
            report(title, measure(bank_attention_variants(chosen.images - 1), chosen.rounds, device))
        if "flux" in parts:
            title = f"A double and two single blocks of Flux at 512 x 512, {chosen.images} images"
            report(title, measure(block_variants(device, dtype, chosen.images), chosen.rounds, device))
        if "bank" in parts:
            report_banks(SD15)
    return 0


def sdxl(chosen: argparse.Namespace) -> int:
    if not torch.cuda.is_available():
        print("bench --sdxl measures on a GPU, and PyTorch finds none here", file=sys.stderr)
        return 1
    start_host()  # with no attention asked for, every backend that is installed can be had
    load_pack()
    with torch.inference_mode():
        report_sdxl([chosen.images] if chosen.images else BATCHES, chosen.rounds)
    return 0


def unet_variants(device: torch.device, dtype: torch.dtype, chosen: argparse.Namespace) -> list[Measured]:
    import comfy.sample

    side = chosen.size // 8

    def step_of(patcher: Any) -> Callable[[], object]:
        latent = torch.zeros(chosen.images, 4, side, side)
        latent[0] = picture(side)
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
        conditions = ([[torch.randn(rows, 77, 768), {}]] for rows in (chosen.images, 1))
        positive, negative = (condition for condition in conditions)
        return lambda: comfy.sample.sample(
            patcher, noise, 1, 7.5, "euler", "normal", positive, negative, latent, disable_pbar=True, seed=0
        )

    model = sd15(device, dtype)
    measured = [Measured(name, step_of(with_sharing(model, options, side))) for name, options in VARIANTS.items()]
    counted = sd15(torch.device("meta"), dtype)
    for variant, options in zip(measured, VARIANTS.values(), strict=True):
        is_off = options is not None and "end_percent" in options
        attached = with_sharing(counted, None if is_off else options, side)
        variant.flops = unet_flops(attached, chosen.images, side, dtype)

    def apart(patcher: Any, where: torch.device) -> Apart:
        def inputs(rows: int) -> dict[str, Tensor]:
            text = torch.randn(rows, 77, 768, device=where).to(dtype)
            return {
                "x": torch.randn(rows, 4, side, side, device=where),
                "t": torch.ones(rows, device=where),
                "c_crossattn": text,
            }

        return Apart(with_sharing(patcher, {}, side), inputs, chunks=2)

    real, on_shapes = apart(model, device), apart(counted, torch.device("meta"))
    return measured + apart_variants(real, on_shapes, chosen.images - 1)


def sd15(device: torch.device, dtype: torch.dtype) -> Any:
    """The host's SD 1.5 model at its real size, with random weights; the meta device has shapes alone."""
    return randomise(Model("SD15", SD15, (4, 64, 64), {}).on(device, dtype), device)


def with_sharing(model: Any, options: dict[str, Any] | None, side: int) -> Any:
    from style_aligned.shared_attention.host.attention import SharedAttention, share_attention
    from style_aligned.shared_attention.host.row.holding import ReferenceRow, hold_reference
    from style_aligned.shared_attention.layers import LayerSelection
    from style_aligned.shared_attention.schedule import SamplingRange
    from style_aligned.shared_attention.sharing import SharingSettings

    if options is None:
        return model
    settings = {name: value for name, value in options.items() if name not in {"end_percent", "reference_latent"}}
    sampling_range = SamplingRange(0.0, options.get("end_percent", 1.0))
    if options.get("reference_latent"):
        model = hold_reference(model, ReferenceRow(picture(side)))
    return share_attention(model, SharedAttention(SharingSettings(**settings), LayerSelection(), sampling_range))


def picture(side: int) -> Tensor:
    """A random latent in row 0, which is the reference where there is one: (1, channels, height, width)."""
    return torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(1))


def unet_flops(patcher: Any, images: int, side: int, dtype: torch.dtype) -> int:
    """The operations of one call with cond and uncond, counted on shapes alone."""
    from comfy.patcher_extension import WrappersMP
    from style_aligned.shared_attention.host.calls import KEY, Run

    wrappers = {WrappersMP.APPLY_MODEL: dict(patcher.wrappers.get(WrappersMP.APPLY_MODEL, {}))}
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        patcher.model.apply_model(
            torch.empty(2 * images, 4, side, side),
            torch.ones(2 * images),
            c_crossattn=torch.empty(2 * images, 77, 768, dtype=dtype),
            transformer_options={"cond_or_uncond": [1, 0], "wrappers": wrappers, KEY: Run(images)},
        )
    return counter.get_total_flops()


def attention_variants(
    device: torch.device, dtype: torch.dtype, images: int, tokens: int, heads: int
) -> list[Measured]:
    """Plain and shared attention of cond and uncond in one call, on projected queries, keys and values."""

    def tensors(where: torch.device) -> list[Tensor]:
        shape = (3, 2 * images, tokens, heads * HEAD_CHANNELS)
        return list(torch.randn(shape, device=where).to(dtype))

    measured = []
    real = tensors(device)
    for name, options in VARIANTS.items():
        if options is None or not NOT_OF_ATTENTION & options.keys():
            variant = Measured(name, lambda options=options: attend(real, heads, images, options))
            with FlopCounterMode(display=False) as counter:
                attend(tensors(torch.device("meta")), heads, images, options)
            variant.flops = counter.get_total_flops()
            measured.append(variant)
    return measured


def attend(projected: list[Tensor], heads: int, images: int, options: dict[str, Any] | None) -> Tensor:
    from style_aligned.shared_attention.attending import Projections
    from style_aligned.shared_attention.host.backend import layer_attention
    from style_aligned.shared_attention.host.calls import Run
    from style_aligned.shared_attention.host.families.unet import SharedLayer, attend_in_rows
    from style_aligned.shared_attention.rows import Rows
    from style_aligned.shared_attention.sharing import SharingSettings
    from style_aligned.shared_attention.sources import RowsOfCall

    layer = {"n_heads": heads, "attn_precision": None}
    attention = layer_attention(layer, Run(images))
    if options is None:
        return attention(*projected)
    source, settings = RowsOfCall(Rows(2, images)), SharingSettings(**options)
    return attend_in_rows(SharedLayer(Projections(*projected), ("input", 0, 0), source, settings, attention))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
