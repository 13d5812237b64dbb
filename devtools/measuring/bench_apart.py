"""The bench's references apart: a model call over a reference fills a bank, and calls over targets read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from devtools.measuring.timing import Measured, flops

SIZES = {"": "all", ", 1/4 of its tokens": "1/4", ", 1/9 of its tokens": "1/9"}
"""What is added to a variant's name, and the thinning."""


@dataclass(frozen=True)
class Apart:
    """Model calls of a `patcher` with sharing. inputs: of the host's apply_model for so many rows."""

    patcher: Any
    inputs: Callable[[int], Mapping[str, Any]]
    chunks: int = 1

    def record(self, thin: str = "all") -> Any:
        """A bank with what a pass over a reference has given."""
        from style_aligned.shared_attention.host.apart.run import RECORDING
        from style_aligned.shared_attention.keeping import THINNINGS, Keeping
        from style_aligned.shared_attention.sources import Bank

        bank = Bank(Keeping(THINNINGS[thin]))
        self._call(1, {RECORDING: bank})
        return bank

    def read(self, bank: Any, targets: int) -> Tensor:
        """A call over targets that read the bank."""
        from style_aligned.shared_attention.host.apart.run import BANKS, BanksOfEvaluation

        same = {(chunk, chunk): chunk for chunk in range(self.chunks)}
        return self._call(targets, {BANKS: BanksOfEvaluation([(bank, 1.0, same)])})

    def in_a_batch(self, images: int) -> Tensor:
        """A call whose batch has the reference in row 0."""
        from style_aligned.shared_attention.host.calls import KEY, Run

        return self._call(images, {KEY: Run(images)})

    def _call(self, images: int, own_options: Mapping[str, Any]) -> Tensor:
        from comfy.patcher_extension import WrappersMP
        from style_aligned.shared_attention.host.calls import KEY, Run

        chunks = [*range(self.chunks)]
        wrappers = {WrappersMP.APPLY_MODEL: dict(self.patcher.wrappers.get(WrappersMP.APPLY_MODEL, {}))}
        options = {"cond_or_uncond": chunks, "uuids": chunks, "wrappers": wrappers, KEY: Run(images, self)}
        given = self.inputs(images * self.chunks)
        out: Tensor = self.patcher.model.apply_model(**given, transformer_options={**options, **own_options})
        return out


def apart_variants(real: Apart, counted: Apart, targets: int) -> list[Measured]:
    """A call over a reference and one over its targets, with all and with fewer of its tokens, and the latter alone.

    counted: the same on the meta device.
    """
    measured = []
    for ending, thin in SIZES.items():
        variant = Measured(f"reference apart{ending}", lambda thin=thin: real.read(real.record(thin), targets))
        variant.flops = flops(lambda thin=thin: counted.read(counted.record(thin), targets))
        measured.append(variant)
    bank, counted_bank = real.record(), counted.record()
    alone = Measured("reference apart, without its own pass", lambda: real.read(bank, targets))
    alone.flops = flops(lambda: counted.read(counted_bank, targets))
    return [*measured, alone]


class Model(NamedTuple):
    """A model of its real size. latent: of one image; further: what its calls are given besides, without the rows."""

    kind: str
    settings: Mapping[str, Any]
    latent: tuple[int, ...]
    further: Mapping[str, tuple[int, ...]]

    def on(self, device: torch.device, dtype: torch.dtype) -> Any:
        """The host's model in its patcher, its weights as they were in memory; the meta device has shapes alone."""
        import comfy.model_patcher
        import comfy.supported_models

        config = getattr(comfy.supported_models, self.kind)(dict(self.settings))
        config.set_inference_dtype(dtype, None)
        return comfy.model_patcher.ModelPatcher(config.get_model({}, "", device).eval().to(device), device, device)

    def inputs(self, rows: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Of the host's apply_model."""
        further = {name: torch.randn(rows, *shape, device=device).to(dtype) for name, shape in self.further.items()}
        return {"x": torch.randn(rows, *self.latent, device=device), "t": torch.ones(rows, device=device), **further}


def randomise(patcher: Any, device: torch.device) -> Any:
    """The patcher, its model with random weights of a sensible size: they change nothing about the cost."""
    generator = torch.Generator(device).manual_seed(0) if device.type != "meta" else None
    for parameter in patcher.model.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        parameter.data.normal_(0, fan_in**-0.5, generator=generator)
    return patcher


def with_sharing(patcher: Any, options: Mapping[str, Any] | None) -> Any:
    """options: those of SharingSettings that are not as by default; None for the model alone."""
    from style_aligned.shared_attention.host.attention import SharedAttention, share_attention
    from style_aligned.shared_attention.layers import LayerSelection
    from style_aligned.shared_attention.schedule import SamplingRange
    from style_aligned.shared_attention.sharing import SharingSettings

    if options is None:
        return patcher
    return share_attention(patcher, SharedAttention(SharingSettings(**options), LayerSelection(), SamplingRange()))


SDXL = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "context_dim": 2048, "num_head_channels": 64,
    "use_spatial_transformer": True, "use_linear_in_transformer": True, "use_temporal_attention": False,
    "adm_in_channels": 2816, "num_classes": "sequential", "legacy": False,
}  # fmt: skip
FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": 768,
    "context_in_dim": 4096, "hidden_size": 3072, "mlp_ratio": 4.0, "num_heads": 24, "depth": 19,
    "depth_single_blocks": 38, "axes_dim": [16, 56, 56], "theta": 10000, "qkv_bias": True, "guidance_embed": True,
    "txt_ids_dims": [],
}  # fmt: skip
QWEN_IMAGE = {"image_model": "qwen_image", "in_channels": 64, "num_layers": 60}


def models(sd15: Mapping[str, Any]) -> dict[str, Model]:
    """By what they are called in the table. sd15: the settings of an SD 1.5 UNet."""
    return {
        "SD 1.5, 512 x 512": Model("SD15", sd15, (4, 64, 64), {"c_crossattn": (77, 768)}),
        "SDXL, 1024 x 1024": Model("SDXL", SDXL, (4, 128, 128), {"c_crossattn": (77, 2048), "y": (2816,)}),
        "Flux.1 dev, 1024 x 1024": Model(
            "Flux", FLUX, (16, 128, 128), {"c_crossattn": (512, 4096), "y": (768,), "guidance": ()}
        ),
        "Qwen-Image, 1328 x 1328": Model("QwenImage", QWEN_IMAGE, (16, 1, 166, 166), {"c_crossattn": (256, 3584)}),
    }


def bank_bytes(model: Model, dtype: torch.dtype = torch.float16) -> dict[str, int]:
    """What a reference's bank holds for one chunk at each thinning, from passes that compute nothing but shapes."""
    meta = torch.device("meta")
    shared = with_sharing(model.on(meta, dtype), {})
    with meta:
        calls = Apart(shared, partial(model.inputs, device=meta, dtype=dtype))
        return {thin: calls.record(thin).nbytes for thin in SIZES.values()}


def report_banks(sd15: Mapping[str, Any]) -> None:
    """A Markdown table: MiB of each model's bank."""
    print("What the bank of a reference holds for one chunk in float16, in MiB\n")
    print(f"| model | {' | '.join(SIZES.values())} |")
    print("|---" * (1 + len(SIZES)) + "|")
    for name, model in models(sd15).items():
        cells = [f"{size / 2**20:.0f}" for size in bank_bytes(model).values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()


def merged_by_mass(query: Tensor, own: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor], bias: float) -> Tensor:
    """What targets get from their own and a reference's tokens, without a copy of the latter for each target.

    query: (targets, heads, tokens, channels). own, given: keys and values, given's of one row, which all targets'
    queries read folded into one. The two attentions are weighted by their softmax's mass, whose logarithm the kernel
    returns. bias: on the logits of `given`.
    """
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, mass = attend(query, *own)
    folded = query.transpose(0, 1).flatten(1, 2).unsqueeze(0)
    given_out, given_mass = (each[0].unflatten(1, (len(query), -1)).transpose(0, 1) for each in attend(folded, *given))
    weight = torch.sigmoid(given_mass + bias - mass).unsqueeze(-1).to(out.dtype)
    return torch.lerp(out, given_out, weight)
