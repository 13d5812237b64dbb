"""The icon models as the host's stock loader, text, sampling and VAE nodes see them.

The host finds a checkpoint's model class by the shape of its network, so a class of its own in the host's list is all
that a small UNet or transformer with a small vocabulary needs. The VAE is the host's pixel-space one, which a key in
the checkpoint asks for: a "latent" is the picture itself.
"""

from typing import Any

import comfy.supported_models
import torch
from comfy.clip_model import CLIPTextModel
from comfy.latent_formats import LatentFormat
from comfy.model_base import ModelType
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer, SDClipModel, SDTokenizer
from comfy.supported_models import FluxSchnell
from comfy.supported_models_base import BASE, ClipTarget
from comfy.utils import state_dict_prefix_replace

from .architecture import FLUX, HEAD_CHANNELS, LATENT_SCALE, MODEL_CHANNELS, TEXT_HEADS, TEXT_LAYERS, TEXT_WIDTH
from .icons import CONTEXT_LENGTH, END, START, TOKEN_OF, VOCABULARY, words

TEXT_ENCODER = "icons"


class IconLatent(LatentFormat):
    """The picture itself, scaled; live previews undo the scale."""

    latent_channels = 3
    spacial_downscale_ratio = 1
    scale_factor = LATENT_SCALE
    latent_rgb_factors = ((1 / LATENT_SCALE, 0.0, 0.0), (0.0, 1 / LATENT_SCALE, 0.0), (0.0, 0.0, 1 / LATENT_SCALE))


class WordTokenizer:
    """The part of a Hugging Face tokenizer that SDTokenizer uses, one token a word."""

    @classmethod
    def from_pretrained(cls, path: str, **options: Any) -> "WordTokenizer":
        return cls()

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [TOKEN_OF[START], *(TOKEN_OF[word] for word in words(text)), TOKEN_OF[END]]}

    def get_vocab(self) -> dict[str, int]:
        return dict(TOKEN_OF)

    def decode(self, token_ids: list[int], skip_special_tokens: bool = True) -> str:
        kept = (VOCABULARY[token] for token in token_ids)
        return " ".join(word for word in kept if not (skip_special_tokens and word in (START, END)))


class IconSDTokenizer(SDTokenizer):
    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        super().__init__(
            max_length=CONTEXT_LENGTH,
            embedding_directory=embedding_directory,
            embedding_size=TEXT_WIDTH,
            embedding_key=f"clip_{TEXT_ENCODER}",
            tokenizer_class=WordTokenizer,
            tokenizer_data=tokenizer_data or {},
        )


class IconTokenizer(SD1Tokenizer):
    def __init__(self, embedding_directory: Any = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        super().__init__(
            embedding_directory=embedding_directory,
            tokenizer_data=tokenizer_data or {},
            clip_name=TEXT_ENCODER,
            tokenizer=IconSDTokenizer,
        )


class IconCLIPTextModel(CLIPTextModel):
    """The host's CLIP with an embedding for this vocabulary; the size of CLIP's own is not a setting of that class."""

    def __init__(self, config: dict[str, Any], dtype: torch.dtype, device: torch.device, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        self.set_input_embeddings(operations.Embedding(len(VOCABULARY), TEXT_WIDTH, dtype=dtype, device=device))


class IconSDClipModel(SDClipModel):
    def __init__(
        self,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        model_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            max_length=CONTEXT_LENGTH,
            textmodel_json_config={
                "num_hidden_layers": TEXT_LAYERS,
                "hidden_size": TEXT_WIDTH,
                "num_attention_heads": TEXT_HEADS,
                "intermediate_size": 4 * TEXT_WIDTH,
                "hidden_act": "quick_gelu",
                "max_position_embeddings": CONTEXT_LENGTH,
                "eos_token_id": TOKEN_OF[END],
            },
            special_tokens={"start": TOKEN_OF[START], "end": TOKEN_OF[END], "pad": TOKEN_OF[END]},
            model_class=IconCLIPTextModel,
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class IconClipModel(SD1ClipModel):
    def __init__(
        self,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        model_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(device, dtype, model_options or {}, clip_name=TEXT_ENCODER, clip_model=IconSDClipModel)


class _OfIcons:
    """What the two icon models have in common: pictures for latents, and their text encoder."""

    latent_format = IconLatent
    memory_usage_factor = 1.0
    vae_key_prefix = BASE.vae_key_prefix
    text_encoder_key_prefix = BASE.text_encoder_key_prefix

    def process_clip_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        prefixes = {"cond_stage_model.": f"clip_{TEXT_ENCODER}."}
        return state_dict_prefix_replace(state_dict, prefixes, filter_keys=True)

    def clip_target(self, state_dict: dict[str, torch.Tensor] | None = None) -> ClipTarget:
        return ClipTarget(IconTokenizer, IconClipModel)


class Icons(_OfIcons, BASE):
    """The UNet. No published checkpoint is this narrow, so nothing else is ever taken for an icon model."""

    unet_config = {
        "context_dim": TEXT_WIDTH,
        "model_channels": MODEL_CHANNELS,
        "use_linear_in_transformer": True,
        "adm_in_channels": None,
        "use_temporal_attention": False,
    }
    unet_extra_config = {"num_heads": -1, "num_head_channels": HEAD_CHANNELS}

    def model_type(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> ModelType:
        return ModelType.V_PREDICTION


class FluxIcons(_OfIcons, FluxSchnell):
    """The transformer. Like Schnell, it has no guidance input, and its noise levels are not shifted."""

    unet_config = {
        "image_model": "flux",
        **{name: FLUX[name] for name in ("guidance_embed", "hidden_size", "context_in_dim")},
    }
    unet_extra_config = {
        name: FLUX[name] for name in ("in_channels", "out_channels", "patch_size", "num_heads", "axes_dim", "theta")
    }


def register() -> None:
    """Have the stock loader recognise icon checkpoints. By name, since an extension may be imported twice."""
    models = comfy.supported_models.models
    known = {model.__name__ for model in models}
    if Icons.__name__ not in known:
        models.append(Icons)  # last, so that every other model is asked first
    if FluxIcons.__name__ not in known:
        models.insert(0, FluxIcons)  # first, since the host's Schnell takes any Flux without guidance
