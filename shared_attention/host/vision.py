"""A host's vision model (CLIP_VISION) as the report's eyes."""

from __future__ import annotations

from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.utils
from torch import Tensor

from ..report.vision import Seen

DINO3 = "dinov3"  # the host's encode_image expects more of a model than this one gives


def see(model: Any, pictures: list[Tensor]) -> list[Seen]:
    """What `model` makes of each of `pictures` (height, width, 3), as it expects them: scaled, the middle square.

    Content is the embedding of the picture; where a model embeds its patches only (the host's SigLIP), their mean.
    Style is of the patches' hidden states before the last layer, or after it where the model gives no others.
    """
    progress = comfy.utils.ProgressBar(len(pictures))
    seen = []
    for picture in pictures:
        embedding, tokens = _encoded(model, picture[None])
        embedding, tokens = embedding[0].float().cpu(), tokens[0].float().cpu()
        seen.append(Seen(embedding if embedding.ndim == 1 else embedding.mean(0), tokens[_not_patches(model) :]))
        progress.update(1)
    return seen


def _encoded(model: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    if model.model_type != DINO3:
        encoded = model.encode_image(image)
        return encoded["image_embeds"], encoded["penultimate_hidden_states"]
    comfy.model_management.load_model_gpu(model.patcher)
    image = image.to(model.load_device)
    pixels = comfy.clip_vision.clip_preprocess(image, model.image_size, model.image_mean, model.image_std).float()
    last, _, embedding, _ = model.model(pixel_values=pixels)
    return embedding, last


def _not_patches(model: Any) -> int:
    """How many tokens come before the patches': a class token, and DINOv3's registers."""
    if "siglip" in model.model_type:
        return 0
    return 1 + (model.config.get("num_register_tokens", 0) if model.model_type == DINO3 else 0)
