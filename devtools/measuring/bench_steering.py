"""What it costs to see and to steer what is taken: calls that are looked at, and calls that protect content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from devtools.measuring.timing import Measured

WORDS = (1, 2)  # places of the subject's in the prompt


@dataclass(frozen=True)
class SteeredCalls:
    """Calls of an SD 1.5 UNet that shares, with cond and uncond. side: of its latents."""

    model: Any
    device: torch.device
    images: int
    side: int

    def shared(self) -> Tensor:
        return self._call(self._run())

    def looked_at(self) -> Tensor:
        from style_aligned.shared_attention.attention_map.recording import AttentionRecord
        from style_aligned.shared_attention.host.recorded_attention import Watch

        run = self._run()
        run.watch = Watch(AttentionRecord(1), self.images, [1.0], lambda _: True)
        return self._call(run)

    def protected(self) -> Tensor:
        """As in every evaluation but a run's first, in which nothing is known yet."""
        from style_aligned.shared_attention.host.masks import KEY, Masks
        from style_aligned.shared_attention.host.subject import KEY as SUBJECT_WORDS
        from style_aligned.shared_attention.subject_map import SIDE, SubjectMap
        from style_aligned.shared_attention.subject_words import Words

        run = self._run()
        run.subject = SubjectMap()
        run.subject.at(2.0)
        run.subject.add(torch.linspace(0, 1, SIDE**2, device="cpu"), (1, SIDE, SIDE))
        return self._call(run, {KEY: Masks(protect_content=1.0), SUBJECT_WORDS: Words({"it": WORDS}, 77)})

    def _run(self) -> Any:
        from style_aligned.shared_attention.host.calls import Run

        return Run(self.images, size=(self.side, self.side))

    def _call(self, run: Any, further: dict[str, Any] | None = None) -> Tensor:
        from comfy.patcher_extension import WrappersMP
        from style_aligned.shared_attention.host.calls import KEY

        rows, dtype = 2 * self.images, self.model.model.get_dtype()
        wrappers = {WrappersMP.APPLY_MODEL: dict(self.model.wrappers.get(WrappersMP.APPLY_MODEL, {}))}
        options = {"cond_or_uncond": [1, 0], "wrappers": wrappers, KEY: run, **(further or {})}
        out: Tensor = self.model.model.apply_model(
            torch.randn(rows, 4, self.side, self.side, device=self.device),
            torch.ones(rows, device=self.device),
            c_crossattn=torch.randn(rows, 77, 768, device=self.device).to(dtype),
            transformer_options=options,
        )
        return out


def steering_variants(calls: SteeredCalls) -> list[Measured]:
    variants = {
        "shared": calls.shared,
        "shared, looked at": calls.looked_at,
        "shared, content protected": calls.protected,
    }
    return [Measured(name, run, _flops(run)) for name, run in variants.items()]


def _flops(run: Callable[[], object]) -> int:
    """Of a real call: the noise level is read from it, which there is none of on the meta device."""

    def of_attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
        return int(sdpa_flop_count(query, key, value))

    of_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: of_attention}
    with FlopCounterMode(display=False, custom_mapping=of_cpu) as counter:
        run()
    return counter.get_total_flops()
