"""The attentions of a UNet: where they are, and the host's replacements for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, Upsample

from ...layers import LayerKey
from ..backend import preference
from ..calls import Options, Replacement

BlockKey = tuple[str, int, int]
"""Section, block number and index of the transformer block within it, as in the host's replacement patches."""

SECTIONS = ("input", "middle", "output")


def self_attentions(unet: Any, report: Callable[[str], None] | None = None) -> Iterator[BlockKey]:
    """The keys of all self-attentions of a UNet (some upscalers have cross-attention in their place).

    Those that another node has made without projections of the host's kind are left out, with a `report`.
    """
    for key, transformer in _transformer_blocks(unet):
        if transformer.disable_self_attn:
            continue
        if all(hasattr(transformer.attn1, name) for name in ("to_q", "to_k", "to_v", "to_out")):
            yield key
        elif report is not None:
            report(
                f"a self-attention (in {key[0]}.{key[1]}) has no projections of queries, keys and values: another node "
                f"has put a {type(transformer.attn1).__name__} in its place. Sharing leaves such layers out."
            )


def cross_attentions(unet: Any) -> Iterator[BlockKey]:
    """The keys of all attentions to text with projections of the host's kind."""
    return (key for key, transformer in _transformer_blocks(unet) if hasattr(transformer.attn2, "to_k"))


def _transformer_blocks(unet: Any) -> Iterator[tuple[BlockKey, Any]]:
    for section, blocks in _sections(unet):
        for number, block in enumerate(blocks):
            for layer in block:
                for index, transformer in enumerate(getattr(layer, "transformer_blocks", ())):
                    yield (section, number, index), transformer


def preferences(unet: Any, kind: str) -> dict[BlockKey, Any]:
    """What the checkpoint asks of attentions of the host's `kind`: a replacement has to hand it on, or it is lost."""
    asked = {key: preference(getattr(transformer, kind)) for key, transformer in _transformer_blocks(unet)}
    return {key: each for key, each in asked.items() if each is not None}


def attentions_with_tokens(unet: Any, height: int, width: int) -> Iterator[tuple[LayerKey, Any, int]]:
    """Each self-attention with its block, and with its tokens for a latent of that size."""
    sizes = [(height, width)]
    for section, blocks in _sections(unet):
        for number, block in enumerate(blocks):
            for layer in block:
                if isinstance(layer, Downsample):
                    sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
                elif isinstance(layer, Upsample):
                    sizes.pop()
                for transformer in getattr(layer, "transformer_blocks", ()):
                    if hasattr(transformer.attn1, "to_k") and not transformer.disable_self_attn:
                        yield (section, number), transformer.attn1, sizes[-1][0] * sizes[-1][1]


def _sections(unet: Any) -> Iterator[tuple[str, Any]]:
    return zip(SECTIONS, (unet.input_blocks, [unet.middle_block or ()], unet.output_blocks), strict=True)


def replace_attention(
    options: Options, kind: str, keys: list[BlockKey], replacement: Replacement
) -> dict[BlockKey, Replacement]:
    """Put `replacement` at `keys` of this call's options; returns the replacements that stood there before.

    kind: the host's, attn1 to an image's own tokens and attn2 to text.

    The host looks for a replacement of the transformer block first, then for one of the block around it.
    """
    replacements = dict(options.get("patches_replace", {}))
    of_kind = dict(replacements.get(kind, {}))
    previous = {key: of_kind.get(key, of_kind.get(key[:2])) for key in keys}
    of_kind.update(dict.fromkeys(keys, replacement))
    replacements[kind] = of_kind
    options["patches_replace"] = replacements
    return {key: before for key, before in previous.items() if before is not None}
