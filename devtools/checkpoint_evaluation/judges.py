"""Who looks at the pictures: a vision model for a set's consistency, and both halves of a CLIP for text agreement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtools.checkpoint_evaluation import files
from devtools.checkpoint_evaluation.clip_pair import ClipPair, has_text_half, load_text, pair, projects_pictures, width
from devtools.checkpoint_evaluation.errors import EvaluationError

VISION_MODELS = "CLIP ViT-L, ViT-H or ViT-bigG, SigLIP, DINOv2 large or giant, DINOv3 ViT-H"
"""What the host's loader knows in all tested releases."""


@dataclass(frozen=True)
class Asked:
    """The files that the user names, each or none. vision: sees the sets. clip, text: the two halves of a CLIP."""

    vision: str | None = None
    clip: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Judges:
    """vision, pair: None where the user has none.

    described: them in words. made_of: what tells them from all others. lacking: what is not measured and why.
    """

    vision: Any = None
    pair: ClipPair | None = None
    described: str = "none"
    made_of: str = "none"
    lacking: str = ""


def load_judges(asked: Asked, checkpoint: Path, own_clip: Any) -> Judges:
    """own_clip: the checkpoint's text encoder, which may hold the text half of the CLIP that sees.

    What the user names has to work, or the error says why; what is only tried is left out with the reason.
    """
    if asked.vision is None and asked.clip is None:
        if asked.text:
            raise EvaluationError("--clip-text needs the other half of the CLIP: name it with --vision or --clip")
        return Judges(lacking="Not measured: set consistency, style, text agreement and leakage, for want of --vision.")
    path = files.find("clip_vision", asked.vision or asked.clip or "")
    clip_path = files.find("clip_vision", asked.clip) if asked.clip else path
    eyes = load_vision(path)
    described, made_of = f"{path.name} sees the sets", [files.digest(path)]
    try:
        of_clip = eyes if clip_path == path else load_vision(clip_path)
        text_path = _text_path(asked, clip_path, checkpoint)
        found = _load_pair(of_clip, clip_path, text_path, own_clip if text_path == checkpoint else None)
    except EvaluationError as error:
        if asked.clip or asked.text:
            raise
        reason = f"Not measured: text agreement and leakage, since {error}."
        return Judges(eyes, None, described, repr(made_of), reason)
    described += f"; {clip_path.name} with the text half of {text_path.name} compares pictures and texts"
    made_of += [files.digest(clip_path), "own" if text_path == checkpoint else files.digest(text_path)]
    return Judges(eyes, found, described, repr(made_of))


def load_vision(path: Path) -> Any:
    """The host's CLIP_VISION of a file."""
    import comfy.clip_vision

    with files.loading(path, "clip_vision"):
        model = comfy.clip_vision.load(str(path))
    if model is None:
        raise EvaluationError(
            f"ComfyUI knows no vision model like {path.name}. It loads: {VISION_MODELS}. CLIP ViT-B and the paper's "
            "DINO ViT-B/8 are not among them"
        )
    return model


def _text_path(asked: Asked, clip_path: Path, checkpoint: Path) -> Path:
    if asked.text:
        return files.find("text_encoders", asked.text)
    return clip_path if has_text_half(files.shapes(clip_path)) else checkpoint


def _load_pair(vision: Any, clip_path: Path, text_path: Path, own_clip: Any) -> ClipPair:
    """own_clip: None where the text half is in a file of its own."""
    if width(vision) is None or not projects_pictures(files.shapes(clip_path)):
        raise EvaluationError(
            f"{clip_path.name} is no CLIP with a projection, so it shares no space with texts; name one with --clip"
        )
    with files.loading(text_path, "text_encoders"):
        weights = files.shapes(text_path)
        if own_clip is None and not has_text_half(weights):
            raise EvaluationError(f"{text_path.name} is no text half of a CLIP; name one with --clip-text")
        text = load_text(text_path) if own_clip is None else own_clip
    return pair(vision, text, weights, text_path.name)
