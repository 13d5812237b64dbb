"""Half precision where it is the faster, for training the icon model and for drawing many sets with it."""

import torch


def half_precision(device: torch.device | str = "cpu") -> torch.autocast:
    """Layers in bfloat16 on GPUs and on CPUs with matrix tiles (AMX); others compute as fast, or faster, without."""
    kind = torch.device(device).type
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer than some hosts' torch
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or capabilities.get("amx_bf16", False))
