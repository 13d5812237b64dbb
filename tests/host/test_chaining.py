"""Beside other nodes: what they put on the model is called, and does what it does without sharing."""

from __future__ import annotations

import comfy.lora
import comfy.sd
import comfy_extras.nodes_freelunch as free_u
import comfy_extras.nodes_hypertile as hypertile
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_sag as sag
import comfy_extras.nodes_tomesd as token_merging
import pytest
import torch
from comfy.ldm.modules import attention as host
from oracles import relative_error
from sampling import noise, sample, shared
from tiny_models import conditioning, small_model

OPTIONS = {"shift": 0.5, "share_group_norm": True}


class Recorder:
    """An attention replacement that computes plain attention and keeps the shapes that it was called with."""

    def __init__(self, factor: float = 1.0) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.factor = factor

    def __call__(self, query, key, value, options):
        self.shapes.append((tuple(query.shape), tuple(key.shape)))
        return self.factor * host.optimized_attention(
            query, key, value, options["n_heads"], transformer_options=options
        )


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("key", [("input", 1, 0), ("middle", 0)], ids=str)
def test_an_attention_replacement_is_called_with_the_whole_call(model, order: str, key: tuple):
    recorder = Recorder()

    def replace(patcher):
        clone = patcher.clone()
        clone.set_model_attn1_replace(recorder, *key)
        return clone

    both = shared(replace(model), **OPTIONS) if order == "before" else replace(shared(model, **OPTIONS))
    assert relative_error(sample(both, steps=1), sample(shared(model, **OPTIONS), steps=1)) < 1e-5
    tokens = 64 if key[0] == "input" else 16
    assert [(q[:2], k[:2]) for q, k in recorder.shapes] == [((6, tokens), (6, tokens))]


def test_an_attention_replacements_output_counts(model):
    def replaced(factor):
        clone = shared(model)
        clone.set_model_attn1_replace(Recorder(factor), "input", 1, 0)
        return sample(clone, steps=1)

    assert relative_error(replaced(0.5)[1:], replaced(1.0)[1:]) > 1e-3


def test_an_attention_replacement_is_all_there_is_where_sharing_is_off(model):
    recorder = Recorder(0.5)
    alone = model.clone()
    alone.set_model_attn1_replace(recorder, "input", 1, 0)
    assert torch.equal(sample(shared(alone, end_percent=0.0), steps=1), sample(alone, steps=1))


@pytest.mark.parametrize("order", ["before", "after"])
def test_an_attention_override_is_called(model, order: str):
    calls = []

    def override(attention, query, key, value, heads, *args, **kwargs):
        assert kwargs["_inside_attn_wrapper"]
        calls.append((query.shape[1], key.shape[1]))
        return attention(query, key, value, heads, *args, **kwargs)

    def overridden(patcher):
        clone = patcher.clone()
        clone.model_options["transformer_options"]["optimized_attention_override"] = override
        return clone

    both = shared(overridden(model)) if order == "before" else overridden(shared(model))
    assert torch.equal(sample(both, steps=1), sample(shared(model), steps=1))
    assert calls.count((64, 64)) == calls.count((64, 128)) == 3  # references, targets; the layers at full size
    assert calls.count((64, 8)) == 3  # cross-attention


def test_perturbed_attention_guidance(model):
    """In the perturbed pass the middle block's own attention is the identity; the other blocks share as ever."""

    def guided(patcher):
        return pag.PerturbedAttentionGuidance.execute(patcher, 3.0).result[0]

    plain, together = sample(guided(model), steps=1), sample(guided(shared(model)), steps=1)
    assert torch.equal(together[0], plain[0])
    assert relative_error(together, sample(shared(model), steps=1)) > 1e-3
    assert torch.equal(together, sample(shared(guided(model)), steps=1))


@pytest.mark.parametrize("order", ["before", "after"])
def test_self_attention_guidance(model, order: str):
    """It keeps the attention map of the whole call and needs it to be square."""

    def guided(patcher):
        return sag.SelfAttentionGuidance.execute(patcher, 0.5, 2.0).result[0]

    both = shared(guided(model)) if order == "before" else guided(shared(model))
    # Its threshold on the attention map sees the reference's own attention only, as without sharing.
    together, plain = (
        sample(both, steps=1, initial=noise(3, 16, 16)),
        sample(guided(model), steps=1, initial=noise(3, 16, 16)),
    )
    assert relative_error(together[0], plain[0]) < 1e-5
    assert relative_error(together[1:], plain[1:]) > 1e-2


def test_hypertile_makes_sharing_stand_aside(model, caplog: pytest.LogCaptureFixture):
    """Where tiles become rows there is nothing to share; the layers that are not tiled share."""
    initial = noise(3, 32, 64)  # two tiles

    def tiled(patcher):
        return hypertile.HyperTile.execute(patcher, 256, 1, 0, False)[0]

    both = sample(tiled(shared(model)), steps=1, cfg=1.0, initial=initial)
    assert caplog.text.count("sharing stands aside") == 1
    alone = sample(tiled(model), steps=1, cfg=1.0, initial=initial)
    assert torch.equal(both[0], alone[0])
    assert relative_error(both[1:], alone[1:]) > 1e-3


def test_token_merging(model):
    """Fewer queries than keys."""

    def merging(patcher):
        torch.manual_seed(0)  # it merges into tokens that it picks at random
        return token_merging.TomePatchModel.execute(patcher, 0.5).result[0]

    initial = noise(3, 16, 16)
    both, alone = (
        sample(merging(shared(model)), steps=1, initial=initial),
        sample(merging(model), steps=1, initial=initial),
    )
    assert relative_error(both[0], alone[0]) < 1e-5
    assert relative_error(both[1:], alone[1:]) > 1e-2


def test_perturbed_attention_on_merged_tokens(model):
    """It answers with the values, more than there are queries: there is nothing to add the reference to."""

    def both(patcher):
        torch.manual_seed(0)
        merged = token_merging.TomePatchModel.execute(patcher, 0.5).result[0]
        replaced = merged.clone()
        replaced.set_model_attn1_replace(lambda query, key, value, options: value, "input", 1)
        return replaced

    initial = noise(3, 16, 16)
    together = sample(both(shared(model)), steps=1, initial=initial)
    assert relative_error(together[0], sample(both(model), steps=1, initial=initial)[0]) < 1e-5


def test_free_u(model):
    def freed(patcher):
        return free_u.FreeU_V2.execute(patcher, 1.3, 1.4, 0.9, 0.2).result[0]

    together = sample(freed(shared(model)), steps=1)
    assert torch.equal(together, sample(shared(freed(model)), steps=1))
    assert torch.equal(together[0], sample(freed(model), steps=1)[0])
    assert relative_error(together, sample(shared(model), steps=1)) > 1e-3


def lora_of(patcher) -> dict[str, torch.Tensor]:
    """A LoRA on the projections of the attentions and, as some have it, on a group norm's weight."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for name, weight in patcher.model.diffusion_model.named_parameters():
        if name.endswith(("attn1.to_q.weight", "attn1.to_k.weight")):
            key = "diffusion_model." + name.removesuffix(".weight")
            state[f"{key}.lora_A.weight"] = torch.randn(4, weight.shape[1], generator=generator) / 8
            state[f"{key}.lora_B.weight"] = torch.randn(weight.shape[0], 4, generator=generator) / 8
        elif name.endswith("in_layers.0.weight"):
            state[f"diffusion_model.{name.removesuffix('.weight')}.diff"] = (
                torch.randn(weight.shape, generator=generator) / 2
            )
    return state


def test_lora(model):
    """Either order of the nodes, the same pictures; the reference is the LoRA's, and the model is as before."""
    state, plain = lora_of(model), sample(model, steps=1)

    def adapted(patcher):
        return comfy.sd.load_lora_for_models(patcher, None, state, 1.0, 0.0)[0]

    together = sample(adapted(shared(model, **OPTIONS)), steps=1)
    assert torch.equal(together, sample(shared(adapted(model), **OPTIONS), steps=1))
    assert torch.equal(together[0], sample(adapted(model), steps=1)[0])
    assert relative_error(together[0], plain[0]) > 1e-2
    assert relative_error(together, sample(shared(model, **OPTIONS), steps=1)) > 1e-2
    assert torch.equal(sample(model, steps=1), plain)


class Residuals:
    """A ControlNet as the host's sampler sees one, with a residual for every row of the middle block."""

    def __init__(self, rows: int) -> None:
        generator = torch.Generator().manual_seed(9)
        self.residual = torch.randn(rows, 64, 4, 4, generator=generator)
        self.previous_controlnet = None
        self.extra_hooks = None
        self.multigpu_clones = {}

    def get_control(self, x, timestep, cond, batched_number, transformer_options):
        return {"middle": [self.residual.repeat(batched_number, 1, 1, 1)], "input": [], "output": []}

    def pre_run(self, *_): ...
    def cleanup(self): ...
    def get_models(self):
        return []

    def get_extra_hooks(self):
        return []

    def inference_memory_requirements(self, dtype):
        return 0


def test_control_residuals(model):
    control = Residuals(3)
    positive = conditioning(3, seed=1, control=control, control_apply_to_uncond=True)
    together = sample(shared(model), steps=1, positive=positive)
    plain = sample(model, steps=1, positive=positive)
    assert torch.equal(together[0], plain[0])
    assert relative_error(together[1:], plain[1:]) > 1e-3
    assert relative_error(together, sample(shared(model), steps=1)) > 1e-3


def compiled(patcher):
    """The host's TorchCompileModel node, but for the backend: this one needs no C++ compiler."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    clone = patcher.clone(disable_dynamic=True)
    set_torch_compile_wrapper(clone, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
    return clone


@pytest.mark.thorough
@pytest.mark.parametrize("order", ["before", "after"])
def test_compiled_models(order: str):
    """Compiled graphs have no guards on a call's options, yet no call may take a graph that was made for another."""
    torch._dynamo.reset()
    model = small_model()
    plain = compiled(model)
    for options in ({"start_percent": 0.3}, {**OPTIONS, "end_percent": 0.6}, {"blocks": "input"}, {}):
        both = compiled(shared(model, **options)) if order == "after" else shared(compiled(model), **options)
        for images in (3, 2):
            assert relative_error(sample(plain, images), sample(model, images)) < 1e-4
            assert relative_error(sample(both, images), sample(shared(model, **options), images)) < 1e-4
    torch._dynamo.reset()
