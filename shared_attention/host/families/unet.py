"""The UNets of Stable Diffusion: SD 1.x, SD 2.x, SDXL and its refiner, and what derives from them.

Self-attentions are reached by the host's attention replacements, which get the projected queries, keys and values with
the heads side by side in the channels; another node's replacement is chained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor

from ...attending import Attention, Extension, Projections
from ...beside import share_beside
from ...keeping import grid_of
from ...layers import ALL, LayerKey, LayerSelection
from ...masks import Mask, blended
from ...places import Places
from ...protection import protected
from ...rows import Rows
from ...sharing import Features, SharingSettings, align, extensions, features, given_statistics, kept, share
from ...sources import Source
from ..backend import layer_attention, plain_attention
from ..calls import Call, Options, Replacement, Run, current_call
from ..compiling import uncompiled
from ..group_norms import blocks_with_norms, share_statistics
from .unet_attentions import (
    SECTIONS,
    BlockKey,
    attentions_with_tokens,
    cross_attentions,
    preferences,
    replace_attention,
    self_attentions,
)

_CROSS = "cross-attention"
"""Note of a call: by BlockKey what other nodes have put at attentions to text, and what the checkpoint asks of them."""
_ASKED = "asked"
"""Note of a call: by BlockKey what the checkpoint asks of some self-attentions."""


class UNetFamily:
    """See the module."""

    name = "the UNets of Stable Diffusion (SD 1.x, SD 2.x, SDXL, its refiner) and models made from one of these"

    def knows(self, unet: Any) -> bool:
        """Whether the host's network is of this family."""
        return isinstance(unet, UNetModel) and not unet.use_temporal_resblocks

    def selectable(self, unet: Any, settings: SharingSettings) -> list[LayerKey]:
        """The blocks in which something can be shared."""
        blocks = {key[:2] for key in self_attentions(unet)}
        if settings.share_group_norm:
            blocks |= set(blocks_with_norms(unet))
        return sorted(blocks, key=lambda block: (SECTIONS.index(block[0]), block[1]))

    def selection(self, chosen: LayerSelection) -> LayerSelection:
        """The layers to share where the user chose these: all of them, as the authors do, where none is named."""
        return chosen.or_default(ALL)

    def bytes_kept(self, unet: Any, x: Sequence[int], chosen: LayerSelection, element: int) -> int:
        """About what a bank keeps of a reference: the keys and values of the layers chosen, for one conditioning.

        x: the shape of the reference's latent. element: bytes of a number.
        """
        layers = self.selection(chosen)
        return element * sum(
            tokens * int(attention.to_k.out_features + attention.to_v.out_features)
            for key, attention, tokens in attentions_with_tokens(unet, x[-2], x[-1])
            if key in layers
        )

    def check_call(self, conditioning: Mapping[str, Any]) -> None:
        """A UNet's calls share whatever they are conditioned with."""

    @contextmanager
    def attached(self, unet: Any, x: Tensor, options: Options, call: Call) -> Iterator[None]:
        """Within the context the self-attentions and group norms of a call with `options` share."""
        keys = list(self_attentions(unet, call.run.report))
        # All of them, selected or not and on or off: a compiled model is made for the replacements of its first call.
        call.previous.update(replace_attention(options, "attn1", keys, shared_self_attention))
        call.notes[_ASKED] = preferences(unet, "attn1")
        if call.run.subject is not None:
            keys = list(cross_attentions(unet))
            before = replace_attention(options, "attn2", keys, searched_cross_attention)
            call.notes[_CROSS] = before, preferences(unet, "attn2")
        if call.source is None or not call.settings.share_group_norm:
            yield
            return
        with share_statistics(unet, call.layers, call.source, call.settings.strength, call.target_mask):
            yield


@uncompiled
def searched_cross_attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """The attention to text, as it is; on the way it is looked where the reference's picture shows its subject."""
    call = current_call.get()
    slot: BlockKey = (*options["block"][:2], options["block_index"])
    known: tuple[dict[BlockKey, Replacement], dict[BlockKey, Any]] = ({}, {})
    before, preferred = call.notes.get(_CROSS, known) if call is not None else known
    previous: Replacement | None = before.get(slot)
    if call is not None and call.finding is not None and call.source is not None:
        finding, rows = call.finding, call.source.rows
        grid = grid_of(query.shape[1], *call.size) if call.size else None
        if grid is not None and len(query) == len(key) == rows.count and key.shape[1] == finding.text:
            own = [rows.references(x).flatten(0, 1) for x in (query, key)]
            with torch.no_grad():
                found = plain_attention(options, own[0], own[1], finding.values(own[1]))
            finding.add(found, (1, *grid))
    if previous:
        return previous(query, key, value, options)
    return plain_attention(options, query, key, value, asked=preferred.get(slot))


@uncompiled
def shared_self_attention(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """The attention replacement of every shared layer. query, key, value: projected, (rows, tokens, channels).

    One function for all layers, models and runs: a compiled model may keep calling the one that it saw first.
    """
    call = current_call.get()
    if call is None:
        return plain_attention(options, query, key, value)
    section, number = options["block"][:2]
    slot: BlockKey = (section, number, options["block_index"])
    previous, asked = call.previous.get(slot), call.notes[_ASKED].get(slot)
    source = call.source if (section, number) in call.layers else None
    if source is None or not source.knows(slot) or not _fits(call.run, source.rows, query, key):
        if previous:
            return previous(query, key, value, options)
        return plain_attention(options, query, key, value, asked=asked)
    call.run.shared_layers += 1
    layer = SharedLayer(
        Projections(query, key, value),
        slot,
        source,
        call.settings,
        layer_attention(options, call.run, asked),
        call,
        int(options["n_heads"]),
    )
    return attend_in_rows(layer) if previous is None else attend_around(layer, previous, options)


class SharedLayer(NamedTuple):
    """A self-attention that shares, with the attention to use.

    call: it is part of; without one it has no masks. heads: side by side in the channels.
    """

    projections: Projections
    slot: BlockKey
    source: Source
    settings: SharingSettings
    attend: Attention
    call: Call | None = None
    heads: int = 1

    def roles(self) -> tuple[Projections, Projections, list[Extension]]:
        """What references and targets have projected, the targets' aligned; and what these attend to besides."""
        rows = self.source.rows
        references = Projections(*map(rows.references, self.projections))
        given = self.source.of(self.slot, lambda: self._features(references))
        targets = Projections(*map(rows.targets, self.projections))
        if not rows.has_targets:
            return references, targets, []
        statistics = given_statistics(given)
        aligned = align(targets, statistics, self.settings.strength)
        shared = extensions(given, self.settings, targets.key.shape[-2], targets.key)
        shared = self._protected(aligned, shared)
        self._look(aligned, shared)
        return references, aligned, shared

    def _features(self, references: Projections) -> Features:
        keeping, mask = self.source.keeping, self._of_tokens(self.source.style_mask, references.key)
        grid = self._grid(references.key)
        is_watched = self.call is not None and self.call.run.watch is not None
        places = Places.of((1, *grid), len(references.key)) if is_watched and grid else None
        known = self._of_tokens(self.source.subject.mask if self.source.subject else None, references.key)
        counts, subject = (None if each is None else each[0] for each in (mask, known))
        found = features(references, self.settings, counts, places, subject)
        return found if keeping is None else kept(found, keeping, grid)

    def _protected(self, aligned: Projections, shared: list[Extension]) -> list[Extension]:
        """With the references' subjects kept out, as far as that is asked for."""
        if self.call is None or not self.call.protect_content:
            return shared
        grid, amount = self._grid(aligned.query), self.call.protect_content
        of_image = None if grid is None else (1, *grid)
        return protected(aligned, shared, amount, of_image, self.settings.scale, self.attend, heads=self.heads)

    def _look(self, aligned: Projections, shared: Sequence[Extension]) -> None:
        """Record where the targets look, where somebody asks."""
        if self.call is None or self.call.looking is None:
            return
        grid, mask = self._grid(aligned.query), self._of_tokens(self.call.target_mask, aligned.query)
        if grid is None:
            self.call.run.report(
                "Record Attention leaves out layers whose tokens are not places of the picture: another node, such as "
                "Token Merging, has merged them."
            )
            return
        scale, attend = self.settings.scale, self.attend
        self.call.looking.at(
            self.slot[:2], aligned, shared, (1, *grid), scale, attend, heads=self.heads, target_mask=mask
        )

    def target_mask(self) -> Tensor | None:
        """(1, targets or 1, tokens, 1)"""
        mask = self._of_tokens(self.call.target_mask if self.call else None, self.projections.query)
        return None if mask is None else mask[None, ..., None]

    def _grid(self, x: Tensor) -> tuple[int, int] | None:
        """Height and width in tokens."""
        size = self.call.size if self.call else None
        return grid_of(x.shape[-2], *size) if size else None

    def _of_tokens(self, mask: Mask | None, x: Tensor) -> Tensor | None:
        """The mask for the tokens of `x`; None where there is none, and with a report where they are no places."""
        if mask is None or self.call is None:
            return None
        grid = self._grid(x)
        if grid is not None:
            return mask.of_tokens((1, *grid))
        self.call.run.report(
            "a mask of Style Aligned: Masks is left out in layers whose tokens are not places of the picture: another "
            "node, such as Token Merging, has merged them."
        )
        return None


def attend_in_rows(layer: SharedLayer) -> Tensor:
    """References attend to themselves, targets to themselves and their reference: (rows, tokens, channels)."""
    rows, attend = layer.source.rows, layer.attend
    references, targets, given = layer.roles()
    references_out, targets_out = references.query, targets.query
    if rows.has_references:
        references_out = attend(*(x.flatten(0, 1) for x in references)).unsqueeze(1)
    if rows.has_targets:
        targets_out = share(targets, given, layer.settings.scale, attend)
        if (mask := layer.target_mask()) is not None:
            alone = attend(*(rows.targets(x).flatten(0, 1) for x in layer.projections))
            targets_out = blended(alone.reshape(targets_out.shape), targets_out, mask)
    return rows.join(references_out, targets_out)


def attend_around(layer: SharedLayer, previous: Replacement, options: Options) -> Tensor:
    """The same, where another node's replacement computes the images' attention to themselves.

    It may count rows or keep the attention map: it gets the whole call, with own keys only.
    """
    rows = layer.source.rows
    references, targets, given = layer.roles()
    query, key, value = (rows.join(*pair) for pair in zip(references, targets, strict=True))
    own = previous(query, key, value, options)
    if own.shape != query.shape:
        # It gives the values for the answers, and another node has merged the queries: there is nothing to add to.
        return previous(*layer.projections, options)
    if not rows.has_targets:
        return own
    targets_out = share_beside(rows.targets(own), targets, given, layer.settings.scale, layer.attend)
    if (mask := layer.target_mask()) is not None:
        targets_out = blended(rows.targets(previous(*layer.projections, options)), targets_out, mask)
    return rows.join(rows.references(own), targets_out)


def _fits(run: Run, rows: Rows, query: Tensor, key: Tensor) -> bool:
    """Whether the layer's rows are the call's: tiling and temporal layers fold space or time into them."""
    if query.shape[0] == key.shape[0] == rows.count:
        return True
    run.report(
        f"a self-attention has {query.shape[0]} rows where the model call has {rows.count} (another node, such as "
        "HyperTile, rearranges them); sharing stands aside in such layers."
    )
    return False
