"""The sockets that are the pack's own."""

from __future__ import annotations

from comfy_api.latest import io

StyleTrajectory = io.Custom("STYLE_TRAJECTORY")
"""A `shared_attention.trajectory.Trajectory`: a picture's latent at every noise level."""

StyleAttention = io.Custom("STYLE_ATTENTION")
"""A `shared_attention.attention_map.recording.AttentionRecord`: where the images of a model's runs looked."""
