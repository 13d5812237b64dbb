"""The two halves of one CLIP, which put pictures and texts into one space, as the host loads them.

The host loads the halves apart and tells nobody whether they belong together. What is checked: both project, and to
the same width. The widths that the host knows are 768 (ViT-L), 1024 (ViT-H) and 1280 (ViT-bigG), one each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from devtools.checkpoint_evaluation.errors import EvaluationError

TOWERS = {"clip_l": "l", "clip_g": "g", "clip_h": "h"}
"""The host's names of CLIP's text halves, and of their tokens."""
PROJECTION = ("text_projection", "text_projection.weight")
PICTURE_PROJECTION = ("visual_projection.weight", "visual.proj")
TEXT_LAYER = "text_model.encoder.layers.0.mlp.fc1.weight"
TEXT_LAYER_OF_OPENCLIP = "transformer.resblocks.0.ln_1.weight"

Shapes = Mapping[str, tuple[int, ...]]
"""Of the weights in a file, by their names."""


@dataclass(frozen=True)
class ClipPair:
    """vision: the host's CLIP_VISION. text: its CLIP, of which the half called `tower` belongs to it."""

    vision: Any
    text: Any
    tower: str

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """The embeddings of pictures (pictures, height, width, 3), of length 1: (pictures, width)."""
        return normalize(self.vision.encode_image(pictures)["image_embeds"].float().cpu(), dim=-1)

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """(texts, width)."""
        tower = getattr(self.text.cond_stage_model, self.tower)
        tower.reset_clip_options()
        self.text.load_model()
        tower.set_clip_options({"projected_pooled": True, "execution_device": self.text.patcher.load_device})
        try:
            tokens = (self.text.tokenize(text)[TOWERS[self.tower]] for text in texts)
            pooled = [tower.encode_token_weights(each)[1] for each in tokens]
        finally:
            tower.reset_clip_options()
        return normalize(torch.cat(pooled).float().cpu(), dim=-1)


def width(vision: Any) -> int | None:
    """Of the space a vision model projects into; None for one that has none with texts, as DINO and SigLIP here."""
    if vision.model_type != "clip_vision_model" or "projection_dim" not in vision.config:
        return None
    return int(vision.config["projection_dim"])


def projects_pictures(weights: Shapes) -> bool:
    return any(name in weights for name in PICTURE_PROJECTION)


def has_text_half(weights: Shapes) -> bool:
    """Whether a file holds a CLIP's text half, alone or beside the other."""
    return TEXT_LAYER in weights or TEXT_LAYER_OF_OPENCLIP in weights


def load_text(path: Path) -> Any:
    """The host's CLIP of a file with a text half."""
    import comfy.sd

    return comfy.sd.load_clip([str(path)])


def pair(vision: Any, text: Any, weights: Shapes, name: str) -> ClipPair:
    """weights: those of the file that `text` is from, which users call `name`. Raises EvaluationError where they are no
    pair."""
    wanted = width(vision)
    there = {key: getattr(text.cond_stage_model, key, None) for key in TOWERS}
    widths = {key: tower.transformer.text_projection.weight.shape[0] for key, tower in there.items() if tower}
    fitting = [key for key, each in widths.items() if each == wanted]
    # A file without it leaves the projection in memory as it was, which nothing in the host shows.
    projects = any(key.endswith(PROJECTION) and set(shape) == {wanted} for key, shape in weights.items())
    if not fitting or not projects:
        found = ", ".join(map(str, sorted(widths.values()))) or "none"
        raise EvaluationError(
            f"{name} has no text half of CLIP with a projection to the vision model's {wanted} channels (halves in it: "
            f"{found}); name a file that has it with --clip-text"
        )
    return ClipPair(vision, text, fitting[0])
