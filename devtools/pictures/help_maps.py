"""Where the targets of a set look, for a help page: the sheet of Attention Map, or heat maps alone in a strip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from devtools.pictures.help_plans import Picture, Plan
from devtools.pictures.help_strip import Row

if TYPE_CHECKING:
    from devtools.pictures.help_pictures import Artist

SIDE = 32  # of a heat map, in pixels before the strip enlarges them


def sheet(picture: Picture, artist: Artist) -> Tensor:
    """What Attention Map shows of the only row: (1, height, width, 3)."""
    from style_aligned.shared_attention.attention_map.drawing import drawn
    from style_aligned.shared_attention.attention_map.wording import summary

    [plan] = picture.rows.values()
    averages, shown = _shown(plan, artist)
    return drawn(shown, summary(averages))


def rows(picture: Picture, artist: Artist) -> list[Row]:
    """Heat maps in one scale for all rows, behind the reference itself.

    "mass": the share of each target's attention that goes to the reference, over the target. "places": how often each
    place of the reference is looked at beside an even share, over the reference. The headings say the mean share.
    """
    from style_aligned.shared_attention.attention_map.colours import coloured

    looked = {heading: _shown(plan, artist)[1] for heading, plan in picture.rows.items()}
    maps = {heading: _maps(shown, picture.mapped) for heading, shown in looked.items()}
    every = torch.stack([each for of_row in maps.values() for each in of_row])
    least, most = float(every.min()), float(every.max())
    strip = []
    for (heading, plan), of_row in zip(picture.rows.items(), maps.values(), strict=True):
        heats = [coloured((each - least) / (most - least)) for each in of_row]
        pictures = [Image.fromarray((heat * 255).round().byte().numpy()) for heat in heats]
        mean = torch.stack([column.mass.sum(0).mean() for column in looked[heading].columns]).mean()
        strip.append(Row(f"{heading}: {float(mean):.1%} on the reference", [artist.draw(plan)[0], *pictures]))
    return strip


def _shown(plan: Plan, artist: Artist) -> tuple[Any, Any]:
    """The averages of what was seen, and what Attention Map shows of it."""
    from style_aligned.shared_attention.attention_map.averaging import averaged
    from style_aligned.shared_attention.attention_map.showing import showing
    from style_aligned.shared_attention.layers import LayerSelection

    icons = torch.from_numpy(np.stack([np.asarray(icon, np.float32) / 255 for icon in artist.draw(plan)]))
    run = artist.records[plan].run_of(len(icons))
    averages = averaged(run, LayerSelection.parse("").or_default(""), *plan.looked)
    return averages, showing(run, averages, icons, None, None, "they looked")


def _maps(shown: Any, what: str) -> list[Tensor]:
    """(SIDE, SIDE) for each target."""
    if what == "mass":
        maps = [column.mass.sum(0) for column in shown.columns]
    else:
        maps = [column.fields[0] / column.fields[0].mean() for column in shown.columns]
    return [interpolate(each[None, None], (SIDE, SIDE), mode="bilinear")[0, 0] for each in maps]
