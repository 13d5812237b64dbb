"""`dev.py evaluate --checkpoint` from end to end, on the icon models as anybody's checkpoints and a miniature CLIP.

Random as that CLIP is, what it says has no meaning, but that it is asked, and about which pictures and words, has.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_clip import let_the_host_load_small_ones, save, small_clip

from devtools import evaluate
from devtools.checkpoint_evaluation import program
from devtools.checkpoint_evaluation.program import parse, run
from devtools.checkpoint_evaluation.sets import read_sets
from devtools.checkpoint_evaluation.studio import Studio
from devtools.comfyui.server import FLUX_CHECKPOINT, TOY_CHECKPOINT

SETS = """\
# style | objects
striped, inked | star; heart; house; tree

dotted | moon; star; house
{prompt} plain dark | heart; tree; star; mushroom
"""
VARIANTS = ("plain", "defaults", "everyone")


def arguments(folder: Path, *more: str, checkpoint: Path = TOY_CHECKPOINT) -> list[str]:
    prompts = folder / "sets.txt"
    prompts.write_text(SETS, encoding="utf-8")
    return ["--checkpoint", str(checkpoint), "--prompts", str(prompts), "--out", str(folder / "out"), *more]


def evaluated(*said: str) -> dict:
    chosen = parse(said)
    assert run(chosen) == 0
    return json.loads((chosen.out / "evaluation.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory):
    """What the program writes of the UNet, its folder, and what was said."""
    folder = tmp_path_factory.mktemp("unet")
    clip = save(small_clip(), folder / "clip.safetensors")
    said = arguments(folder, "--vision", str(clip), "--steps", "6", "--variants", "defaults", "everyone")
    with pytest.MonkeyPatch.context() as patch:
        let_the_host_load_small_ones(patch)
        yield evaluated(*said), folder / "out", said


def test_floor_and_ceiling_stand_beside_ours(unet):
    found = unet[0]["variants"]
    assert tuple(found) == VARIANTS
    assert found["plain"]["cost"]["mean"] == 1
    palettes = {key: np.array(found[key]["palette"]["of_sets"]) for key in VARIANTS}
    assert (palettes["defaults"] < palettes["plain"]).all()
    assert (palettes["everyone"] < palettes["plain"]).all()
    assert not np.allclose(palettes["everyone"], palettes["defaults"])


def test_every_measure_is_there_with_an_interval_over_sets(unet):
    names = {"consistency", "style", "palette", "texture", "text", "leakage", "copying", "cost"}
    for variant in unet[0]["variants"].values():
        assert set(variant) == names | {"title"}
        for name in names:
            values = variant[name]["of_sets"]
            assert len(values) == 3
            assert variant[name]["mean"] == pytest.approx(np.mean(values))
            assert variant[name]["half_width"] == pytest.approx(1.96 * np.std(values, ddof=1) / 3**0.5)
    assert unet[0]["variants"]["defaults"]["consistency"]["beside_alone"]["mean"] != 0
    assert unet[0]["not_measured"] == ""


def test_the_page_and_the_sheet(unet):
    text = (unet[1] / "evaluation.md").read_text(encoding="utf-8")
    for title in ("the model alone", "the defaults", "full attention sharing", "set consistency", "leakage"):
        assert title in text
    assert "3 sets, 11 pictures; family Icons, " in text
    assert "steps 6, cfg 3.0, sampler dpmpp_2m, scheduler karras" in text
    assert "clip.safetensors sees the sets" in text
    assert "docs/your-checkpoint.md" in text
    assert (Path(program.ROOT) / "docs" / "your-checkpoint.md").is_file()
    with Image.open(unet[1] / "sets.png") as sheet:
        assert sheet.width > 600
        assert sheet.height > 9 * 200  # three sets in three ways


def test_a_second_run_draws_and_asks_nothing(unet, monkeypatch: pytest.MonkeyPatch):
    def again(*_args, **_options):
        raise AssertionError

    monkeypatch.setattr(Studio, "draw", again)
    monkeypatch.setattr(program, "measure_set", again)
    assert evaluated(*unet[2]) == unet[0]


def test_a_run_that_was_stopped_goes_on(unet, monkeypatch: pytest.MonkeyPatch):
    """Only what is missing is drawn, and comes out the same."""
    [folder] = unet[1].glob("sets-*")
    for path in (folder / "defaults").glob("0002-*.json"):
        path.unlink()
    drawn, draw = [], Studio.draw

    def noted(studio: Studio, key: str, wanted):
        drawn.append((key, wanted.number, studio.settings.steps))
        return draw(studio, key, wanted)

    monkeypatch.setattr(Studio, "draw", noted)
    found = evaluated(*unet[2])
    assert drawn == [("plain", 1, 1), ("defaults", 2, 6)]  # one step to load the model
    for name in ("consistency", "text", "palette"):
        values = (each["variants"]["defaults"][name]["of_sets"] for each in (found, unet[0]))
        np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-3)


def test_other_settings_are_drawn_anew(unet, monkeypatch: pytest.MonkeyPatch):
    class Drawn(Exception):
        pass

    def stop(*_args):
        raise Drawn

    monkeypatch.setattr(Studio, "draw", stop)
    for more in (["--steps", "7"], ["--cfg", "2"], ["--size", "40"], ["--seed", "5"], ["--sampler", "euler"]):
        with pytest.raises(Drawn):
            evaluated(*unet[2], *more)


def test_a_transformer_and_no_vision_model(tmp_path: Path):
    """Without one, palettes, texture and copying are measured all the same, and the page says what is not."""
    more = ["--steps", "4", "--sets", "1,3", "--variants", "defaults", "everyone"]
    said = arguments(tmp_path, *more, checkpoint=FLUX_CHECKPOINT)
    found = evaluated(*said)
    assert [each["number"] for each in found["sets"]] == [1, 3]
    assert set(found["variants"]["plain"]) == {"title", "palette", "texture", "copying", "cost"}
    assert found["settings"]["family"] == "FluxIcons"
    assert "set consistency" in found["not_measured"]
    assert "full sharing" not in found["not_measured"]
    plain, ours, everyone = (found["variants"][key]["palette"]["of_sets"] for key in VARIANTS)
    assert plain != ours != everyone != plain


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["--vision", "siglip_of_mine"], "no vision model 'siglip_of_mine'"),
        (["--clip-text", "clip_of_mine"], "no text encoder 'clip_of_mine'"),
        (["--sets", "1-9"], "there is no set 4; they are numbered 1 to 3"),
        (["--sets", "2"], "take two or more"),
        (["--sampler", "fast"], "no sampler 'fast'; it has: euler"),
        (["--variants", "same"], "--variants same says nothing of this checkpoint, which is a UNet"),
        (["--checkpoint", str(Path(__file__))], "cannot load test_checkpoint_run.py as a checkpoint"),
        (["--checkpoint", "model_of_mine"], "no checkpoint 'model_of_mine'"),
    ],
    ids=lambda each: str(each[0]) if isinstance(each, list) else "",
)
def test_what_cannot_be_done_is_said_before_anything_is_drawn(
    tmp_path: Path, more: list[str], error: str, capsys: pytest.CaptureFixture
):
    assert run(parse(arguments(tmp_path, *more))) == 1
    assert error in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_full_sharing_is_left_out_where_the_pictures_of_a_set_never_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Studio, "meets", False)
    more = ["--steps", "1", "--sets", "1,3", "--variants", "everyone"]
    found = evaluated(*arguments(tmp_path, *more, checkpoint=FLUX_CHECKPOINT))
    assert list(found["variants"]) == ["plain"]
    assert "Not drawn: full sharing" in found["not_measured"]


def test_the_model_alone_is_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """To the bit, though a transformer has Share Attention on it, with strength 0."""
    [wanted, *_] = read_sets(Path(arguments(tmp_path)[3]))
    with torch.inference_mode():
        studio = Studio.of(program.load_checkpoint(FLUX_CHECKPOINT), 0, steps=2)
        drawn, _ = studio.draw("plain", wanted)
        monkeypatch.setattr(Studio, "model", lambda studio, _key: studio.loaded.model)
        assert torch.equal(drawn, studio.draw("plain", wanted)[0])


def test_a_model_that_cannot_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    class Unknown(torch.nn.Module):
        pass

    load = program.load_checkpoint

    def other(path: Path):
        loaded = load(path)
        loaded.model.model.diffusion_model = Unknown()
        return loaded

    monkeypatch.setattr(program, "load_checkpoint", other)
    assert run(parse(arguments(tmp_path))) == 1
    assert "This model cannot share attention" in capsys.readouterr().err


def test_pictures_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Black pictures are alike: they would pass for a consistent set."""
    monkeypatch.setattr("nodes.VAEDecode.decode", lambda *_: (torch.full((4, 32, 32, 3), torch.nan),))
    assert run(parse(arguments(tmp_path, "--steps", "1"))) == 1
    assert "set 1 are not made of numbers" in capsys.readouterr().err


def test_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "load_checkpoint", interrupted)
    assert run(parse(arguments(tmp_path))) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_checkpoint_in_parts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    from safetensors.torch import load_file, save_file

    weights = {name: weight for name, weight in load_file(TOY_CHECKPOINT).items() if name.startswith("model.")}
    save_file(weights, tmp_path / "unet.safetensors")
    assert run(parse(arguments(tmp_path, checkpoint=tmp_path / "unet.safetensors"))) == 1
    assert "has no text encoder" in (said := capsys.readouterr().err)
    assert "Save Checkpoint" in said


@pytest.mark.parametrize("options", program.PRECISIONS.values(), ids=program.PRECISIONS)
def test_the_host_knows_the_precisions(options: tuple[str, ...]):
    from comfy.cli_args import parser

    assert parser.parse_args(list(options))


def test_evaluate_hands_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(program, "main", lambda arguments: ("handed over", arguments))
    for said in (["--checkpoint", "mine"], ["--sets", "1-3", "--checkpoint=mine"]):
        assert evaluate.main(said) == ("handed over", said)


@pytest.mark.parametrize("said", [["--steps", "0"], ["--cfg", "nan"], ["--size", "-8"]], ids=str)
def test_numbers_that_make_no_sense(said: list[str], capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        parse(["--checkpoint", "mine", *said])
    assert "is not above 0" in capsys.readouterr().err
