"""The small icon models as the host's loader returns them, and sharing put on them by the pack's own node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.comfyui.server import FLUX_CHECKPOINT, TOY_CHECKPOINT

SHARING_DEFAULTS = {
    "scale": 1.0, "shift": 0.0, "share_group_norm": False, "adain_queries": True, "adain_keys": True,
    "adain_values": False, "start_percent": 0.0, "end_percent": 1.0, "blocks": "",
}  # fmt: skip
POSITIONS_DEFAULTS = {"positions": "beside", "high_frequencies": 1.0, "low_frequencies": 1.0}


@dataclass(frozen=True)
class IconModel:
    checkpoint: Path
    sampler: str
    scheduler: str


ICON_MODELS = {
    "unet": IconModel(TOY_CHECKPOINT, "dpmpp_2m", "karras"),
    "flux": IconModel(FLUX_CHECKPOINT, "euler", "simple"),
}


@dataclass(frozen=True)
class Loaded:
    model: Any
    clip: Any
    vae: Any

    def encode(self, text: str) -> Any:
        """CONDITIONING of one prompt."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))


def load_icon_model(checkpoint: Path = TOY_CHECKPOINT) -> Loaded:
    """The UNet, or another of the icon models. In a host that is already started, whose progress bars it silences."""
    import comfy.utils
    from comfy.sd import load_checkpoint_guess_config

    from toy.model import register

    register()
    comfy.utils.set_progress_bar_enabled(False)
    return Loaded(*load_checkpoint_guess_config(str(checkpoint))[:3])


def shared(model: Any, sharing: Mapping[str, Any] | None) -> Any:
    """The model with Share Attention, whose defaults `sharing` overrides; as it is where that is None."""
    from style_aligned.nodes.share_attention import StyleAlignedShareAttention

    if sharing is None:
        return model
    return StyleAlignedShareAttention.execute(model, **{**SHARING_DEFAULTS, **sharing}).result[0]


def placed(model: Any, positions: Mapping[str, Any] | None) -> Any:
    """The model with Positions, whose defaults `positions` overrides; as it is where that is None."""
    from style_aligned.nodes.positions import StyleAlignedPositions

    if positions is None:
        return model
    return StyleAlignedPositions.execute(model, **{**POSITIONS_DEFAULTS, **positions}).result[0]


def masked(model: Any, masks: Mapping[str, Any] | None) -> Any:
    """The model with Masks, given `masks`; as it is where that is None."""
    from style_aligned.nodes.masks import StyleAlignedMasks

    return model if masks is None else StyleAlignedMasks.execute(model, **masks).result[0]
