"""References apart in runs of every kind: passes, guiders, areas, windows, samplers, and what is left afterwards."""

from __future__ import annotations

from typing import Any

import comfy.hooks
import comfy.sample
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from apart_oracles import Apart, ApartUNet
from apart_references import apart
from comfy.patcher_extension import WrappersMP
from given_reference import ksampler, picture
from oracles import relative_error
from sampling import noise, rows_of, sample, shared
from style_aligned.nodes.record import StyleAlignedRecord
from tiny_models import conditioning, small_model, smooth_model, tiny_model
from torch import Tensor

import nodes  # the host's

OTHER_SIZE = (12, 6)


class Passes:
    """Notes a model's calls: of the reference (True) or of targets, the noise level, rows and size of each."""

    def __init__(self, model: Any) -> None:
        self.calls: list[tuple[bool, float, int, tuple[int, ...]]] = []
        self.model = model.clone()
        self.model.add_wrapper_with_key("apply_model", "noting", self._note)

    def _note(self, executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        size = (int(x.shape[-2]), int(x.shape[-1]))
        self.calls.append((size == OTHER_SIZE, float(t[0]), len(x), size))
        return executor(x, t, *args, **kwargs)

    @property
    def of_reference(self) -> list[tuple[bool, float, int, tuple[int, ...]]]:
        return [call for call in self.calls if call[0]]


def noted(**options: Any) -> Passes:
    return Passes(apart(shared(tiny_model("sd15"), **options), picture(31, *OTHER_SIZE)))


def test_one_pass_for_each_noise_level() -> None:
    """Of both kinds of conditioning; samplers that come back to a level find what was kept."""
    passes = noted()
    sample(passes.model, 2, steps=4, sampler="heun")
    levels = [sigma for _, sigma, _, _ in passes.of_reference]
    assert len(levels) == len(set(levels)) == 4
    assert all(rows == 2 and size == OTHER_SIZE for _, _, rows, size in passes.of_reference)
    assert len(passes.calls) - len(levels) == 7


def test_no_pass_of_what_nobody_reads() -> None:
    passes = noted(end_percent=0.5)
    sample(passes.model, 1, steps=4, cfg=1.0)
    assert len(passes.of_reference) == 2
    assert all(rows == 1 for _, _, rows, _ in passes.of_reference)


def areas() -> list[list[Any]]:
    """The whole picture, and two areas of it with prompts of their own."""
    whole = conditioning(1, seed=1)
    left, right = (nodes.ConditioningSetArea().append(conditioning(1, seed=seed), 32, 64, x, 0, 1.0)[0]
                   for seed, x in ((5, 0), (6, 32)))  # fmt: skip
    return [*whole, *left, *right]


def test_areas_read_the_one_pass() -> None:
    passes = noted()
    positive = areas()
    actual = sample(passes.model, 2, steps=2, positive=positive)
    assert len(passes.of_reference) == 2
    reference = Apart(picture(31, *OTHER_SIZE), conditioning(1, seed=21), conditioning(1, seed=2))
    assert relative_error(actual, sample(ApartUNet("sd15", [reference]).patcher, 2, steps=2, positive=positive)) < 1e-5


class Hint:
    """Stands in for a ControlNet: it notes what it is asked for, and adds nothing."""

    cond_hint_original = None
    previous_controlnet = None
    extra_hooks = None
    multigpu_clones: dict = {}

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def get_control(self, x: Tensor, *_: Any) -> None:
        self.seen.append(tuple(x.shape))

    def pre_run(self, *_: Any) -> None: ...

    def cleanup(self) -> None: ...

    def get_models(self) -> list[Any]:
        return []

    def get_extra_hooks(self) -> list[Any]:
        return []

    def inference_memory_requirements(self, _: Any) -> int:
        return 0


def test_what_is_the_targets_does_not_reach_it() -> None:
    model = apart(shared(tiny_model("sd15")), picture(31, *OTHER_SIZE))
    positive, hint = conditioning(1, seed=1), Hint()
    hinted = [[positive[0][0], {**positive[0][1], "control": hint, "control_apply_to_uncond": True}]]
    actual, expected = (sample(model, 2, steps=2, positive=each) for each in (hinted, positive))
    assert relative_error(actual, expected) < 1e-5
    assert set(hint.seen) == {(4, 4, 8, 8)}


def test_its_own_prompt_describes_all_of_it() -> None:
    """Whatever says where or by what means the prompt acts is left out, as it was made for another picture."""
    model, prompt, hint = shared(tiny_model("sd15")), conditioning(1, seed=21), Hint()
    hooks = comfy.hooks.HookGroup()
    hooks.add(comfy.hooks.WeightHook())
    placed = {
        "control": hint, "area": (4, 4, 0, 0), "mask": torch.rand(1, 8, 8), "mask_strength": 0.5, "strength": 0.3,
        "hooks": hooks, "default": True,
    }  # fmt: skip
    given = [[prompt[0][0], {**prompt[0][1], **placed}]]
    assert torch.equal(sample(apart(model, conditioning=given), 1), sample(apart(model, conditioning=prompt), 1))
    assert not hint.seen


@pytest.mark.parametrize("key", ["easycache", "lazycache"])
def test_step_caches_do_not_see_its_calls(key: str) -> None:
    """They compare a call with the one before, which has to be the targets' own. key: the host's, of their wrappers."""
    sizes: list[tuple[int, ...]] = []

    def cache(executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        sizes.append(tuple(x.shape[-2:]))
        return executor(x, *args, **kwargs)

    passes = noted()
    passes.model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, key, cache)
    sample(passes.model, 1, steps=2)
    assert set(sizes) == {(8, 8)}
    assert len(passes.of_reference) == 2


def test_wrappers_of_calls_are_the_targets() -> None:
    """They may expect the size of the images."""
    sizes: list[tuple[int, ...]] = []

    def wrapper(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        sizes.append(tuple(arguments["input"].shape[-2:]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    passes = noted()
    passes.model.set_model_unet_function_wrapper(wrapper)
    sample(passes.model, 1, steps=2)
    assert set(sizes) == {(8, 8)}
    assert len(passes.of_reference) == 2


def test_three_kinds_of_conditioning() -> None:
    """Other guiders give their lists in another order: positives read the positive, the negative the negative."""
    passes = noted()
    guider = custom.Guider_DualCFG(passes.model)
    first, second, negative = (conditioning(1, seed=seed) for seed in (1, 5, 2))
    guider.set_conds(first, second, negative)
    guider.set_cfg(3.0, 2.0)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([5.0, 1.0, 0.0])
    actual = guider.sample(noise(2), torch.zeros(2, 4, 8, 8), sampler, sigmas, seed=3)
    assert [rows for _, _, rows, _ in passes.of_reference] == [2, 2]

    reference = Apart(picture(31, *OTHER_SIZE), conditioning(1, seed=21), negative)

    class OfThree(ApartUNet):
        def _note_layout(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
            kinds = [int(kind == 0) for kind in arguments["cond_or_uncond"]]  # this guider's first is the negative
            return super()._note_layout(apply_model, {**arguments, "cond_or_uncond": kinds})

    oracle = custom.Guider_DualCFG(OfThree("sd15", [reference]).patcher)
    oracle.set_conds(first, second, negative)
    oracle.set_cfg(3.0, 2.0)
    expected = oracle.sample(noise(2), torch.zeros(2, 4, 8, 8), sampler, sigmas, seed=3)
    assert relative_error(actual, expected) < 1e-5


def test_each_of_two_models_has_a_bank_of_its_own() -> None:
    passes = noted()
    guider = custom.Guider_DualModel(passes.model, tiny_model("sd15", seed=9))
    guider.set_conds(conditioning(1, seed=1), conditioning(1, seed=2))
    guider.set_cfg(3.0)
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([5.0, 1.0, 0.0])
    out = guider.sample(noise(2), torch.zeros(2, 4, 8, 8), sampler, sigmas, seed=3)
    assert len(passes.of_reference) == 4
    assert bool(out.isfinite().all())


def test_perturbed_attention_reads_a_perturbed_reference() -> None:
    """As a row of the batch would be."""
    import comfy_extras.nodes_pag as pag

    model = apart(shared(tiny_model("sd15")), picture(31, *OTHER_SIZE))
    passes = Passes(pag.PerturbedAttentionGuidance.execute(model, 2.0).result[0])
    sample(passes.model, 1, steps=2)
    assert [rows for _, _, rows, _ in passes.of_reference] == [2, 1, 2, 1]


def test_windows_of_the_batch_read_the_one_pass() -> None:
    import comfy_extras.nodes_context_windows as windows

    passes = noted()
    windowed = windows.ContextWindowsManualNode.execute(
        passes.model, context_length=4, context_overlap=2, context_schedule="standard_static", context_stride=1,
        closed_loop=False, fuse_method="pyramid", dim=3, freenoise=False, cond_retain_index_list="",
        split_conds_to_windows=False,
    ).result[0]  # fmt: skip
    out = sample(windowed, 1, steps=2, initial=noise(1, 8, 12))
    assert len(passes.of_reference) == 2
    assert all(size[1] < 12 for is_reference, _, _, size in passes.calls if not is_reference)
    assert bool(out.isfinite().all())


def test_tiles_in_one_call_read_their_chunks() -> None:
    """Tiles of cond and uncond stacked by another node: each reads the features of its own kind."""

    def tiled(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        x, t, c = arguments["input"], arguments["timestep"], dict(arguments["c"])
        left, right = x[..., :4], x[..., 4:]
        c["c_crossattn"] = torch.cat([c["c_crossattn"]] * 2)
        out = apply_model(torch.cat([left, right]), torch.cat([t, t]), **c)
        return torch.cat(out.chunk(2), -1)

    def one_by_one(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
        return torch.cat([apply_model(part, t, **c) for part in (x[..., :4], x[..., 4:])], -1)

    model = apart(shared(tiny_model("sd15")), picture(31, *OTHER_SIZE))
    outputs = []
    for wrapper in (tiled, one_by_one):
        wrapped = model.clone()
        wrapped.set_model_unet_function_wrapper(wrapper)
        outputs.append(sample(wrapped, 2, steps=2))
    assert relative_error(outputs[0], outputs[1]) < 1e-5


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "dpmpp_2s_ancestral", "uni_pc", "lcm", "ddim", "dpm_adaptive"])
def test_samplers(sampler: str) -> None:
    model = smooth_model()  # on which the adaptive one strides
    out = sample(apart(shared(model), picture(31, *OTHER_SIZE)), 1, steps=4, sampler=sampler)
    assert bool(out.isfinite().all())
    assert relative_error(out, sample(model, 1, steps=4, sampler=sampler)) > 1e-4


def test_part_of_the_noise_is_kept() -> None:
    """denoise below 1: a graph from image to image."""
    latent, model = {"samples": picture(50)}, apart(shared(tiny_model("sd15")), picture(31, *OTHER_SIZE))
    one = {"positive": conditioning(1), "denoise": 0.5}
    out = ksampler(model, latent, **one)
    assert relative_error(out, ksampler(tiny_model("sd15"), latent, **one)) > 1e-3


def test_prompts_rows_are_targets() -> None:
    """Row 0 of a batch is an image like the others."""
    model = apart(shared(tiny_model("sd15")))
    positive = conditioning(2, seed=1)
    both = sample(model, 2, positive=positive)
    alone = sample(model, 1, positive=rows_of(positive, slice(1)), initial=noise(2)[:1])
    assert relative_error(both[:1], alone) < 1e-5
    assert (
        relative_error(alone, sample(tiny_model("sd15"), 1, positive=rows_of(positive, slice(1)), initial=noise(2)[:1]))
        > 1e-3
    )


@pytest.mark.thorough
def test_compiled_models() -> None:
    """Calls that share nothing, over references, over targets: none takes another's graph, whichever came first."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    torch.compiler.reset()
    alone = small_model()
    plain = shared(alone, share_group_norm=True)
    with_reference = apart(plain, picture(31, *OTHER_SIZE), weight=0.5)
    recording = StyleAlignedRecord.execute(plain).result[0]
    for model in (alone, with_reference, recording, alone, plain, with_reference):
        compiled = model.clone()
        set_torch_compile_wrapper(compiled, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
        for images in (1, 2):
            assert relative_error(sample(compiled, images, steps=2), sample(model, images, steps=2)) < 1e-5
    torch.compiler.reset()
