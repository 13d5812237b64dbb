"""Limits of numbers that come over a connection: the host checks those that are typed into a node, and no others."""

from __future__ import annotations

from comfy_api.latest import io


def require_limits(node: type[io.ComfyNode], **values: float) -> None:
    """Raises ValueError where one of `values`, by input id, is outside the limits that `node`'s schema gives it."""
    for number in node.define_schema().inputs:
        if not isinstance(number, io.Int.Input | io.Float.Input) or number.id not in values:
            continue
        value = values[number.id]
        if not number.min <= value <= number.max:  # NaN is within no limits
            raise ValueError(f"{number.id} is {value:g}; give a number from {number.min:g} to {number.max:g}.")
