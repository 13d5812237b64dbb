"""The Prompts node with the host's own tokenizers and text encoders (tiny, random)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.hooks
import comfy.sd
import comfy.sdxl_clip
import comfy.text_encoders.sd2_clip
import comfy_extras.nodes_clip_sdxl as sdxl_nodes
import pytest
import torch
from comfy import sd1_clip
from sampling import sample, shared
from style_aligned.nodes.prompts import StyleAlignedPrompts
from style_aligned.shared_attention.subject_words import WORDS
from tiny_models import CONTEXT, conditioning, randomise, tiny_model

_TINY = {"hidden_size": CONTEXT, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
_ENCODERS: dict[str, tuple[type, type]] = {
    "sd15": (sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer),
    "sd2": (comfy.text_encoders.sd2_clip.SD2ClipModel, comfy.text_encoders.sd2_clip.SD2Tokenizer),
    "sdxl": (comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer),
}
LONG = "a very " + "detailed " * 90 + "castle"


def tiny_clip(family: str) -> comfy.sd.CLIP:
    encoder, tokenizer = _ENCODERS[family]
    target = SimpleNamespace(params={}, clip=encoder, tokenizer=tokenizer)
    sizes: dict[str, Any] = {f"clip_{name}_model_config": _TINY for name in "lgh"}
    clip = comfy.sd.CLIP(target, model_options={**sizes, "dtype": torch.float32})
    randomise(clip.cond_stage_model, seed=4)
    return clip


@pytest.fixture(scope="module", params=_ENCODERS)
def clip(request: pytest.FixtureRequest) -> comfy.sd.CLIP:
    return tiny_clip(request.param)


def encode(clip: comfy.sd.CLIP, text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As CLIPTextEncode does."""
    [[embeddings, options]] = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    return embeddings, options.get("pooled_output")


def test_every_row_is_the_hosts_encoding_of_its_prompt(clip):
    texts = ["a cat", "a (red:1.4) dog [of (clay:0.7)]", "fox, " * 20]
    conditioning, count, _ = StyleAlignedPrompts.execute(clip, "\n".join(texts), "oil").result
    [[embeddings, options]] = conditioning
    assert count == 3
    for row, text in enumerate(texts):
        alone, pooled = encode(clip, f"{text.strip()}, oil")
        assert torch.equal(embeddings[row : row + 1], alone)
        if pooled is not None:
            assert torch.equal(options["pooled_output"][row : row + 1], pooled)


def test_long_prompts_are_repeated_to_a_common_length(clip):
    [[embeddings, _]] = StyleAlignedPrompts.execute(clip, f"a cat\n{LONG}", "").result[0]
    short, _ = encode(clip, "a cat")
    long, _ = encode(clip, LONG)
    assert long.shape[1] == 2 * short.shape[1]
    assert torch.equal(embeddings[:1], short.repeat(1, 2, 1))
    assert torch.equal(embeddings[1:], long)


def test_embeddings_are_found(tmp_path):
    """A textual inversion of the host's embeddings folder, named in a line."""
    from safetensors.torch import save_file

    vector = torch.full((2, CONTEXT), 0.5)
    save_file({"emb_params": vector}, tmp_path / "mystyle.safetensors")
    clip = tiny_clip("sd15")
    plain = StyleAlignedPrompts.execute(clip, "a cat", "").result[0][0][0]
    clip.tokenizer.clip_l.embedding_directory = [str(tmp_path)]
    with_embedding = StyleAlignedPrompts.execute(clip, "a cat embedding:mystyle", "").result[0][0][0]
    assert with_embedding.shape == plain.shape
    assert not torch.allclose(with_embedding[:, 5:], plain[:, 5:])


def scheduled(clip: comfy.sd.CLIP) -> comfy.sd.CLIP:
    """A CLIP whose hooks change half way through sampling, as the host's Set CLIP Hooks node leaves it."""
    hook = comfy.hooks.WeightHook(strength_model=0.0, strength_clip=0.5)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.2, start_percent=0.5))
    hooks = comfy.hooks.HookGroup()
    hooks.add(hook)
    hooks.set_keyframes_on_hooks(keyframes)
    clone = clip.clone()
    clone.use_clip_schedule = True
    clone.patcher.forced_hooks = hooks
    clone.apply_hooks_to_conds = hooks
    return clone


def test_scheduled_prompts_line_up():
    clip = scheduled(tiny_clip("sd15"))
    conditioning, count, _ = StyleAlignedPrompts.execute(clip, "a cat\na dog", "").result
    assert count == 2
    assert [options["clip_start_percent"] for _, options in conditioning] == [0.0, 0.5]
    assert all(embeddings.shape[0] == 2 for embeddings, _ in conditioning)


@pytest.mark.parametrize("family", ["sd15", "sd2"])
def test_a_set_from_prompts_to_latents(family: str):
    """Row i is made from prompt i: alone, each gives the same image where nothing is shared."""
    model, prompts = tiny_model(family), f"a cat\n{LONG}\na house"
    clip = tiny_clip(family)
    conditioning, count, _ = StyleAlignedPrompts.execute(clip, prompts, "").result
    plain = sample(model, count, positive=conditioning)
    alone = [
        sample(model, 3, positive=StyleAlignedPrompts.execute(clip, line, "").result[0])[row]
        for row, line in enumerate(prompts.splitlines())
    ]
    torch.testing.assert_close(plain, torch.stack(alone), rtol=1e-3, atol=1e-2)
    assert sample(shared(model), count, positive=conditioning).isfinite().all()


def test_a_given_reference_is_the_first_row_and_every_line_a_target(clip):
    lines = "a cat\na dog"
    given = StyleAlignedPrompts.execute(clip, "a castle\na moat", "oil").result[0]
    [[with_reference, options]], *counts = StyleAlignedPrompts.execute(clip, lines, "ink", given).result
    [[alone, alone_options]], *alone_counts = StyleAlignedPrompts.execute(clip, lines, "ink").result
    assert (counts, alone_counts) == ([3, 2], [2, 1])
    assert torch.equal(with_reference, torch.cat([given[0][0][:1], alone]))
    if alone_options.get("pooled_output") is not None:
        pooled = [given[0][1]["pooled_output"][:1], alone_options["pooled_output"]]
        assert torch.equal(options["pooled_output"], torch.cat(pooled))


def test_a_reference_from_another_set_keeps_where_its_words_are(clip):
    """Those of its own line, of which its targets' say nothing."""
    first = StyleAlignedPrompts.execute(clip, "a red bull\na dog", "ink").result[0]
    [[_, options]] = StyleAlignedPrompts.execute(clip, "a cat\na house", "ink", first).result[0]
    assert options[WORDS].of.keys() == {"a", "red", "bull"}


def test_a_reference_alone_with_one_line():
    clip = tiny_clip("sd15")
    given = StyleAlignedPrompts.execute(clip, LONG, "").result[0]
    [[embeddings, _]], rows, targets = StyleAlignedPrompts.execute(clip, "a cat", "", given).result
    assert (rows, targets) == (2, 1)
    assert torch.equal(embeddings[1:], encode(clip, "a cat")[0].repeat(1, 2, 1))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (None, "saved without one. Disconnect it and describe the reference in the first line"),
        ([], "saved without one"),
        (conditioning(seed=3) * 2, "they have 2, 1 and 1 scheduled entries"),
        (
            conditioning(seed=3, area=(1, 1, 0, 0)),
            "the reference has an area, line 1 has none. Put the node .* behind Prompts",
        ),
        ([[torch.ones(1, 77, 7), {}]], r"the reference was encoded by another text encoder than line 1 \(7 and 32"),
    ],
)
def test_a_reference_that_does_not_fit_the_lines(reference, said: str):
    with pytest.raises(ValueError, match=said):
        StyleAlignedPrompts.execute(tiny_clip("sd15"), "a cat\na dog", "", reference)


def test_no_text_encoder_says_what_to_do():
    with pytest.raises(ValueError, match="CLIP input is empty"):
        StyleAlignedPrompts.execute(None, "a cat", "")


@pytest.mark.parametrize(("prompts", "verdict"), [("a cat", True), (None, True), ("  \n ", "one prompt a line")])
def test_prompts_are_checked_before_a_run(prompts: str | None, verdict: bool | str):
    answer = StyleAlignedPrompts.validate_inputs(prompts)
    assert answer is True if verdict is True else str(verdict) in str(answer)


SIZE = {"width": 1024, "height": 768, "crop_w": 8, "crop_h": 0, "target_width": 896, "target_height": 640}


def test_a_reference_encoded_for_a_size_gives_it_to_every_line():
    """As CLIP Text Encode SDXL encodes it; the SDXL model reads the size beside the pooled output."""
    clip, model = tiny_clip("sdxl"), tiny_model("sdxl")
    reference = sdxl_nodes.CLIPTextEncodeSDXL.execute(clip, **SIZE, text_g="a castle", text_l="a castle").result[0]
    assert reference[0][1].items() >= SIZE.items()
    [[_, options]] = StyleAlignedPrompts.execute(clip, "a cat", "", reference).result[0]
    assert options.items() >= SIZE.items()
    y = model.model.extra_conds(**options, noise=torch.zeros(2, 4, 8, 8), device="cpu")["y"].cond
    alone = model.model.extra_conds(**reference[0][1], noise=torch.zeros(1, 4, 8, 8), device="cpu")["y"].cond
    assert torch.equal(y[:, CONTEXT:], alone[:, CONTEXT:].expand(2, -1))


def test_a_reference_encoded_with_a_guidance_gives_it_to_every_line():
    clip = tiny_clip("sd15")
    [[embeddings, options]] = StyleAlignedPrompts.execute(clip, "a castle", "").result[0]
    reference = [[embeddings, {**options, "guidance": 3.5, "aesthetic_score": 6.0}]]
    [[_, combined]] = StyleAlignedPrompts.execute(clip, "a cat\na dog", "", reference).result[0]
    assert (combined["guidance"], combined["aesthetic_score"]) == (3.5, 6.0)


def of_chunks(*counts: int) -> str:
    """Lines that the tokenizer cuts into so many pieces of 75 words."""
    return "\n".join("cat " * (75 * count - 5) for count in counts)


def test_lines_that_need_several_model_calls_are_told_of(caplog: pytest.LogCaptureFixture):
    conditioning, *_ = StyleAlignedPrompts.execute(tiny_clip("sd15"), of_chunks(1, 2, 3, 5, 7), "").result
    assert len(conditioning) == 3
    assert "lines of 77, 154, 231, 385, 539 tokens" in caplog.text
    assert "3 times for them instead of once" in caplog.text


def test_lines_that_need_one_model_call_are_not(caplog: pytest.LogCaptureFixture):
    for clip in (tiny_clip("sd15"), scheduled(tiny_clip("sd15"))):
        StyleAlignedPrompts.execute(clip, of_chunks(1, 2, 3), "")
    assert "Style Aligned" not in caplog.text


def test_a_set_of_unlike_lines_is_a_reference_as_its_first_line_alone():
    """To Prompts, and in the same way to Save Style."""
    clip = tiny_clip("sd15")
    given = StyleAlignedPrompts.execute(clip, of_chunks(2, 5, 7, 9), "").result[0]
    alone = StyleAlignedPrompts.execute(clip, of_chunks(2), "").result[0]
    assert len(given) > len(alone) == 1
    (with_set, with_line) = (StyleAlignedPrompts.execute(clip, "a cat", "", each).result[0] for each in (given, alone))
    assert torch.equal(with_set[0][0], with_line[0][0])
    assert with_set[0][1].keys() == with_line[0][1].keys()
