"""Lines of unlike length: each picture is what its prompt gives alone, and sharing is what it is in one call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from every_day import every_day
from oracles import relative_error
from runs import run, shared_everywhere, variants
from sampling import sample
from style_aligned.shared_attention.conditioning import batch_conditionings, first_row
from style_aligned.shared_attention.lines import LINE, line_entries
from tiny_models import tiny_model
from variant import Variant

LENGTHS = (6, 9, 4)
TYPICAL = (
    "flux_dev", "flux_kontext", "flux2_klein", "chroma", "qwen_image", "z_image", "lumina2", "krea2", "hidream_i1",
    "sd35_medium", "sd35_large", "auraflow", "omnigen2", "boogu", "kandinsky5", "cosmos_predict2", "joyimage", "lens",
)  # fmt: skip


def lines(variant: Variant, lengths: tuple[int, ...] = LENGTHS) -> list[list[Any]]:
    """The conditioning of each line alone; pictures to edit are the same for all."""
    made = [variant.conditioning(1, seed=10 + row, text=length) for row, length in enumerate(lengths)]
    for [[embeddings, options]], [[_, first]] in zip(made, [made[0]] * len(made), strict=True):
        if "reference_latents" in options:
            options["reference_latents"] = first["reference_latents"]
        if "attention_mask" in options:
            options["attention_mask"] = torch.ones(embeddings.shape[:2], dtype=torch.int64)
    return made


def together(variant: Variant) -> list[Any]:
    positive = batch_conditionings(lines(variant), tokens_repeat=False)
    assert len(positive) == len(LENGTHS)
    return positive


def alone(model: Any, variant: Variant, cfg: float) -> torch.Tensor:
    """Each picture drawn alone from its own noise."""
    noise = variant.noise(3)
    pictures = [
        run(model, variant, 1, cfg, positive=line, initial=noise[row : row + 1])
        for row, line in enumerate(lines(variant))
    ]
    return torch.cat(pictures)


@pytest.mark.thorough
@pytest.mark.parametrize("cfg", [4.0, 1.0])
@pytest.mark.parametrize("variant", variants(*TYPICAL), indirect=True)
def test_each_picture_is_what_its_prompt_gives_alone(variant: Variant, cfg: float) -> None:
    model = variant.model()
    expected = alone(model, variant, cfg)

    without_the_pack = run(model, variant, cfg=cfg, positive=together(variant))
    off = run(shared_everywhere(model, end_percent=0.0), variant, cfg=cfg, positive=together(variant))
    on = run(shared_everywhere(model), variant, cfg=cfg, positive=together(variant))

    assert relative_error(without_the_pack, expected) < 1e-5
    assert torch.equal(off, expected)
    assert torch.equal(on[0], expected[0]), "the reference is not as without sharing"
    assert all(relative_error(on[row], expected[row]) > 1e-3 for row in (1, 2))


@pytest.mark.parametrize(
    "settings", every_day([{}, {"shift": 0.7, "strength": 0.6, "adain_values": True}], [{}]), ids=str
)
@pytest.mark.parametrize("variant", variants(), indirect=True)
def test_row_by_row_is_as_in_one_call(variant: Variant, settings: dict[str, Any]) -> None:
    model = shared_everywhere(variant.model(), **settings)
    [[embeddings, options]] = variant.conditioning(3, seed=1)
    of_rows = [
        [
            embeddings[row : row + 1],
            {name: each[row : row + 1] if has_rows(each) else each for name, each in options.items()},
        ]
        for row in range(3)
    ]
    one_by_one = line_entries(of_rows, ["line 1", "line 2", "line 3"])

    actual = run(model, variant, positive=one_by_one)

    assert relative_error(actual, run(model, variant)) < 1e-5


def has_rows(option: Any) -> bool:
    return isinstance(option, torch.Tensor) and option.ndim > 0 and len(option) == 3


@pytest.mark.parametrize("variant", variants("qwen_image_padded", "mage_flow_padded"), indirect=True)
def test_lines_are_what_padding_with_a_mask_gives(variant: Variant) -> None:
    """These models' own way to have unlike lines in one call."""
    model = shared_everywhere(variant.model())
    [[embeddings, options]] = variant.conditioning(3, seed=1)
    counts = options["attention_mask"].sum(1).tolist()
    assert len(set(counts)) == 3
    own = [[[embeddings[row : row + 1, :count], {"pooled_output": None}]] for row, count in enumerate(counts)]

    actual = run(model, variant, positive=batch_conditionings(own, tokens_repeat=False))

    assert relative_error(actual, run(model, variant)) < 1e-5


@pytest.mark.usefixtures("split_calls")
@pytest.mark.parametrize("variant", variants("flux_dev", "qwen_image"), indirect=True)
def test_chunks_in_calls_of_their_own(variant: Variant, request: pytest.FixtureRequest) -> None:
    model = shared_everywhere(variant.model())
    apart = run(model, variant, positive=together(variant))
    request.getfixturevalue("monkeypatch").undo()
    assert relative_error(apart, run(model, variant, positive=together(variant))) < 1e-5


def test_on_a_unet() -> None:
    """Group norms read from the bank too."""
    from sampling import noise, shared
    from tiny_models import conditioning

    model = shared(tiny_model("sd15"), shift=0.4, share_group_norm=True)
    [[embeddings, pooled]] = conditioning(3, seed=1)
    own = [[embeddings[row : row + 1], {"pooled_output": pooled["pooled_output"][row : row + 1]}] for row in range(3)]
    actual = sample(model, initial=noise(3), positive=line_entries(own, ["1", "2", "3"]))
    assert relative_error(actual, sample(model, initial=noise(3))) < 1e-5


@pytest.mark.parametrize("variant", variants("flux_dev"), indirect=True)
def test_a_batch_of_another_size_is_refused_in_words(variant: Variant) -> None:
    for model in (variant.model(), shared_everywhere(variant.model())):
        with pytest.raises(ValueError, match=r"batch has 4 images.* 3 rows. Connect its batch_size"):
            run(model, variant, 4, positive=together(variant))


@pytest.mark.parametrize("images", [1, 2, 6])
@pytest.mark.parametrize("variant", variants("flux_dev"), indirect=True)
def test_fewer_images_take_the_first_lines_and_twice_as_many_take_them_again(variant: Variant, images: int) -> None:
    model, positive = variant.model(), together(variant)
    noise = variant.noise(images)
    expected = [
        run(model, variant, 1, positive=lines(variant)[row % 3], initial=noise[row : row + 1]) for row in range(images)
    ]
    for drawn in (model, shared_everywhere(model, end_percent=0.0)):
        assert relative_error(run(drawn, variant, images, positive=positive), torch.cat(expected)) < 1e-5


def test_the_first_line_is_what_it_was_alone() -> None:
    variant = next(parameter.values[0] for parameter in variants("flux_dev"))
    [[embeddings, options]] = first_row(together(variant))
    [[alone, own]] = lines(variant)[0]
    assert torch.equal(embeddings, alone)
    assert LINE not in options
    assert options.keys() == own.keys()
