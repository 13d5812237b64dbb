"""What a checkpoint's evaluation is made of: its sets, the user's files, settings by family, measures and tables."""

from __future__ import annotations

import re
from pathlib import Path

import comfy.supported_models
import folder_paths
import numpy as np
import pytest
import torch
from comfy.sd1_clip import SDTokenizer
from registry import SUPPORTED

from devtools.checkpoint_evaluation import files, studio
from devtools.checkpoint_evaluation.errors import EvaluationError
from devtools.checkpoint_evaluation.judges import Judges
from devtools.checkpoint_evaluation.measures import MEASURES, measure_set, of_the_way, result
from devtools.checkpoint_evaluation.report import Page, as_json, markdown
from devtools.checkpoint_evaluation.sets import SHIPPED, StyleSet, pick, read_sets
from devtools.checkpoint_evaluation.settings import BY_CLASS, OTHERS, default_settings
from devtools.checkpoint_evaluation.shelf import Shelf
from devtools.comfyui.icon_model import Loaded
from devtools.evaluation.variants import VARIANTS
from toy.model import FluxIcons, Icons


def test_a_hundred_styles_of_four_objects():
    sets = read_sets(SHIPPED)
    assert [each.number for each in sets] == list(range(1, 101))
    assert len({each.style for each in sets}) == 100
    assert all(len(set(each.objects)) == 4 for each in sets)
    assert len({name for each in sets for name in each.objects}) > 250
    references = [each.objects[0] for each in sets]
    assert max(map(references.count, references)) <= 3


def test_a_shipped_prompt_is_one_chunk_of_clips_and_has_no_weights():
    """Or a text's end would be cut off, and the pooled text be of its beginning only."""
    tokenizer = SDTokenizer()
    for each in read_sets(SHIPPED):
        assert not re.search(r"[()\[\]<>]|embedding:", each.style + each.prompts)
        assert each.style.count("{") == each.style.count("{prompt}")
        for name in each.objects:
            text = each.style.replace("{prompt}", name) if "{prompt}" in each.style else f"{name}, {each.style}"
            assert len(tokenizer.tokenize_with_weights(text)) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("# nothing\n\n", "has no set in it"),
        ("oil painting\n", "line 1 of .*is no set: 'oil painting'"),
        ("# one\noil | a boat;\n", "line 2 of .*two or more objects"),
        (b"\xff\xfe\xfa", "is not UTF-8 text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_of_sets_that_are_none(tmp_path: Path, text: str | bytes | None, error: str):
    path = tmp_path / "sets.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(EvaluationError, match=error):
        read_sets(path)


def test_sets_are_picked_by_number():
    sets = [StyleSet(number, "oil", ("a", "b")) for number in range(1, 31)]
    assert pick(sets, None) == sets
    assert [each.number for each in pick(sets, "25,1-3, 2")] == [1, 2, 3, 25]
    for numbers in ("first", "", "3-1", "1-", "-2", "1,,2"):
        with pytest.raises(EvaluationError, match="such as: 1-10,25"):
            pick(sets, numbers)
    for numbers in ("0", "30-31"):
        with pytest.raises(EvaluationError, match="numbered 1 to 30"):
            pick(sets, numbers)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of checkpoints, the only one there is."""
    known = folder_paths.folder_names_and_paths["checkpoints"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", ([str(tmp_path)], known[1]))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def test_a_name_is_found_in_the_models_folder_or_by_its_path(models: Path, tmp_path_factory: pytest.TempPathFactory):
    (models / "xl.safetensors").touch()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "other.ckpt"
    elsewhere.touch()
    assert files.find("checkpoints", "xl.safetensors") == models / "xl.safetensors"
    assert files.find("checkpoints", str(elsewhere)) == elsewhere


def test_a_wrong_name_is_answered_with_near_ones(models: Path):
    with pytest.raises(EvaluationError, match=rf"none at all in {models}; name a file by its path"):
        files.find("checkpoints", "xl")
    for number in range(20):
        (models / f"model{number:02}.safetensors").touch()
    (models / "sd_xl_base_1.0.safetensors").touch()
    folder_paths.filename_list_cache.clear()
    with pytest.raises(EvaluationError) as caught:
        files.find("checkpoints", "sdxl_base.safetensors")
    said = str(caught.value)
    assert "there is no checkpoint 'sdxl_base.safetensors'; ComfyUI has: sd_xl_base_1.0.safetensors, " in said
    assert said.endswith(" and 9 more")


def test_extra_model_paths_are_known(tmp_path: Path, models: Path):
    more = tmp_path / "more"
    more.mkdir()
    (more / "far.safetensors").touch()
    (tmp_path / "extra_model_paths.yaml").write_text(f"mine:\n  base_path: {tmp_path}\n  checkpoints: more\n")
    files.extend_model_paths(tmp_path / "nowhere")
    with pytest.raises(EvaluationError):
        files.find("checkpoints", "far.safetensors")
    files.extend_model_paths(tmp_path)
    assert files.find("checkpoints", "far.safetensors") == more / "far.safetensors"


class Model:
    """Of a host's class; its weights are of no matter here."""

    def __init__(self, config_class: type, model_type: str = "EPS") -> None:
        self.model_config = config_class.__new__(config_class)
        self.model_type = type("ModelType", (), {"name": model_type})


@pytest.mark.parametrize(
    ("made", "size", "steps", "cfg"),
    [
        (Model(comfy.supported_models.SD15), 512, 50, 7.5),
        (Model(comfy.supported_models.SD20), 512, 50, 7.5),
        (Model(comfy.supported_models.SD20, "V_PREDICTION"), 768, 50, 7.5),
        (Model(comfy.supported_models.SDXL), 1024, 50, 5.0),
        (Model(comfy.supported_models.SSD1B), 1024, 50, 5.0),  # made from SDXL
        (Model(comfy.supported_models.SD3), 1024, 28, 4.5),
        (Model(comfy.supported_models.Flux), 1024, 20, 1.0),
        (Model(comfy.supported_models.FluxSchnell), 1024, 4, 1.0),
        (Model(comfy.supported_models.AuraFlow), OTHERS.size, OTHERS.steps, OTHERS.cfg),
        (Model(Icons, "V_PREDICTION"), 32, 12, 3.0),
        (Model(FluxIcons), 32, 20, 3.0),
    ],
    ids=lambda each: type(each.model_config).__name__ if isinstance(each, Model) else "",
)
def test_settings_by_family(made: Model, size: int, steps: int, cfg: float):
    found = default_settings(made)
    assert (found.size, found.steps, found.cfg) == (size, steps, cfg)


def test_the_hosts_samplers_and_classes_are_named_rightly():
    from comfy.samplers import KSampler

    for each in (*BY_CLASS.values(), OTHERS):
        assert each.sampler in KSampler.SAMPLERS
        assert each.scheduler in KSampler.SCHEDULERS
    of_the_host = {each.__name__ for each in comfy.supported_models.models} | {"Icons", "FluxIcons"}
    newer = {"Krea2"}  # than the oldest host that is tested
    assert set(BY_CLASS) - of_the_host <= newer


def test_every_variant_is_one_of_the_icon_models():
    for keys in (studio.OF_UNETS, studio.OF_TRANSFORMERS):
        assert all(VARIANTS[key].source == "text" for key in keys)
    assert set(studio.USUAL_OF_UNETS) <= set(studio.OF_UNETS)
    assert set(studio.USUAL_OF_TRANSFORMERS) <= set(studio.OF_TRANSFORMERS)


def test_no_variant_changes_positions_where_there_are_none(monkeypatch):
    """Of all those that are left, the nodes take each."""
    monkeypatch.setattr(studio.Studio, "meets", True)  # there is no text encoder to ask
    without = studio.Studio.of(Loaded(SUPPORTED["sd3"].model(), None, None), 0)
    assert not any(VARIANTS[key].positions for key in studio.OF_UNETS)
    chosen = [key for key in studio.OF_TRANSFORMERS if not VARIANTS[key].positions and not VARIANTS[key].everyone]
    assert without.variants(chosen) == list(dict.fromkeys(["plain", *chosen]))
    usual = without.variants(None)
    assert usual == ["plain", "defaults", "no-adain", "everyone"]
    for key in {*chosen, *usual}:
        without.model(key)
    with pytest.raises(EvaluationError, match=r"same says nothing .* a transformer without rotary"):
        without.variants(["same"])


class Pair:
    """A CLIP for which a picture is its mean colour, and a text the colour that it names."""

    colours = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}

    def of_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(pictures.mean((1, 2)), dim=-1)

    def of_texts(self, texts: tuple[str, ...]) -> torch.Tensor:
        return torch.tensor([self.colours[text] for text in texts])


def coloured(*names: str) -> torch.Tensor:
    return torch.stack([torch.tensor(Pair.colours[name]).expand(24, 24, 3) for name in names])


def test_targets_are_held_against_their_own_words_and_the_references():
    judges = Judges(pair=Pair())  # type: ignore[arg-type]
    words = ("red", "green", "blue")
    right = measure_set(coloured(*words), words, judges)
    assert (right["text"], right["leakage"]) == pytest.approx((1, -1))
    leaked = measure_set(coloured("red", "red", "red"), words, judges)
    assert (leaked["text"], leaked["leakage"]) == pytest.approx((0, 1))
    half = measure_set(coloured("red", "green", "red"), words, judges)
    assert (half["text"], half["leakage"]) == pytest.approx((0.5, 0))
    assert leaked["palette"] == 0 < half["palette"] < right["palette"]


def test_copying_is_of_targets_and_their_reference():
    """Two targets that are alike copy nothing of a reference that is not."""
    ramp = torch.linspace(0, 1, 32)
    across, down = (each[..., None].expand(32, 32, 3) for each in (ramp.expand(32, 32), ramp[:, None].expand(32, 32)))
    found = measure_set(torch.stack([across, down, down]), ("a", "b", "c"), Judges())
    assert found["copying"] == pytest.approx(0, abs=0.01)
    assert measure_set(torch.stack([across, across, across]), ("a", "b", "c"), Judges())["copying"] == pytest.approx(1)


def results(ours: float) -> list:
    chance = np.array([-0.01, 0.0, 0.01])
    means = {"plain": 0.2, "defaults": ours, "everyone": 0.6}
    return [
        result(key, VARIANTS[key].title, [{"consistency": mean + each} for each in chance], [1.0, 1.2, 1.4])
        for key, mean in means.items()
    ]


def test_the_way_from_floor_to_ceiling():
    floor, ours, ceiling = results(0.5)
    assert of_the_way("consistency", floor, ours, ceiling) == pytest.approx(0.75)
    assert of_the_way("consistency", floor, ours, floor) is None
    assert ours.beside(floor, "consistency").half_width == pytest.approx(
        0, abs=1e-9
    )  # the same sets, as far apart each
    page = Page("xl.safetensors", {"steps": 50}, [StyleSet(1, "oil", ("a", "b"))], results(0.5), "plain", "everyone")
    text = markdown(page)
    assert "| the defaults | 0.500 ± 0.011 | 1.20 ± 0.23 |" in text
    assert "| the defaults | +0.300 ± 0.000 |" in text
    assert "| the defaults | 75% |" in text
    assert as_json(page)["variants"]["defaults"]["consistency"]["of_sets"] == pytest.approx([0.49, 0.5, 0.51])  # type: ignore[index]
    assert all(each.meaning for each in MEASURES.values())


def test_sets_of_the_same_number_and_other_words_are_kept_apart(tmp_path: Path):
    shelf = Shelf.of(tmp_path, "a checkpoint", {"steps": 5})
    one, other = StyleSet(1, "oil", ("a", "b")), StyleSet(1, "ink", ("a", "b"))
    pictures = torch.arange(2 * 4 * 6 * 3).view(2, 4, 6, 3) / 255
    shelf.put("plain", one, pictures, 1.5)
    assert shelf.has("plain", one)
    assert not shelf.has("plain", other)
    torch.testing.assert_close(shelf.pictures("plain", one), pictures)
    assert shelf.seconds("plain", one) == 1.5
    assert shelf.seen("plain", one, "a judge") is None
    shelf.put_seen("plain", one, "a judge", {"text": 0.3})
    assert shelf.seen("plain", one, "a judge") == {"text": 0.3}
    assert shelf.seen("plain", one, "another judge") is None
    assert Shelf.of(tmp_path, "a checkpoint", {"steps": 6}).folder != shelf.folder
