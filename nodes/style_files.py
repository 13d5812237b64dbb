"""StyleAlignedSaveStyle and StyleAlignedLoadStyle: a style kept in a file, to continue the set another day."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Any

from comfy_api.latest import io, ui

from ..shared_attention.host import style_folder
from ..shared_attention.host.style_model import conditioning_of, latent_of, require_model, style_of
from ..shared_attention.new_file import clean_prefix
from ..shared_attention.trajectory import Trajectory
from .sockets import StyleTrajectory


class StyleAlignedSaveStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedSaveStyle",
            display_name="Style Aligned: Save Style",
            category="Style Aligned",
            description=(
                "Keeps a set's reference in a file, with its text encoding, so that Load Style can continue the set "
                "another day or on another machine. The file goes to the output folder's style_references."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style reference",
                "sref",
                "save style",
                "export style",
                "keep style",
                "style library",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that draws the set: the file says what it belongs to."),
                io.Latent.Input(
                    "reference",
                    tooltip="The latent of the reference picture: from VAE Encode, or the first of a sampled set by "
                    "Latent From Batch.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="style",
                    tooltip="The file's name; a number follows, so that no file is replaced. May have a folder: "
                    "sets/clay. %year% %month% %day% %hour% %minute% %second% are filled in.",
                ),
                StyleTrajectory.Input(
                    "trajectory",
                    optional=True,
                    tooltip="From Invert or Record, if the set was made with it: it is kept too.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="The reference's text encoding, or the set's from Prompts, of which the first row is kept. "
                    "Prompts takes it up again at its reference input.",
                ),
                io.String.Input(
                    "reference_prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    placeholder="what the reference shows",
                    tooltip="The reference's prompt, to read again when the style is loaded.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        """Refuses a bad name before anything runs; one that comes over a connection (None) is checked later."""
        try:
            clean_prefix("style" if filename_prefix is None else filename_prefix)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        model: Any,
        reference: dict[str, Any],
        filename_prefix: str,
        trajectory: Trajectory | None = None,
        conditioning: list[list[Any]] | None = None,
        reference_prompt: str = "",
    ) -> io.NodeOutput:
        style = style_of(model, reference, trajectory, conditioning, reference_prompt)
        path = style_folder.save(style, filename_prefix)
        subfolder = (PurePath(style_folder.FOLDER) / path.parent).as_posix()
        saved = ui.SavedResult(path.name, subfolder, io.FolderType.output)
        return io.NodeOutput(ui={"text": (f"{subfolder}/{path.name}",), "style_references": [saved]})


class StyleAlignedLoadStyle(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedLoadStyle",
            display_name="Style Aligned: Load Style",
            category="Style Aligned",
            description=(
                "Loads a style that Save Style kept: connect reference, trajectory and conditioning to Reference, and "
                "all that is sampled is in that style. Or to Reference Latent, and conditioning to the reference input "
                "of Prompts."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style reference",
                "sref",
                "load style",
                "import style",
                "continue style",
                "style library",
            ],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=style_folder.names(),
                    tooltip="A style of the style_references folders: in models, in output, where Save Style puts "
                    "them, or in input.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that will draw the set. When connected, a style made with another kind of model "
                    "is refused.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="reference", tooltip="The reference's latent, for Reference or Reference Latent."
                ),
                StyleTrajectory.Output(
                    display_name="trajectory",
                    tooltip="The reference's trajectory, for Reference or Reference Latent; nothing, as if it were not "
                    "connected, if the style has none.",
                ),
                io.Conditioning.Output(
                    display_name="conditioning",
                    tooltip="The reference's text encoding, for the conditioning of Reference or the reference input "
                    "of Prompts; nothing if the style has none.",
                ),
                io.String.Output(display_name="prompt", tooltip="What the reference shows, as it was saved."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """Refuses an unusable file before anything runs; a name that comes over a connection (None), later."""
        try:
            if name is not None:
                style_folder.load(name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str | None = None, **_: Any) -> str:
        """Another file under the same name is loaded anew."""
        return hashlib.sha256(style_folder.find(name).read_bytes()).hexdigest() if name else ""

    @classmethod
    def execute(cls, name: str, model: Any = None) -> io.NodeOutput:
        style = style_folder.load(name)
        if model is not None:
            require_model(model, style, name)
        return io.NodeOutput(latent_of(style), style.trajectory, conditioning_of(style), style.prompt)
