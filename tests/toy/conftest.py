from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from devtools.server import TOY_CHECKPOINT


class Loaded(NamedTuple):
    model: Any
    clip: Any
    vae: Any


@pytest.fixture(scope="session")
def icon_model(comfyui_path: Path) -> Loaded:
    """The icon checkpoint as the host's loader returns it."""
    from comfy.sd import load_checkpoint_guess_config

    from toy import model

    model.register()
    return Loaded(*load_checkpoint_guess_config(str(TOY_CHECKPOINT))[:3])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """With pictures this small, several threads wait for one another most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
