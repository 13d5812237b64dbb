from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from devtools.comfyui.icon_model import Loaded, load_icon_model


@pytest.fixture(scope="session")
def icon_model(comfyui_path: Path) -> Loaded:
    """The icon checkpoint as the host's loader returns it."""
    return load_icon_model()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """With pictures this small, several threads wait for one another most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
