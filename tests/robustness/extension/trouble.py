"""Another node's mishap in the middle of a sampling run: it runs out of memory, raises, or the user cancels there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils
from comfy.patcher_extension import WrappersMP

KINDS = ["out of memory", "error", "interrupt"]
PLACES = ["sampling", "prediction", "guidance", "model call", "cross-attention", "self-attention", "callback"]
MESSAGE = "deliberate: {kind} in {place}"
WAITING = 7919
"""The total of the progress that tells a client to interrupt now."""
PATIENCE_SECONDS = 120.0

KEY = "style_aligned.tests.trouble"


class Trouble:
    """Gets into trouble of `kind` the `count`-th time that a run comes by `place`."""

    def __init__(self, kind: str, place: str, count: int) -> None:
        self.kind, self.place, self.count = kind, place, count
        self.left = count

    def attach(self, model: Any) -> Any:
        """A clone of the host's `model` that will not sample to the end."""
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, self.around_run)
        if self.place == "prediction":
            clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, self._around)
        elif self.place == "model call":
            clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, self._around)
        elif self.place == "guidance":
            clone.set_model_sampler_post_cfg_function(lambda arguments: self._pass(arguments["denoised"]))
        elif self.place == "cross-attention":
            clone.set_model_attn2_output_patch(lambda out, options: self._pass(out))
        elif self.place == "self-attention":
            clone.set_model_attn1_output_patch(lambda out, options: self._pass(out))
        return clone

    def around_run(self, executor: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """OUTER_SAMPLE wrapper: (noise, latent, sampler, sigmas, mask, callback, ...)."""
        self.left = self.count
        if self.place == "sampling":
            self._come_by()
        elif self.place == "callback" and len(arguments) > 5:
            callback = arguments[5]

            def troubled(*step: Any) -> None:
                self._come_by()
                if callback is not None:
                    callback(*step)

            arguments = (*arguments[:5], troubled, *arguments[6:])
        return executor(*arguments, **named)

    def _around(self, executor: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self._come_by()
        return executor(*arguments, **named)

    def _pass(self, value: Any) -> Any:
        self._come_by()
        return value

    def _come_by(self) -> None:
        self.left -= 1
        if self.left != 0:
            return
        message = MESSAGE.format(kind=self.kind, place=self.place)
        if self.kind == "out of memory":
            raise comfy.model_management.OOM_EXCEPTION(message)
        if self.kind == "interrupt":
            wait_for_the_interrupt()
        raise RuntimeError(message)


def wait_for_the_interrupt() -> None:
    """Tell the client that the middle of the run is now, and end as the host's own nodes do when it interrupts."""
    comfy.utils.ProgressBar(WAITING).update_absolute(1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        comfy.model_management.throw_exception_if_processing_interrupted()
        time.sleep(0.002)
