"""The ways to draw a set that are compared, each by its settings of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

LN_2 = 0.69

Source = Literal["text", "noise-matched", "inverted", "apart"]


class Moment(NamedTuple):
    """A step of sampling. progress: 0 at the first step, 1 at the last. noise: its level before the step, 1 to 0."""

    progress: float
    noise: float


Settings = Mapping[str, object]
"""Of a node, by input. A function of the moment is a setting that changes over sampling."""


def ramp(first: float, last: float) -> Callable[[Moment], float]:
    """From `first` to `last`, evenly over the steps."""
    return lambda moment: first + (last - first) * moment.progress


def noise_squared(moment: Moment) -> float:
    return moment.noise**2


@dataclass(frozen=True)
class Apart:
    """How the picture of a set stands apart from its batch, in Reference.

    size: of its sides, to the images'. thin: Reference's. mix: the weight of the set's second picture; the first one
    has the rest of 1.
    """

    size: float = 1.0
    thin: str = "all"
    mix: float = 0.0

    @property
    def is_mix(self) -> bool:
        """Whether it says something of how two pictures are mixed; with nothing of the second one it does as well."""
        return self == Apart(mix=self.mix)


@dataclass(frozen=True)
class Variant:
    """`sharing` holds what differs from Share Attention's defaults, `positions` from those of Positions.

    Without the one it is the model alone, without the other there is no such node.
    """

    key: str
    title: str
    sharing: Settings | None = field(default_factory=dict)
    source: Source = "text"  # where the reference comes from: its prompt, or a given picture in one of three ways
    apart: Apart = Apart()  # where it stands apart
    positions: Settings | None = None
    masks: Settings | None = None  # what Masks is given; without it there is no such node
    everyone: bool = False  # the paper's ablation: every image attends to all of the set

    unprotected: str | None = None  # the key of the variant that it protects the content of

    @property
    def baseline(self) -> str:
        """The variant that this one is compared with: the same reference without sharing."""
        return "plain" if self.source == "text" else "picture-plain"

    @property
    def changes(self) -> bool:
        """Whether a setting changes over sampling."""
        return any(
            callable(value) for settings in (self.sharing, self.positions) for value in (settings or {}).values()
        )

    def at(self, moment: Moment) -> Variant:
        """With the settings of that moment."""
        return replace(self, sharing=_at(moment, self.sharing), positions=_at(moment, self.positions))


def _at(moment: Moment, settings: Settings | None) -> Settings | None:
    if settings is None:
        return None
    return {name: value(moment) if callable(value) else value for name, value in settings.items()}


STRONG = {"share_group_norm": True, "shift": LN_2}
STRONGER = {"share_group_norm": True, "shift": 1.5}
STRONGEST = {**STRONGER, "adain_values": True}
SAME = {"positions": "same"}
UNTWISTED = {**SAME, "high_frequencies": 0.5, "low_frequencies": 2.0}
LESS_UNTWISTED = {**SAME, "high_frequencies": 0.6, "low_frequencies": 1.5}
"""The values published for Flux.2 Klein."""
CHOSEN = {**SAME, "high_frequencies": 0.6, "low_frequencies": 2.25}
"""With NO_ADAIN the best that was found, and what the template for Flux.1 has."""
FALLING = {**SAME, "high_frequencies": ramp(1.0, 0.0), "low_frequencies": ramp(1.0, 3.0)}
RISING = {**SAME, "high_frequencies": ramp(0.25, 0.75), "low_frequencies": ramp(1.0, 1.4)}
"""How two ports of Untwisting RoPE move its frequencies over sampling: in opposite directions."""
NO_ADAIN = {"adain_queries": False, "adain_keys": False}
LOW_2 = {"low_frequencies": 2.0}
LATER = "single.1-5"
"""All single blocks but the first."""
COPYING = {"blocks": "all", "shift": 1.5, "adain_values": True}
"""What copies the most on the transformer, with the same positions."""


def protected(key: str, sharing: Settings, positions: Settings | None = None) -> list[Variant]:
    """The variant of a given picture with these settings, whose content is protected by half and wholly."""
    return [
        Variant(f"{key}-protected-{share:g}", f"... its content protected, {share:g}", sharing, "noise-matched",
                positions=positions, masks={"protect_content": share}, unprotected=key)
        for share in (0.5, 1.0)
    ]  # fmt: skip


PARTS = {
    "unet": ("input.3", "input.5", "middle", "output.0", "output.1", "output.2", "output.3"),
    "flux": ("double.0", "double.1", *(f"single.{number}" for number in range(6))),
}
"""What shares in each icon model, in the order in which it runs."""
FIFTHS = tuple(number / 5 for number in range(5))  # of sampling


def inside(model: str, positions: Settings | None = None) -> list[Variant]:
    """The variants in which one part of a model shares alone, or all that shares does in one fifth of sampling."""
    alone = [
        Variant(f"{model}-{part}", f"{part} alone", {"blocks": part}, positions=positions) for part in PARTS[model]
    ]
    return alone + [
        Variant(f"{model}-from-{round(100 * start)}", f"from {start:.0%} to {start + 0.2:.0%} of sampling",
                {"start_percent": start, "end_percent": start + 0.2}, positions=positions)
        for start in FIFTHS
    ]  # fmt: skip


OF_INSIDE = {
    "unet": ("defaults", *(variant.key for variant in inside("unet"))),
    "flux": ("same", *(variant.key for variant in inside("flux")), "no-high", "no-low"),
}
"""What is compared to look inside each icon model: with everything that shares by default first, then part by part."""

VARIANTS = {
    variant.key: variant
    for variant in (
        Variant("plain", "the model alone", None),
        Variant("defaults", "the defaults"),
        Variant("strength-0.25", "strength 0.25", {"strength": 0.25}),
        Variant("strength-0.5", "strength 0.5", {"strength": 0.5}),
        Variant("strength-0.75", "strength 0.75", {"strength": 0.75}),
        Variant("scale-0.5", "scale 0.5", {"scale": 0.5}),
        Variant("scale-1.1", "scale 1.1", {"scale": 1.1}),
        Variant("shift-less", "shift -ln 2", {"shift": -LN_2}),
        Variant("shift-ln2", "shift ln 2", {"shift": LN_2}),
        Variant("shift-1.5", "shift 1.5", {"shift": 1.5}),
        Variant("group-norm", "shared group norm", {"share_group_norm": True}),
        Variant("no-adain", "no AdaIN", NO_ADAIN),
        Variant("adain-half", "AdaIN at half", {"strength": 0.5, "shift": LN_2}),  # all of the reference's attention
        Variant("values", "AdaIN of values too", {"adain_values": True}),
        Variant("coarse", "8x8 layers only", {"blocks": "input.5, middle, output.0-1"}),
        Variant("fine", "16x16 layers only", {"blocks": "input.3, output.2-3"}),
        Variant("output", "output blocks only", {"blocks": "output"}),
        Variant("all-blocks", "all blocks", {"blocks": "all"}),
        Variant("double", "double blocks only", {"blocks": "double"}),
        Variant("same", "same positions", positions=SAME),
        Variant("nowhere", "no positions", positions={"positions": "none"}),
        Variant("no-high", "same positions, no high frequencies", positions={**SAME, "high_frequencies": 0.0}),
        Variant("no-low", "same positions, no low frequencies", positions={**SAME, "low_frequencies": 0.0}),
        Variant("untwisted", "same positions, high 0.5, low 2", positions=UNTWISTED),
        Variant("more-untwisted", "same positions, high 0.5, low 3",
                positions={**UNTWISTED, "low_frequencies": 3.0}),
        Variant("less-untwisted", "same positions, high 0.6, low 1.5", positions=LESS_UNTWISTED),
        Variant("less-untwisted-most", "same positions, high 0.6, low 1.5, first 60%", {"end_percent": 0.6},
                positions=LESS_UNTWISTED),
        Variant("untwisted-most", "same positions, high 0.5, low 2, first 60% of sampling", {"end_percent": 0.6},
                positions=UNTWISTED),
        Variant("untwisted-no-adain", "same positions, high 0.5, low 2, no AdaIN", NO_ADAIN, positions=UNTWISTED),
        Variant("chosen", "same positions, high 0.6, low 2.25, no AdaIN", NO_ADAIN, positions=CHOSEN),
        Variant("chosen-values", "same positions, high 0.6, low 2.25, AdaIN of values alone",
                {**NO_ADAIN, "adain_values": True}, positions=CHOSEN),
        Variant("falling", "same positions, high 1 to 0, low 1 to 3", positions=FALLING),
        Variant("rising", "same positions, high 0.25 to 0.75, low 1 to 1.4", positions=RISING),
        Variant("chosen-falling", "same positions, high 0.9 to 0.3, low 2.25, no AdaIN", NO_ADAIN,
                positions={**CHOSEN, "high_frequencies": ramp(0.9, 0.3)}),
        Variant("chosen-rising", "same positions, high 0.3 to 0.9, low 2.25, no AdaIN", NO_ADAIN,
                positions={**CHOSEN, "high_frequencies": ramp(0.3, 0.9)}),
        Variant("scale-fading", "scale (t/1000)^2", {"scale": noise_squared}),
        Variant("low-2", "low frequencies 2", positions=LOW_2),
        Variant("low-2-half", "low frequencies 2, strength 0.5", {"strength": 0.5}, positions=LOW_2),
        Variant("later", "single blocks 1 to 5", {"blocks": LATER}),
        Variant("later-half", "single blocks 1 to 5, low frequencies 2, strength 0.5",
                {"blocks": LATER, "strength": 0.5}, positions=LOW_2),
        Variant("later-third", "single blocks 1 to 5, low frequencies 2, strength 0.35",
                {"blocks": LATER, "strength": 0.35}, positions=LOW_2),
        Variant("adain-alone", "AdaIN alone", {"shift": -10.0}),
        Variant("early", "first half of sampling", {"end_percent": 0.5}),
        Variant("most", "first 60% of sampling", {"end_percent": 0.6}),
        Variant("late", "second half of sampling", {"start_percent": 0.5}),
        Variant("last", "last 60% of sampling", {"start_percent": 0.4}),
        Variant("strong", "group norm, shift ln 2", STRONG),
        Variant("stronger", "group norm, shift 1.5", STRONGER),
        Variant("strongest", "group norm, shift 1.5, values", STRONGEST),
        Variant("everyone", "full attention sharing", None, everyone=True),
        Variant("picture-plain", "a picture, no sharing", None, "noise-matched"),
        Variant("noise-matched", "a picture, noise-matched", {}, "noise-matched"),
        Variant("noise-matched-strong", "noise-matched, group norm, shift ln 2", STRONG, "noise-matched"),
        Variant("noise-matched-strongest", "noise-matched, group norm, shift 1.5, values",
                STRONGEST, "noise-matched"),
        *protected("noise-matched-strongest", STRONGEST),
        Variant("copying", "noise-matched, all blocks, same positions, shift 1.5, values", COPYING, "noise-matched",
                positions=SAME),
        *protected("copying", COPYING, SAME),
        Variant("inverted", "a picture, inverted", {}, "inverted"),
        Variant("inverted-strong", "inverted, group norm, shift ln 2", STRONG, "inverted"),
        Variant("apart", "a picture apart", source="apart"),
        Variant("apart-half", "apart, half the size", source="apart", apart=Apart(size=0.5)),
        Variant("apart-larger", "apart, 1.5 times the size", source="apart", apart=Apart(size=1.5)),
        Variant("apart-4", "apart, 1/4 of its tokens", source="apart", apart=Apart(thin="1/4")),
        Variant("apart-9", "apart, 1/9 of its tokens", source="apart", apart=Apart(thin="1/9")),
        Variant("mix-0.25", "apart, 0.25 of a second picture", source="apart", apart=Apart(mix=0.25)),
        Variant("mix-0.5", "apart, 0.5 of a second picture", source="apart", apart=Apart(mix=0.5)),
        Variant("mix-0.75", "apart, 0.75 of a second picture", source="apart", apart=Apart(mix=0.75)),
        Variant("mix-1", "apart, the second picture alone", source="apart", apart=Apart(mix=1.0)),
        *inside("unet"),
        *inside("flux", SAME),
    )
}  # fmt: skip

OF_HARD = {
    model: ("picture-plain", "noise-matched", key, f"{key}-protected-0.5", f"{key}-protected-1")
    for model, key in (("unet", "noise-matched-strongest"), ("flux", "copying"))
}
"""What is compared on sets that tempt to copy."""

OF_BOTH = (
    "plain", "defaults", "strength-0.25", "strength-0.5", "strength-0.75", "scale-0.5", "shift-ln2", "no-adain",
    "adain-half", "values", "early", "late", "last", "scale-1.1", "shift-less", "everyone", "picture-plain",
    "noise-matched", "inverted",
)  # fmt: skip
OF_FLUX = (
    "all-blocks", "double", "most", "same", "nowhere", "no-high", "untwisted", "less-untwisted", "more-untwisted",
    "untwisted-most", "less-untwisted-most", "untwisted-no-adain", "chosen", "chosen-values", "falling", "rising",
    "chosen-falling", "chosen-rising", "scale-fading", "low-2", "low-2-half", "later", "later-half", "later-third",
    "adain-alone",
)  # fmt: skip
ELSEWHERE = {
    *(key for keys in OF_HARD.values() for key in keys[2:]),
    *(key for keys in OF_INSIDE.values() for key in keys[1:]),
}
OF_MODEL = {
    "unet": tuple(key for key in VARIANTS if key not in ELSEWHERE.union(OF_FLUX)),
    "flux": tuple(key for key in VARIANTS if key in OF_BOTH + OF_FLUX),
}
"""The variants that say something of each icon model."""

SHOWN = {"unet": "strong", "flux": "chosen"}
"""Whose sets are shown."""
