"""The samplers of random graphs: each adds its nodes and gives the link to what they sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devtools.fuzz.values import GUIDANCE

if TYPE_CHECKING:
    from devtools.fuzz.graphs import Builder


def ksampler(builder: Builder, model: list, positive: list, negative: list, latent: list) -> list[Any]:
    rng = builder.rng
    node = builder.add(
        "KSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=rng.randrange(2**32),
        steps=rng.choice([1, 2, 2, 3]),
        cfg=rng.choice(GUIDANCE),
        sampler_name=rng.choice(builder.samplers),
        scheduler=rng.choice(builder.schedulers),
        denoise=rng.choice([1.0, 1.0, 1.0, 0.6, 0.3]),
    )
    return [node, 0]


def stages(builder: Builder, model: list, positive: list, negative: list, latent: list) -> list[Any]:
    """Two samplers, the second of which goes on from the noise that the first has left."""
    rng = builder.rng
    middle, steps = rng.choice([(1, 2), (1, 3), (2, 3)])
    common = {
        "model": model,
        "positive": positive,
        "negative": negative,
        "steps": steps,
        "sampler_name": rng.choice(builder.samplers),
        "scheduler": rng.choice(builder.schedulers),
    }
    for start, end in ((0, middle), (middle, 10000)):
        noise, left = ("enable", "disable")[start > 0], ("disable", "enable")[start == 0]
        node = builder.add(
            "KSamplerAdvanced",
            **common,
            latent_image=latent,
            noise_seed=rng.randrange(2**32),
            cfg=rng.choice(GUIDANCE),
            start_at_step=start,
            end_at_step=end,
            add_noise=noise,
            return_with_leftover_noise=left,
        )
        latent = [node, 0]
    return latent


def custom_sampler(builder: Builder, model: list, positive: list, negative: list, latent: list) -> list[Any]:
    rng = builder.rng
    cfg = rng.choice(GUIDANCE)
    pair = {"positive": positive, "negative": negative}
    dual = {"cond1": positive, "cond2": negative, "negative": negative, "style": "regular"}
    guider, inputs = rng.choice(
        [
            ("CFGGuider", {**pair, "cfg": cfg}),
            ("BasicGuider", {"conditioning": positive}),
            ("DualCFGGuider", {**dual, "cfg_conds": cfg, "cfg_cond2_negative": 2.0}),
            ("PerpNegGuider", {**pair, "empty_conditioning": negative, "cfg": cfg, "neg_scale": 1.0}),
        ]
    )
    schedule = {"scheduler": rng.choice(builder.schedulers), "steps": rng.choice([1, 2, 3]), "denoise": 1.0}
    sigmas = builder.add("BasicScheduler", model=model, **schedule)
    node = builder.add(
        "SamplerCustomAdvanced",
        noise=[builder.add("RandomNoise", noise_seed=rng.randrange(2**32)), 0],
        guider=[builder.add(guider, model=model, **inputs), 0],
        sampler=[builder.add("KSamplerSelect", sampler_name=rng.choice(builder.samplers)), 0],
        sigmas=[sigmas, 0],
        latent_image=latent,
    )
    return [node, rng.choice([0, 1])]
