"""What training and the host's loader must agree on."""

from typing import Any, Final

LATENT_SCALE: Final = 0.5
"""Pictures of -1..1 are halved: an icon's large flat areas would otherwise shine through the noise schedule's last
level, and a sampler, which starts from noise alone, would meet something that training never showed."""

TEXT_WIDTH: Final = 128
TEXT_LAYERS: Final = 2
TEXT_HEADS: Final = 4

MODEL_CHANNELS: Final = 32
HEAD_CHANNELS: Final = 32

UNET: Final[dict[str, Any]] = {
    "image_size": 32,
    "in_channels": 3,
    "out_channels": 3,
    "model_channels": MODEL_CHANNELS,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": TEXT_WIDTH,
    "num_heads": -1,
    "num_head_channels": HEAD_CHANNELS,
    "use_linear_in_transformer": True,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
}
"""The host's UNetModel, as narrow as draws clean icons. The loader reads these back from a checkpoint's tensors,
all but the head channels."""

FLUX: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "patch_size": 4,
    "hidden_size": 128,
    "num_heads": 4,
    "axes_dim": [8, 12, 12],
    "theta": 10_000,
    "depth": 2,
    "depth_single_blocks": 6,
    "context_in_dim": TEXT_WIDTH,
    "vec_in_dim": TEXT_WIDTH,
    "guidance_embed": False,
}
"""The host's Flux, small: an icon is 8x8 tokens. The loader reads widths and depths back from a checkpoint's tensors;
for the rest it would take those of the published models."""
