"""What the pictures of the help pages show: for each important setting the sets that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SUBJECTS = ("heart", "house", "tree", "mushroom")
NEW_SUBJECTS = ("star", "moon", "diamond")
IN_A_STYLE = ("heart, checkered, inked, dotted", *SUBJECTS[1:])  # of which the targets' prompts say nothing
SEED = 6

Settings = tuple[tuple[str, Any], ...]


def inputs(**values: Any) -> Settings:
    """A node's inputs that are not at their defaults; a tuple, for plans to be keys."""
    return tuple(values.items())


@dataclass(frozen=True)
class Inversion:
    steps: int = 50
    cfg: float = 2.0


@dataclass(frozen=True)
class Given:
    """A given icon as the reference: Reference Latent's inputs, and Invert's if it is inverted."""

    start_from: str = "noise"
    denoise: float = 1.0
    inversion: Inversion | None = None
    offset: int = 0
    sampled_back: bool = False  # show beside the icon what its inversion leads back to


@dataclass(frozen=True)
class Apart:
    """Given icons as references apart, one for each weight: Reference's inputs."""

    weights: tuple[float, ...] = (1.0,)
    thin: str = "all"


@dataclass(frozen=True)
class Masked:
    """Masks over halves of the pictures, by their names in help_pictures, and the protection: Masks' inputs."""

    style: str | None = None
    target: str | None = None
    protect_content: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A set to draw. Its reference is made from the first prompt, given, kept from another set, or apart from it."""

    prompts: tuple[str, ...] = IN_A_STYLE
    style: str = ""
    sharing: Settings | None = ()  # None: without Share Attention
    given: Given | None = None
    kept_from: Plan | None = None
    apart: Apart | None = None
    masked: Masked | None = None
    one_by_one: bool = False  # the first one is recorded, and each of the others drawn alone
    looked: tuple[float, float] | None = None  # where the targets look is recorded, and shown from here to there
    seed: int = SEED


@dataclass(frozen=True)
class Picture:
    """A picture of a help page: a row for each value of a setting, in columns that all rows share.

    references: how many of the columns have them. measured: as the node Report shows the rows, in place of a strip.
    mapped: what is shown of where targets look, of those in help_maps; in place of their pictures.
    """

    name: str
    rows: dict[str, Plan]
    columns: tuple[str, ...] = ("reference", *SUBJECTS[1:])
    references: int = 1
    measured: bool = False
    mapped: str = ""


def pictures() -> list[Picture]:
    of_settings = [*_share_attention(), *_prompts(), *_reference_latent(), *_invert(), _kept_style(), *_reference()]
    return [*of_settings, _record(), _report(), _masks(), *_attention()]


def _share_attention() -> Iterator[Picture]:
    def number(name: str, *values: float) -> Picture:
        return Picture(name, {f"{name} {value:g}": Plan(sharing=inputs(**{name: value})) for value in values})

    def switch(name: str) -> Picture:
        states = {"off": False, "on": True}
        return Picture(name, {f"{name} {word}": Plan(sharing=inputs(**{name: on})) for word, on in states.items()})

    yield Picture("share_attention", {"without Share Attention": Plan(sharing=None), "with Share Attention": Plan()})
    yield number("strength", 0.0, 0.25, 0.5, 1.0)
    yield number("scale", 0.25, 0.5, 1.0, 1.5)
    yield number("shift", -2.0, 0.0, 0.69, 2.0)
    yield switch("share_group_norm")
    yield Picture(
        "adain",
        {
            "adain_queries and adain_keys on": Plan(),
            "adain_queries off": Plan(sharing=inputs(adain_queries=False)),
            "adain_keys off": Plan(sharing=inputs(adain_keys=False)),
            "both off": Plan(sharing=inputs(adain_queries=False, adain_keys=False)),
        },
    )
    yield switch("adain_values")
    yield Picture(
        "percent",
        {
            f"start_percent {start:g}, end_percent {end:g}": Plan(sharing=inputs(start_percent=start, end_percent=end))
            for start, end in ((0.0, 1.0), (0.0, 0.5), (0.0, 0.2), (0.2, 1.0))
        },
    )
    yield Picture(
        "blocks",
        {
            f"blocks {blocks or '(empty: all)'}": Plan(sharing=inputs(blocks=blocks))
            for blocks in ("", "input", "middle", "output")
        },
    )


def _prompts() -> Iterator[Picture]:
    styles = ("", "striped, chalked, dark", "{prompt} on a dotted, bright backdrop")
    yield Picture("style", {f"style: {style or '(empty)'}": Plan(prompts=SUBJECTS, style=style) for style in styles})
    first = {f"first line: {word}": (word, *(other for other in SUBJECTS if other != word)) for word in SUBJECTS[:3]}
    yield Picture(
        "first_line",
        {heading: Plan(prompts=lines) for heading, lines in first.items()},
        ("reference", "2nd line", "3rd line", "4th line"),
    )


def _reference_latent() -> Iterator[Picture]:
    yield Picture(
        "start_from",
        {
            "start_from noise": Plan(SUBJECTS, given=Given()),
            **{
                f"start_from reference, denoise {denoise:g}": Plan(SUBJECTS, given=Given("reference", denoise))
                for denoise in (0.9, 0.7, 0.5)
            },
        },
    )
    yield Picture(
        "trajectory",
        {
            "without a trajectory: noise-matched": Plan(SUBJECTS, given=Given()),
            "trajectory from Invert": Plan(SUBJECTS, given=Given(inversion=Inversion())),
        },
    )
    yield Picture(
        "offset",
        {
            f"offset {offset} of {Inversion.steps}": Plan(SUBJECTS, given=Given(inversion=Inversion(), offset=offset))
            for offset in (0, 5, 20)
        },
    )


def _invert() -> Iterator[Picture]:
    def strip_of(name: str, inversions: dict[str, Inversion]) -> Picture:
        rows = {
            heading: Plan(SUBJECTS[:3], given=Given(inversion=inversion, sampled_back=True))
            for heading, inversion in inversions.items()
        }
        return Picture(name, rows, ("reference", "sampled back", *SUBJECTS[1:3]))

    yield strip_of("inversion_steps", {f"steps {steps}": Inversion(steps=steps) for steps in (5, 15, 50)})
    yield strip_of("inversion_cfg", {f"cfg {cfg:g}": Inversion(cfg=cfg) for cfg in (1.0, 2.0, 8.0)})


def _kept_style() -> Picture:
    saved = Plan()
    lines = (IN_A_STYLE[0], *NEW_SUBJECTS)
    return Picture(
        "kept_style",
        {
            "the set that was saved": saved,
            "another day: new lines, the style from its file": Plan(NEW_SUBJECTS, kept_from=saved, seed=SEED + 1),
            "the same lines without Share Attention": Plan(lines, sharing=None, seed=SEED + 1),
        },
        ("reference", "", "", ""),
    )


def _reference() -> Iterator[Picture]:
    mixed = ((1.0, 0.0), (0.7, 0.3), (0.3, 0.7), (0.0, 1.0))
    yield Picture(
        "reference_weights",
        {f"weights {a:g} and {b:g}": Plan(SUBJECTS[1:], apart=Apart((a, b))) for a, b in mixed},
        ("reference", "reference", *SUBJECTS[1:]),
        references=2,
    )
    yield Picture(
        "thin", {f"thin {part}": Plan(SUBJECTS[1:], apart=Apart(thin=part)) for part in ("all", "1/4", "1/9")}
    )


def _record() -> Picture:
    return Picture(
        "one_by_one",
        {
            "one batch": Plan(),
            "the reference recorded, the others each alone": Plan(one_by_one=True),
            "each alone, without a reference": Plan(sharing=None),
        },
    )


def _report() -> Picture:
    return Picture("report", {"images": Plan(), "compared_with": Plan(sharing=None)}, measured=True)


def _masks() -> Picture:
    return Picture(
        "masks",
        {
            "without masks": Plan(),
            "style_mask: the middle": Plan(masked=Masked(style="middle")),
            "style_mask: all but the middle": Plan(masked=Masked(style="border")),
            "target_mask: the right half": Plan(masked=Masked(target="right half")),
        },
    )


def _attention() -> Iterator[Picture]:
    yield Picture("attention_map", {"": Plan(looked=(0.0, 1.0))}, mapped="sheet")
    yield Picture(
        "attention_steps",
        {
            f"{start:.0%} to {end:.0%} of the steps": Plan(looked=(start, end))
            for start, end in ((0.0, 0.25), (0.25, 0.75), (0.75, 1.0))
        },
        mapped="mass",
    )
    yield Picture(
        "protect_content",
        {
            f"protect_content {amount:g}": Plan(looked=(0.0, 1.0), masked=Masked(protect_content=amount))
            for amount in (0.0, 0.5, 1.0)
        },
        mapped="places",
    )
