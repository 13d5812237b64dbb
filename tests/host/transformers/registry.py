"""Every variant that the tests know, by name; which of them this host has."""

from __future__ import annotations

from types import ModuleType

import absolute_variants
import flux_variants
import hunyuan_variants
import image_alone_variants
import image_first_variants
import lumina_variants
import omnigen_variants
import qwen_variants
import single_stream_variants
from variant import Variant

FILES: list[ModuleType] = [
    flux_variants,
    qwen_variants,
    lumina_variants,
    single_stream_variants,
    absolute_variants,
    hunyuan_variants,
    omnigen_variants,
    image_first_variants,
    image_alone_variants,
]
VARIANTS: dict[str, Variant] = {variant.name: variant for file in FILES for variant in file.VARIANTS}
SUPPORTED: dict[str, Variant] = {name: variant for name, variant in VARIANTS.items() if variant.supported}
