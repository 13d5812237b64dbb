"""Shared attention in the UNets of Stable Diffusion: SD 1.x, SD 2.x, SDXL and its refiner, and what derives from them.

The model is never modified. A wrapper around each model call adds the attention replacements to that call's own
options, chaining what other nodes have put there, and takes the group norms over for the time of the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from comfy.ldm.modules import attention as host_attention
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..blocks import BlockSelection
from ..rows import Rows, find_rows
from ..schedule import SamplingRange
from ..sharing import Projections, SharingSettings, align, share, share_beside
from .compiling import own_graphs, uncompiled
from .group_norms import share_statistics
from .wrappers import attach

KEY = "style_aligned.share_attention"

Options = dict[str, Any]
BlockKey = tuple[str, int, int]
"""Section, block number and index of the transformer block within it, as in the host's replacement patches."""
Replacement = Callable[[Tensor, Tensor, Tensor, Options], Tensor]


@dataclass(frozen=True)
class _Call:
    """What the attention layers have to know of the model call they are in."""

    rows: Rows | None
    settings: SharingSettings
    blocks: BlockSelection
    previous: Mapping[BlockKey, Replacement]
    report: Callable[[str], None]


# Not in the call's options: compiled models keep what those were when they were compiled.
_current_call: ContextVar[_Call | None] = ContextVar(KEY, default=None)


def share_attention(model: Any, sharing: SharedAttention) -> Any:
    """A clone of the host's `model` that samples with `sharing`; it takes the place of sharing attached before.

    Raises ValueError where the model has no UNet of Stable Diffusion.
    """
    _require_unet(model)
    wrappers = {WrappersMP.OUTER_SAMPLE: sharing.around_run, WrappersMP.APPLY_MODEL: sharing.around_model_call}
    return attach(model, KEY, wrappers, "shared attention")


class SharedAttention:
    """The wrappers that share attention in a sampling run, and what one run has to remember."""

    def __init__(self, settings: SharingSettings, blocks: BlockSelection, sampling_range: SamplingRange) -> None:
        self.settings = settings
        self.blocks = blocks
        self.sampling_range = sampling_range
        self._reported: set[str] = set()

    def around_run(self, executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """OUTER_SAMPLE wrapper: the object outlives a run in the host's cache, its memory of the run must not."""
        self._reported.clear()
        return executor(*args, **kwargs)

    def around_model_call(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: Options | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """APPLY_MODEL wrapper. x: (rows, channels, height, width), t: the noise level sigma of each row."""
        base_model, options = executor.class_obj, dict(transformer_options or {})
        unet = base_model.diffusion_model
        keys = list(self_attentions(unet))
        if not any(key[:2] in self.blocks for key in keys):
            self._report("the selected blocks have no self-attention in this model, so none is shared.")
        # All of them, selected or not and on or off: a compiled model is made for the replacements of its first call.
        previous = _replace_attention(options, keys)
        rows = self._rows(x, t, options, base_model.model_sampling)
        norms: AbstractContextManager[None] = nullcontext()
        if rows is not None and self.settings.share_group_norm:
            norms = share_statistics(unet, self.blocks, rows)
        token = _current_call.set(_Call(rows, self.settings, self.blocks, previous, self._report))
        try:
            with norms, own_graphs(unet, options):
                return cast(Tensor, executor(x, t, c_concat, c_crossattn, control, options, **kwargs))
        finally:
            _current_call.reset(token)

    def _rows(self, x: Tensor, t: Tensor, options: Options, model_sampling: Any) -> Rows | None:
        """The rows of the call, or None where nothing is shared in it."""
        if not self.sampling_range.is_whole and not self.sampling_range.contains(
            float(t[0]), model_sampling.percent_to_sigma
        ):
            return None
        return find_rows(x.shape[0], len(options.get("cond_or_uncond", ())), _window(options))

    def _report(self, message: str) -> None:
        if message not in self._reported:
            self._reported.add(message)
            logging.warning("Style Aligned: %s", message)


def self_attentions(unet: Any) -> Iterator[BlockKey]:
    """The keys of all self-attentions of a UNet (some upscalers have cross-attention in their place)."""
    sections = [("input", unet.input_blocks), ("middle", [unet.middle_block or ()]), ("output", unet.output_blocks)]
    for section, blocks in sections:
        for number, block in enumerate(blocks):
            for layer in block:
                for index, transformer in enumerate(getattr(layer, "transformer_blocks", ())):
                    if not transformer.disable_self_attn:
                        yield section, number, index


def _require_unet(model: Any) -> None:
    unet = model.get_model_object("diffusion_model")
    is_image_unet = isinstance(unet, UNetModel) and not model.model.model_config.unet_config.get(
        "use_temporal_attention"
    )
    if not is_image_unet:
        raise ValueError(
            f"Style Aligned cannot share attention in this model ({type(model.model).__name__}). It needs an image "
            "model with a Stable Diffusion UNet: SD 1.x, SD 2.x, SDXL, its refiner, or a model made from one of these."
        )


def _replace_attention(options: Options, keys: list[BlockKey]) -> dict[BlockKey, Replacement]:
    """Put shared attention at `keys` of this call's options; returns the replacements that stood there before.

    The host looks for a replacement of the transformer block first, then for one of the block around it.
    """
    replacements = dict(options.get("patches_replace", {}))
    attn1 = dict(replacements.get("attn1", {}))
    previous = {key: attn1.get(key, attn1.get(key[:2])) for key in keys}
    attn1.update(dict.fromkeys(keys, shared_self_attention))
    replacements["attn1"] = attn1
    options["patches_replace"] = replacements
    return {key: replacement for key, replacement in previous.items() if replacement is not None}


def _window(options: Options) -> list[int] | None:
    """The images of this call within the whole batch, where the host samples the batch in windows."""
    window = options.get("context_window")
    if window is None or window.dim != 0:
        return None
    anchor = getattr(window, "causal_anchor_index", None)
    leading = [] if anchor is None or anchor < 0 else [anchor]
    return [*leading, *window.index_list]


@uncompiled
def shared_self_attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """The attention replacement of every shared layer. query, key, value: projected, (rows, tokens, channels).

    One function for all layers, models and runs: a compiled model may keep calling the one that it saw first.
    """
    call = _current_call.get()
    attend = partial(host_softmax_attention, options)
    previous = None if call is None else call.previous.get(_block_key(options))
    if call is None or call.rows is None or options["block"] not in call.blocks or not _fits(call, query, key):
        return attend(query, key, value) if previous is None else previous(query, key, value, options)
    return attend_in_rows(Projections(query, key, value), call.rows, call.settings, attend, previous, options)


def attend_in_rows(
    projections: Projections,
    rows: Rows,
    settings: SharingSettings,
    attend: Callable[..., Tensor],
    previous: Replacement | None,
    options: Options,
) -> Tensor:
    """References attend to themselves, targets to themselves and their reference: (rows, tokens, channels)."""
    reference = Projections(*map(rows.references, projections))
    aligned = align(Projections(*map(rows.targets, projections)), reference, settings)
    if previous is None:
        references_out = attend(*(x.flatten(0, 1) for x in reference)).unsqueeze(1)
        return rows.join(references_out, share(aligned, reference, settings, attend))
    # Another node's replacement may count rows or keep the attention map: it gets the whole call, with own keys only.
    query, key, value = (rows.join(*pair) for pair in zip(reference, aligned, strict=True))
    own = previous(query, key, value, options)
    if own.shape != query.shape:
        # It gives the values for the answers, and another node has merged the queries: there is nothing to add to.
        return previous(*projections, options)
    targets_out = share_beside(rows.targets(own), aligned, reference, settings, attend)
    return rows.join(rows.references(own), targets_out)


def _fits(call: _Call, query: Tensor, key: Tensor) -> bool:
    """Whether the layer's rows are the call's: tiling and temporal layers fold space or time into them."""
    assert call.rows is not None
    if query.shape[0] == key.shape[0] == call.rows.count:
        return True
    call.report(
        f"a self-attention has {query.shape[0]} rows where the model call has {call.rows.count} (another node, such as "
        "HyperTile, rearranges them); sharing stands aside in such layers."
    )
    return False


def _block_key(options: Options) -> BlockKey:
    section, number = options["block"][:2]
    return section, number, options["block_index"]


def host_softmax_attention(
    options: Options, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """The host's attention, looked up at each call: it may be another backend's, or overridden by another node."""
    return cast(
        Tensor,
        host_attention.optimized_attention(
            query,
            key,
            value,
            options["n_heads"],
            mask=bias,
            attn_precision=options["attn_precision"],
            transformer_options=options,
        ),
    )
