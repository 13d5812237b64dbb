from pathlib import Path
from typing import Any, NamedTuple

import pytest

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
