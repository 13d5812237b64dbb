"""The references of a sampling run: before each evaluation of the model it runs over each of them alone.

What its layers have is kept in a bank until the sampler goes on to another noise level. There is one pass for each
reference, noise level, model and set of patches, whatever number of chunks, areas, windows or targets reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...rows import Rows
from ...sources import Bank, BankOfChunks, Reading, Source
from ...subject_map import SubjectMap
from ..calls import IMAGES, ROW_REFERENCE, Options
from ..line_by_line import KEY as LINE_BY_LINE
from ..line_by_line import Conds
from ..masks import masks_of
from ..row.conditioning import Cond
from ..row.run import start_run
from ..wrappers import STEP_CACHES
from .conditioning import NEGATIVE, POSITIVE, active, encoded, is_negative
from .references import Reference

BANKS = "style_aligned.banks"
"""The option of an evaluation's calls: what its targets read, of type BanksOfEvaluation."""
RECORDING = "style_aligned.recording"
"""The option of a reference's own calls: the Bank that keeps what they have."""

_OF_TARGETS = (BANKS, LINE_BY_LINE, IMAGES, ROW_REFERENCE, "context_window", "ad_params")
"""Options of calls that speak of the targets' batch."""
_AROUND_CALLS = ("model_function_wrapper", "context_handler")
"""What other nodes put around model calls, made for the targets' size."""


@dataclass(frozen=True, eq=False)
class BanksOfEvaluation:
    """The banks of the references, and for each of the targets' conds (its list and identity) the reference's.

    The list too: the host gives a negative that it makes for an area the identity of that area's positive. In a class,
    as the host copies the lists and dicts of its options at every call.
    """

    banks: Sequence[tuple[Bank, float, Mapping[Hashable, Hashable]]]

    def source(self, options: Options, rows: Rows, beside: Source | None) -> Reading:
        """What a call with the host's `options` reads, whose chunks go on in order from group to group of rows."""
        conds = list(zip(options["cond_or_uncond"], options["uuids"], strict=True))
        chunks = [conds[group % len(conds)] for group in range(rows.chunks)]
        banks = [
            BankOfChunks(bank, tuple(own.get(cond) for cond in chunks), weight) for bank, weight, own in self.banks
        ]
        return Reading(banks, rows, beside)


@dataclass(eq=False)
class _Pass:
    """What passes over a reference are good for, and their result. options: those of the model's calls.

    kinds: of the reference's conds, those that it has been run with.
    """

    model: Any
    level: tuple[float, int]
    options: Any
    bank: Bank
    kinds: set[int] = field(default_factory=set)


class _ReferenceOfRun:
    """One reference in a run of the host's `guider`, with what it is conditioned with and the passes over it so far."""

    def __init__(self, given: Reference, guider: Any, seed: int | None) -> None:
        self.given = given
        self._run = start_run(guider.model_patcher, given.samples, 1, given.trajectory, 0)
        self._guider, self._seed = guider, seed
        masks = masks_of(guider.model_options.get("transformer_options", {}))
        self._style_mask = given.style_mask or masks.style
        self._subject = SubjectMap() if masks.protect_content else None
        self._conds: dict[int, tuple[list[Cond], list[Cond]]] = {}
        self._passes: list[_Pass] = []

    def conds(self, model: Any) -> tuple[list[Cond], list[Cond]]:
        """Positive and negative, as the host's `model` takes them; each model of a run has its own."""
        if id(model) not in self._conds:
            device = self._guider.model_patcher.load_device
            self._conds[id(model)] = encoded(model, self.given, self._run, self._guider, device, self._seed)
        return self._conds[id(model)]

    def bank(self, model: Any, kinds: set[int], timestep: Tensor, visit: int, options: dict[str, Any]) -> Bank:
        """What layers of `model` have of the reference for conds of these kinds, after a pass where it takes one."""
        sigma = float(timestep[0])
        level = (sigma, min(visit, self._run.visits(sigma) - 1))
        # Of another level nothing is read any more, and what is not held need not be found room for.
        self._passes = [each for each in self._passes if each.level == level]
        made = next((each for each in self._passes if each.model is model and _same(each.options, options)), None)
        if made is None:
            made = _Pass(model, level, options, Bank(self.given.keeping, self._style_mask, self._subject))
            self._passes.append(made)
        missing = kinds - made.kinds
        if missing:
            own = self.conds(model)
            conds = [own[kind] if kind in missing else None for kind in (POSITIVE, NEGATIVE)]
            x = self._run.at(sigma, self._run.clean.shape[-2:], level[1])
            run_over(model, conds, x, timestep[:1], options, made.bank)
            made.kinds |= missing
        return made.bank

    def clear(self) -> None:
        """The banks too: an exception's traceback may hold them longer than the run."""
        for each in self._passes:
            each.bank.clear()
        self._passes, self._conds = [], {}


class ReferencesOfRun:
    """All references of a run of the host's `guider`."""

    def __init__(self, guider: Any, references: Sequence[Reference], seed: int | None) -> None:
        self._guider = guider
        self._references = [_ReferenceOfRun(each, guider, seed) for each in references]
        self._visits = Counter[float]()

    def visit(self, sigma: float) -> None:
        """The sampler asks for a prediction at noise level `sigma`, for the first time or again with another latent."""
        self._visits[sigma] += 1

    def banks(self, model: Any, conds: Conds, timestep: Tensor, model_options: dict[str, Any]) -> BanksOfEvaluation:
        """What the targets of an evaluation read, after a pass over each reference where it takes one.

        conds: the targets', by the host's kind. timestep: sigma of each image.
        """
        kinds = [self._kind(number, conds) for number in range(len(conds))]
        wanted, options = {kind for kind in kinds if kind is not None}, _own_options(model_options)
        visit = max(self._visits[float(timestep[0])] - 1, 0)
        banks = []
        for reference in self._references:
            bank = reference.bank(model, wanted, timestep, visit, options)
            identities = _identities(conds, kinds, reference.conds(model), timestep[0])
            banks.append((bank, reference.given.weight, identities))
        return BanksOfEvaluation(banks)

    def clear(self) -> None:
        """Hold nothing any more."""
        for reference in self._references:
            reference.clear()

    def _kind(self, number: int, conds: Conds) -> int | None:
        """The kind of a reference's conds that those of the targets' list `number` read; None where there are none.

        Guiders of other nodes have lists in other orders, so it is found by what is in them.
        """
        these = conds[number]
        if not these:
            return None
        for kind, known in self._guider.conds.items():
            if any(cond["uuid"] == these[0]["uuid"] for cond in known[:1]) or any(cond is these[0] for cond in known):
                return NEGATIVE if is_negative(kind) else POSITIVE
        return NEGATIVE if number == 1 and len(conds) == 2 else POSITIVE


def run_over(model: Any, conds: Conds, x: Tensor, timestep: Tensor, options: dict[str, Any], bank: Bank) -> None:
    """Calls the model over a reference `x` (1, channels, ...), at noise level `timestep`, for what `bank` keeps."""
    transformer_options = {**options.get("transformer_options", {}), RECORDING: bank}
    with torch.no_grad():
        comfy.samplers.calc_cond_batch(
            model, conds, x.to(timestep.device), timestep, {**options, "transformer_options": transformer_options}
        )


def _own_options(model_options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the targets' calls without what is theirs alone, for those over a reference.

    Caches that skip steps compare a call with the one before, which is the targets'.
    """
    options = {
        name: value for name, value in model_options.get("transformer_options", {}).items() if name not in _OF_TARGETS
    }
    options["wrappers"] = {
        kind: {key: value for key, value in by_key.items() if key not in STEP_CACHES}
        for kind, by_key in options.get("wrappers", {}).items()
    }
    own = {name: value for name, value in model_options.items() if name not in _AROUND_CALLS}
    return {**own, "transformer_options": options}


def _identities(
    conds: Conds, kinds: Sequence[int | None], own: tuple[list[Cond], list[Cond]], sigma: Tensor
) -> dict[Hashable, Hashable]:
    """For each of the targets' conds (its list and identity) the identity of the reference's in the same place.

    Where the reference has fewer, its last one stands for the others: areas, hooks and lines of a set are of one style.
    """
    identities: dict[Hashable, Hashable] = {}
    for index, (these, kind) in enumerate(zip(conds, kinds, strict=True)):
        if these is None or kind is None:
            continue
        references = active(own[kind], sigma)
        for number, cond in enumerate(active(these, sigma)):
            if references:
                identities[index, cond["uuid"]] = references[min(number, len(references) - 1)]["uuid"]
    return identities


def _same(one: Any, other: Any) -> bool:
    """Whether two options of the host are the same for a model: dicts and lists by what is in them, all else itself."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one is other or (isinstance(one, str | int | float) and type(one) is type(other) and one == other)
