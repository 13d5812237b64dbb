"""StyleAlignedPrompts: the prompts of a set as one conditioning, a row for each image."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..shared_attention.conditioning import Conditioning, batch_conditionings, first_row
from ..shared_attention.prompts import parse_prompts
from ..shared_attention.subject_words import WORDS, find_words
from ..shared_attention.token_counts import tokens_repeat

_UNCONNECTED: Any = object()
"""Unlike None, which comes over a connection from a style that was saved without its conditioning."""


class StyleAlignedPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StyleAlignedPrompts",
            display_name="Style Aligned: Prompts",
            category="Style Aligned",
            description=(
                "One prompt a line: the first describes the reference, each further line an image that takes on its "
                "style. Connect batch_size to the empty latent image."
            ),
            search_aliases=[
                "style aligned",
                "shared attention",
                "consistent style",
                "style set",
                "batch prompts",
                "prompt per line",
                "prompt list",
                "multiple prompts",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP model that encodes the prompts."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    dynamic_prompts=True,
                    placeholder="the reference image\nanother image in its style\na third one",
                    tooltip="One prompt a line; the first is the reference. Blank lines are ignored. Weights such as "
                    "(word:1.2) and embeddings work as in CLIP Text Encode.",
                ),
                io.String.Input(
                    "style",
                    default="",
                    tooltip="The style of the whole set, added to every prompt after a comma. Where it has the word "
                    "prompt in curly brackets it is a template instead, and each prompt takes that place.",
                ),
                io.Conditioning.Input(
                    "reference",
                    optional=True,
                    tooltip="The text encoding of a reference given elsewhere, such as Load Style's. When connected it "
                    "is the first row, and every line of prompts is a new image.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="One conditioning whose rows are the prompts, in order."
                ),
                io.Int.Output(
                    display_name="batch_size", tooltip="The number of rows, for the batch size of the empty latent."
                ),
                io.Int.Output(
                    display_name="targets",
                    tooltip="The number of rows less the reference's, for the targets of Reference Latent.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, prompts: str | None = None) -> bool | str:
        """Refuses an empty set before anything runs; prompts that come over a connection (None) are checked later."""
        if prompts is None:
            return True
        try:
            parse_prompts(prompts)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, clip: Any, prompts: str, style: str, reference: Conditioning | None = _UNCONNECTED
    ) -> io.NodeOutput:
        texts = parse_prompts(prompts, style)
        if clip is None:
            raise ValueError(
                "The CLIP input is empty: the loader gave no text encoder. Use a checkpoint that contains one, or load "
                "it with Load CLIP or DualCLIPLoader."
            )
        conditionings = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts]
        names = [f"line {number}" for number in range(1, len(texts) + 1)]
        if reference is not _UNCONNECTED:
            conditionings.insert(0, _reference_row(reference))
            names.insert(0, "the reference")
        repeat = tokens_repeat([embeddings.shape for each in conditionings for embeddings, _ in each])
        rows, batched = len(conditionings), batch_conditionings(conditionings, names, repeat)
        if repeat and len(batched) > len(conditionings[0]):
            _say_how_often_the_model_is_called(conditionings, len(batched) // len(conditionings[0]))
        if reference is _UNCONNECTED:
            _note_words(clip, batched, texts[0], parse_prompts(prompts)[0], conditionings[0])
        return io.NodeOutput(batched, rows, rows - 1)


def _note_words(clip: Any, batched: Conditioning, text: str, subject: str, alone: Conditioning) -> None:
    """Say on the set's conditioning which of its tokens are the first line's, for protect_content."""
    for (_, options), (embeddings, _) in zip(batched, alone, strict=False):
        words = find_words(clip, text, subject, int(embeddings.shape[1]))
        if words is not None:
            options[WORDS] = words


def _reference_row(reference: Conditioning | None) -> Conditioning:
    if not reference:
        raise ValueError(
            "The reference input of Prompts has no conditioning: the style was saved without one. Disconnect it and "
            "describe the reference in the first line."
        )
    return first_row(reference)


def _say_how_often_the_model_is_called(conditionings: list[Conditioning], times: int) -> None:
    logging.warning(
        "Style Aligned: Prompts has lines of %s tokens, which have no common multiple of moderate size. Each step "
        "calls the model %s times for them instead of once; lines of like length need one call.",
        ", ".join(str(conditioning[0][0].shape[1]) for conditioning in conditionings),
        times,
    )
