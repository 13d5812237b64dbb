"""A UNet in float64 whose self-attentions and group norms are the dense oracles: what a whole model has to compute."""

from __future__ import annotations

from typing import Any

import comfy.ldm.modules.attention
import comfy.model_patcher
import torch
from oracles import Layout, shared_attention, shared_group_norm
from tiny_models import tiny_model
from torch import Tensor, nn


class OracleModel:
    """The tiny model of `family` in float64 with dense shared attention; `.patcher` samples with it.

    weights: the model whose weights to take, where they are not the family's own. options: keyword arguments of
    `oracles.shared_attention`. blocks: the (section, number) that share; None for all.
    """

    def __init__(
        self,
        family: str,
        options: dict[str, Any] | None = None,
        share_group_norm: bool = False,
        blocks: set[tuple[str, int]] | None = None,
        weights: comfy.model_patcher.ModelPatcher | None = None,
    ) -> None:
        self.patcher = tiny_model(family, dtype=torch.float64)
        unet = self.patcher.model.diffusion_model
        if weights is not None:
            unet.load_state_dict(weights.model.diffusion_model.state_dict())
        self.options = options or {}
        self.layout = Layout(1, 1)
        sections = {"input": unet.input_blocks, "middle": [unet.middle_block], "output": unet.output_blocks}
        for section, members in sections.items():
            for number, block in enumerate(members):
                if blocks is None or (section, number) in blocks:
                    self._replace(block, share_group_norm)
        if share_group_norm and blocks is None:
            self._replace(unet.out, share_group_norm)
        self.patcher.set_model_unet_function_wrapper(self._note_layout)

    def _note_layout(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        chunks = len(arguments["cond_or_uncond"])
        self.layout = Layout(chunks, arguments["input"].shape[0] // chunks)
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    def _replace(self, block: nn.Module, share_group_norm: bool) -> None:
        for module in block.modules():
            if isinstance(module, comfy.ldm.modules.attention.BasicTransformerBlock):
                module.attn1.forward = self._attention_of(module.attn1)
            elif share_group_norm and isinstance(module, nn.GroupNorm):
                module.forward = self._group_norm_of(module)

    def _attention_of(self, layer: Any) -> Any:
        def forward(x: Tensor, context: Tensor | None = None, value: Tensor | None = None, **_: Any) -> Tensor:
            context = x if context is None else context  # other nodes may merge tokens of the queries alone
            projected = layer.to_q(x), layer.to_k(context), layer.to_v(context if value is None else value)
            return layer.to_out(shared_attention(*projected, layer.heads, self.layout, **self.options))

        return forward

    def _group_norm_of(self, norm: nn.GroupNorm) -> Any:
        strength = self.options.get("strength", 1.0)
        return lambda x: shared_group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps, self.layout, strength)
