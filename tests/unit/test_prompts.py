"""Prompts of a set and their conditionings."""

from __future__ import annotations

import pytest
import torch
from style_aligned.shared_attention.conditioning import batch_conditionings, first_row
from style_aligned.shared_attention.lines import LINE
from style_aligned.shared_attention.prompts import parse_prompts


def entry(tokens: int, rows: int = 1, seed: int = 0, **options):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, tokens, 4, generator=generator), options]


def test_one_prompt_a_line():
    assert parse_prompts("  a cat \n\n\ta dog\r\n   \n(a (red:1.2) fox:1.1)") == [
        "a cat",
        "a dog",
        "(a (red:1.2) fox:1.1)",
    ]


def test_style_is_appended():
    assert parse_prompts("a cat\na dog", " watercolour ") == ["a cat, watercolour", "a dog, watercolour"]


def test_style_as_a_template():
    assert parse_prompts("cat\ndog", "a toy {prompt}, 3d {prompt}") == ["a toy cat, 3d cat", "a toy dog, 3d dog"]


def test_braces_of_a_prompt_are_left_alone():
    assert parse_prompts("a {prompt} cat", "{prompt} {x}") == ["a {prompt} cat {x}"]


@pytest.mark.parametrize("text", ["", "  \n\t\n"])
def test_no_prompt_is_an_error_that_says_what_to_write(text):
    with pytest.raises(ValueError, match="one prompt a line"):
        parse_prompts(text, "watercolour")


def test_rows_are_the_prompts_in_order():
    first, second = entry(3, pooled_output=torch.ones(1, 2)), entry(3, seed=1, pooled_output=torch.zeros(1, 2))
    [[embeddings, options]] = batch_conditionings([[first], [second]])
    assert torch.equal(embeddings, torch.cat([first[0], second[0]]))
    assert torch.equal(options["pooled_output"], torch.tensor([[1.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize("pooled", [{}, {"pooled_output": None}])
def test_models_without_pooled_output(pooled):
    [[embeddings, options]] = batch_conditionings([[entry(3, **pooled)], [entry(3, **pooled)]])
    assert embeddings.shape[0] == 2
    assert options == pooled


def test_different_lengths_combine_without_changing_cross_attention():
    lengths = [77, 154, 231]
    conditionings = [[entry(length, seed=length)] for length in lengths]
    [[embeddings, _]] = batch_conditionings(conditionings)
    assert embeddings.shape[1] == 462
    query = torch.randn(1, 1, 10, 4, dtype=torch.float64)
    attend = torch.nn.functional.scaled_dot_product_attention
    for row, [[alone, _]] in enumerate(conditionings):
        both = (x.double().view(1, 1, -1, 4) for x in (embeddings[row], alone[0]))
        repeated, single = (attend(query, context, context) for context in both)
        torch.testing.assert_close(repeated, single)


def test_entries_that_line_up_are_combined_one_by_one():
    hooks = object()
    schedule = [{"clip_start_percent": 0.0, "hooks": hooks}, {"clip_start_percent": 0.5, "hooks": hooks}]
    conditionings = [[entry(3, seed=seed, **options) for options in schedule] for seed in range(4)]
    combined = batch_conditionings(conditionings)
    assert [options for _, options in combined] == schedule
    assert all(embeddings.shape[0] == 4 for embeddings, _ in combined)


def test_different_counts_of_entries_are_refused():
    with pytest.raises(ValueError, match="1 and 2 scheduled entries"):
        batch_conditionings([[entry(3)], [entry(3), entry(3)]])


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"end_percent": 0.5}, {"end_percent": 0.6}, "prompt 1 and prompt 2 do not have the same timestep range"),
        (
            {"start_percent": 0.5},
            {},
            "prompt 1 has a timestep range, prompt 2 has none. Put the node .* behind Prompts",
        ),
        ({}, {"area": (8, 8, 0, 0), "strength": 1.0}, "prompt 2 has an area, prompt 1 has none"),
        ({"strength": 0.5}, {}, "prompt 1 has a strength, prompt 2 has none"),
        ({"hooks": "a"}, {}, "prompt 1 has hooks, prompt 2 has none. It comes with the CLIP: encode .* the same one"),
        ({"clip_end_percent": 0.5}, {"clip_end_percent": 0.6}, "do not have the same schedule"),
        ({"mask": torch.zeros(2)}, {"mask": torch.ones(2)}, "do not have the same mask"),
        ({"control": object()}, {}, "prompt 1 has a ControlNet"),
        ({"reference_latents": [torch.zeros(2)]}, {}, "prompt 1 has reference pictures"),
        ({"reference_latents": [torch.zeros(2)]}, {"reference_latents": [torch.ones(2)]}, "same reference pictures"),
        ({"another node's": {"a": torch.zeros(2)}}, {"another node's": {"a": torch.ones(2)}}, 'the same "another'),
    ],
)
def test_prompts_that_act_at_other_times_or_places_are_refused(first, second, said: str):
    with pytest.raises(ValueError, match=said):
        batch_conditionings([[entry(3, **first)], [entry(3, **second)]])


def test_equal_options_of_any_kind_are_kept():
    def options() -> dict:
        return {"mask": torch.ones(1, 4, 4), "latents": [torch.zeros(2), torch.ones(1)], "x": {"a": (1, torch.ones(3))}}

    [[_, kept]] = batch_conditionings([[entry(3, **options())], [entry(3, **options())]])
    assert kept.keys() == options().keys()


def test_what_describes_the_picture_is_taken_over_from_the_first_that_says_it():
    size = {"width": 1024, "height": 768, "crop_w": 0, "crop_h": 8, "target_width": 512, "target_height": 256}
    first, second, third = {**size, "guidance": 3.5}, {"width": 64, "aesthetic_score": 6.0}, {"prompt_type": "negative"}
    [[_, options]] = batch_conditionings([[entry(3, **each)] for each in (first, second, third)])
    assert options == {**second, **third, **first}


def test_the_given_conditionings_are_not_changed():
    first = [entry(3, pooled_output=torch.ones(1, 2))]
    batch_conditionings([first, [entry(3, pooled_output=torch.ones(1, 2))]])
    assert first[0][0].shape[0] == 1
    assert first[0][1]["pooled_output"].shape[0] == 1


def test_the_first_row_of_a_set():
    pooled, mask, scale = torch.rand(3, 2), torch.rand(1, 8, 8), torch.tensor(3.0)
    rows = entry(5, rows=3, pooled_output=pooled, mask=mask, scale=scale, width=64)
    [[embeddings, options]] = first_row([rows])
    assert torch.equal(embeddings, rows[0][:1])
    assert torch.equal(options["pooled_output"], pooled[:1])
    assert {name: options[name] for name in ("mask", "scale", "width")} == {"mask": mask, "scale": scale, "width": 64}
    assert rows[1]["pooled_output"].shape == (3, 2)


def test_the_first_row_without_pooled_output():
    [[_, options]] = first_row([entry(5, rows=3, pooled_output=None)])
    assert options == {"pooled_output": None}


def test_errors_call_the_prompts_by_their_names():
    with pytest.raises(ValueError, match="line 1 has an area, the reference has none"):
        batch_conditionings([[entry(3)], [entry(3, area=1)]], ["the reference", "line 1"])


def test_another_text_encoder_is_refused():
    wide = [torch.randn(1, 3, 6), {}]
    with pytest.raises(ValueError, match=r"prompt 1 was encoded by another.*prompt 2 \(4 and 6 channels\)"):
        batch_conditionings([[entry(3)], [wide]])


def further(**options: torch.Tensor) -> list:
    return [entry(3, **options)]


def test_further_encodings_of_a_prompt_are_rows_too():
    encodings = [torch.randn(1, 4, 5, 2) for _ in range(3)]
    [[_, options]] = batch_conditionings([further(conditioning_llama3=each) for each in encodings])
    assert torch.equal(options["conditioning_llama3"], torch.cat(encodings))


@pytest.mark.parametrize("second", [{}, {"conditioning_byt5small": torch.ones(1, 9, 2)}], ids=["none", "longer"])
def test_further_encodings_that_are_no_rows_make_lines(second: dict):
    """No line may lose what it has, or have what another asks for."""
    mask = torch.ones(1, 3, dtype=torch.int64)
    first = {"conditioning_byt5small": torch.zeros(1, 4, 2), "attention_mask": mask}
    combined = batch_conditionings([further(**first), further(**second, attention_mask=0 * mask)])
    assert [options[LINE].row for _, options in combined] == [0, 1]
    for (_, options), given in zip(combined, (first, second), strict=True):
        assert ("conditioning_byt5small" in options) == ("conditioning_byt5small" in given)
        if given:
            assert torch.equal(options["conditioning_byt5small"], given["conditioning_byt5small"])
