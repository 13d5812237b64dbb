"""Which tokens are a subject's words, by the host's own tokenizers."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from comfy import sd1_clip
from style_aligned.nodes.prompts import StyleAlignedPrompts
from style_aligned.shared_attention.subject_words import WORDS, Words, find_words
from test_prompts_node import tiny_clip

TOKENIZERS = {
    "sd15": ("comfy.sd1_clip", "SD1Tokenizer"),
    "sdxl": ("comfy.sdxl_clip", "SDXLTokenizer"),
    "sd3": ("comfy.text_encoders.sd3_clip", "SD3Tokenizer"),
    "flux": ("comfy.text_encoders.flux", "FluxTokenizer"),
    "qwen_image": ("comfy.text_encoders.qwen_image", "QwenImageTokenizer"),
    "z_image": ("comfy.text_encoders.z_image", "ZImageTokenizer"),
}
TEXT, SUBJECT = "watercolor, a Red bull on a hill, watercolor of a bull", "a Red bull on a hill"


def tokenizer(name: str) -> Any:
    module, kind = TOKENIZERS[name]
    return getattr(importlib.import_module(module), kind)()


def clip_of(own: Any) -> Any:
    return SimpleNamespace(tokenize=own.tokenize_with_weights)


def ids_of(own: Any, text: str, name: str) -> list[int]:
    return [token[0] for batch in own.tokenize_with_weights(text)[name] for token in batch]


def decoded(own: Any, name: str, ids: list[int]) -> str:
    inner = getattr(own, f"clip_{name}", None) or getattr(own, name, None) or getattr(own, own.clip)
    return inner.tokenizer.decode(ids).strip().lower()


@pytest.mark.parametrize(("model", "read"), [("sd15", "l"), ("sdxl", "l"), ("flux", "t5xxl")])
def test_the_tokens_at_the_places_are_the_words(model: str, read: str) -> None:
    own = tokenizer(model)
    ids = ids_of(own, TEXT, read)
    words = find_words(clip_of(own), TEXT, SUBJECT, len(ids))
    assert words is not None
    assert words.tokens == len(ids)
    assert set(words.of) == {"a", "red", "bull", "on", "hill"}
    for word in ("red", "hill"):
        assert decoded(own, read, [ids[place] for place in words.places(word)]) == word
    bulls = words.places("bull")
    assert decoded(own, read, [ids[place] for place in bulls]).split() == ["bull", "bull"]
    assert words.places("Red BULL, dragon") == tuple(sorted((*words.places("red"), *bulls)))
    assert words.places() == tuple(sorted({place for places in words.of.values() for place in places}))


def test_clip_in_front_of_t5() -> None:
    own = tokenizer("sd3")
    of_t5 = ids_of(own, TEXT, "t5xxl")
    words = find_words(clip_of(own), TEXT, SUBJECT, 77 + len(of_t5))
    assert words is not None
    in_clip, in_t5 = ([at for at in words.places("hill") if (at < 77) == first] for first in (True, False))
    assert decoded(own, "l", [ids_of(own, TEXT, "l")[at] for at in in_clip]) == "hill"
    assert own.t5xxl.tokenizer.decode([of_t5[at - 77] for at in in_t5]).strip() == "hill"


@pytest.mark.parametrize("model", ["qwen_image", "z_image"])
def test_what_stands_before_a_prompt_is_left_off(model: str) -> None:
    own = tokenizer(model)
    [name] = own.tokenize_with_weights(TEXT)
    ids, left_off = ids_of(own, TEXT, name), 9
    words = find_words(clip_of(own), TEXT, SUBJECT, len(ids) - left_off)
    whole = find_words(clip_of(own), TEXT, SUBJECT, len(ids))
    assert words is not None
    assert whole is not None
    places = whole.places("hill")
    assert decoded(own, name, [ids[place] for place in places]) == "hill"
    assert words.places("hill") == tuple(place - left_off for place in places)


def test_a_prompt_of_several_pieces() -> None:
    own = sd1_clip.SD1Tokenizer()
    text = "a " + "very " * 90 + "old castle"
    ids = ids_of(own, text, "l")
    words = find_words(clip_of(own), text, "castle", len(ids))
    assert len(ids) == 154
    assert words is not None
    [place] = words.places()
    assert place > 77
    assert decoded(own, "l", [ids[place]]) == "castle"


def test_embeddings_that_nobody_can_tell_apart() -> None:
    own = tokenizer("sdxl")
    assert find_words(clip_of(own), TEXT, SUBJECT, 50) is None


@pytest.mark.parametrize("style", ["oil on canvas", "a painting of {prompt}, detailed"])
def test_prompts_says_which_the_first_lines_words_are(style: str) -> None:
    clip = tiny_clip("sd15")
    [[embeddings, options]] = StyleAlignedPrompts.execute(clip, "a red bull\na cat", style).result[0]
    words: Words = options[WORDS]
    assert set(words.of) == {"a", "red", "bull"}
    assert words.tokens == embeddings.shape[1] == 77
    first = style.replace("{prompt}", "a red bull") if "{" in style else f"a red bull, {style}"
    ids = ids_of(sd1_clip.SD1Tokenizer(), first, "l")
    assert decoded(sd1_clip.SD1Tokenizer(), "l", [ids[place] for place in words.places("red bull")]) == "red bull"
