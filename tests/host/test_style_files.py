"""Save Style and Load Style in the host's folders, with the host's models and conditionings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import pytest
import torch
from sampling import noise
from style_aligned.nodes.reference_latent import StyleAlignedReferenceLatent
from style_aligned.nodes.style_files import StyleAlignedLoadStyle, StyleAlignedSaveStyle
from style_aligned.shared_attention.host import style_folder
from style_aligned.shared_attention.subject_words import WORDS, Words
from style_aligned.shared_attention.trajectory import LatentSpace, Trajectory
from tiny_models import conditioning, tiny_model


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host with folders of its own: models, output and input in the folder that this gives."""
    for attribute, name in (("models_dir", "models"), ("output_directory", "output"), ("input_directory", "input")):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, attribute, str(tmp_path / name))
    registered = dict(folder_paths.folder_names_and_paths)
    registered.pop("style_references", None)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", registered)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    style_folder.register()
    return tmp_path


def picture(seed: int = 7) -> dict[str, torch.Tensor]:
    return {"samples": noise(1, seed=seed)}


def trajectory(model, latent: dict[str, torch.Tensor]) -> Trajectory:
    """Of the shape that Invert gives; the path itself is arbitrary."""
    clean = model.get_model_object("latent_format").process_in(latent["samples"])
    latents = torch.cat([clean, noise(2, seed=9)])
    return Trajectory(torch.tensor([0.0, 1.0, 14.0]), latents, LatentSpace.VARIANCE_EXPLODING, "SD15", "SD15")


def save(model, prefix: str = "style", latent: dict[str, torch.Tensor] | None = None, **options: Any) -> str:
    """The name under which the style can be loaded."""
    ui = StyleAlignedSaveStyle.execute(model, latent or picture(), prefix, **options).ui
    [told] = ui["style_references"]
    assert ui["text"] == (f"{told['subfolder']}/{told['filename']}",)
    path = Path(folder_paths.get_directory_by_type(told["type"]), told["subfolder"], told["filename"])
    return path.relative_to(Path(folder_paths.get_output_directory(), "style_references")).as_posix()


def load(name: str, model=None) -> tuple[Any, ...]:
    assert StyleAlignedLoadStyle.validate_inputs(name) is True
    return StyleAlignedLoadStyle.execute(name, model).result


def listed() -> list[str]:
    [name, _] = StyleAlignedLoadStyle.define_schema().inputs
    return name.options


def test_where_the_words_of_a_prompt_are_is_not_kept(model):
    text = conditioning(1)
    text[0][1][WORDS] = Words({"cat": (1,)}, text[0][0].shape[1])
    _, _, loaded, _ = load(save(model, conditioning=text))
    assert torch.equal(loaded[0][0], text[0][0])
    assert WORDS in text[0][1]
    assert WORDS not in loaded[0][1]


def test_a_style_is_loaded_as_it_was_saved(model):
    path, texts = trajectory(model, picture()), conditioning(3, seed=4, guidance=2.5)
    name = save(model, "sets/clay", trajectory=path, conditioning=texts, reference_prompt="a cat")
    assert name == "sets/clay_00001_.safetensors"
    assert listed() == [name]
    latent, loaded, [[embeddings, options]], prompt = load(name, model)
    assert latent.keys() == {"samples"}
    assert torch.equal(latent["samples"], picture()["samples"])
    assert torch.equal(loaded.sigmas, path.sigmas)
    assert torch.equal(loaded.latents, path.latents)
    assert (loaded.space, loaded.model, loaded.latent_format) == (path.space, path.model, path.latent_format)
    assert torch.equal(embeddings, texts[0][0][:1])
    assert torch.equal(options["pooled_output"], texts[0][1]["pooled_output"][:1])
    assert (options["guidance"], prompt) == (2.5, "a cat")


def test_parts_that_were_not_saved_count_as_not_connected(model):
    latent, path, texts, prompt = load(save(model))
    assert (path, texts, prompt) == (None, None, "")
    assert StyleAlignedReferenceLatent.execute(model, latent, 2, "noise", trajectory=path).result


def test_no_style_is_replaced(model):
    names = [save(model, "clay", picture(seed)) for seed in (1, 2)]
    assert names == ["clay_00001_.safetensors", "clay_00002_.safetensors"]
    for name, seed in zip(names, (1, 2), strict=True):
        assert torch.equal(load(name)[0]["samples"], picture(seed)["samples"])


def test_the_host_fills_in_the_name(model):
    assert save(model, "clay-%width%x%height%") == "clay-8x8_00001_.safetensors"


@pytest.mark.parametrize("prefix", ["../style", "/tmp/style", r"C:\style", "a/../../b", ""])
def test_names_that_lead_out_are_refused_before_a_run_and_in_it(model, base: Path, prefix: str):
    assert "leads out" in str(StyleAlignedSaveStyle.validate_inputs(prefix))
    with pytest.raises(ValueError, match="leads out"):
        save(model, prefix)
    assert not list(base.rglob("*.safetensors"))


def test_nothing_is_written_through_a_link(model, base: Path, tmp_path_factory: pytest.TempPathFactory):
    outside = tmp_path_factory.mktemp("outside")
    save(model)
    (base / "output" / "style_references" / "link").symlink_to(outside, target_is_directory=True)
    for prefix in ("link/clay", "link/new/clay"):
        with pytest.raises(ValueError, match="through a link"):
            save(model, prefix)
    assert not list(outside.iterdir())


@pytest.fixture
def outside(model, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good style that lies in none of the host's folders."""
    path = tmp_path_factory.mktemp("outside") / "secret.safetensors"
    path.write_bytes((base / "output" / "style_references" / save(model, "inside")).read_bytes())
    return path


def test_nothing_outside_the_folders_is_read(base: Path, outside: Path):
    folder = base / "output" / "style_references"
    (folder / "link.safetensors").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent, target_is_directory=True)
    relative = os.path.relpath(outside, folder)
    names = [str(outside), relative, "link.safetensors", "folder/secret.safetensors", f"sub/../{relative}", "a\0b", ""]
    for name in [*names, "a\0b.safetensors"]:
        assert "have no style" in str(StyleAlignedLoadStyle.validate_inputs(name)), name
        with pytest.raises(ValueError, match="have no style"):
            StyleAlignedLoadStyle.execute(name)
    assert listed() == ["inside_00001_.safetensors"]


def test_other_files_and_folders_are_no_styles(base: Path):
    folder = base / "models" / "style_references"
    (folder / "folder.safetensors").mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    assert listed() == []
    for name in ("folder.safetensors", "notes.txt"):
        assert "have no style" in str(StyleAlignedLoadStyle.validate_inputs(name))


@pytest.mark.parametrize("parent", ["models", "input", "elsewhere"])
def test_styles_are_found_in_every_registered_folder(base: Path, outside: Path, parent: str):
    folder = base / parent / "style_references"
    folder.mkdir(parents=True)
    folder_paths.add_model_folder_path("style_references", str(folder))
    (folder / "clay.safetensors").write_bytes(outside.read_bytes())
    assert "clay.safetensors" in listed()
    assert load("clay.safetensors")


def test_a_folder_that_is_a_link_itself_is_the_users_choice(model, base: Path, tmp_path_factory):
    (base / "output" / "style_references").symlink_to(tmp_path_factory.mktemp("disk"), target_is_directory=True)
    assert load(save(model))
    assert listed() == ["style_00001_.safetensors"]


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_style_of_another_model_is_refused_with_its_reason(model, family: str):
    name = save(model)
    assert load(name, tiny_model("sd15", seed=3))
    with pytest.raises(ValueError, match=r"style_00001_.*made with another kind of model: SD15 with SD15 latents"):
        load(name, tiny_model(family))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"samples": noise(3)}, "3 images"),
        ({"samples": torch.zeros(1, 4, 8, 8)}, "empty"),
        ({"samples": noise(1, channels=16)}, "16 latent channels"),
        ({"samples": noise(1).unsqueeze(2)}, "frames"),
    ],
)
def test_a_reference_that_is_none_is_not_saved(model, base: Path, reference: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        save(model, latent=reference)
    assert not list(base.rglob("*.safetensors"))


def test_a_trajectory_of_another_picture_is_not_saved(model):
    with pytest.raises(ValueError, match="another picture"):
        save(model, latent=picture(1), trajectory=trajectory(model, picture(2)))


def test_conditioning_that_cannot_be_kept_is_not_dropped_silently(model):
    with pytest.raises(ValueError, match="'control' cannot be kept"):
        save(model, conditioning=conditioning(control=object()))


def test_a_damaged_file_is_refused_before_a_run(model, base: Path):
    path = base / "output" / "style_references" / save(model)
    path.write_bytes(path.read_bytes()[:-1])
    verdict = str(StyleAlignedLoadStyle.validate_inputs(path.name))
    assert f"{path.name!r} cannot be used: it is truncated" in verdict
    with pytest.raises(ValueError, match="truncated"):
        StyleAlignedLoadStyle.execute(path.name)


def test_a_file_that_is_too_large_is_not_read(model, base: Path, monkeypatch: pytest.MonkeyPatch):
    name = save(model)
    monkeypatch.setattr(style_folder, "MAX_BYTES", 100)
    assert "larger than 0 MB; give a file that Save Style wrote" in str(StyleAlignedLoadStyle.validate_inputs(name))


def test_an_unreadable_file_is_an_error_of_ours(model, monkeypatch: pytest.MonkeyPatch):
    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    name = save(model)
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read: Permission denied" in str(StyleAlignedLoadStyle.validate_inputs(name))


def test_values_over_connections_are_checked_later():
    assert StyleAlignedLoadStyle.validate_inputs() is True
    assert StyleAlignedSaveStyle.validate_inputs() is True


def test_another_file_under_the_same_name_is_noticed(model, base: Path):
    names = [save(model, latent=picture(seed)) for seed in (1, 2)]
    first, second = (base / "output" / "style_references" / name for name in names)
    before = StyleAlignedLoadStyle.fingerprint_inputs(name=names[0])
    assert StyleAlignedLoadStyle.fingerprint_inputs(name=names[0], model=None) == before
    second.replace(first)
    assert StyleAlignedLoadStyle.fingerprint_inputs(name=names[0]) != before


def test_a_style_goes_where_the_host_keeps_its_latents(model, monkeypatch: pytest.MonkeyPatch):
    name = save(model, conditioning=conditioning())
    monkeypatch.setattr(comfy.model_management, "intermediate_device", lambda: torch.device("meta"))
    latent, _, [[embeddings, options]], _ = load(name)
    assert {tensor.device.type for tensor in (latent["samples"], embeddings, options["pooled_output"])} == {"meta"}
