"""A ControlNet for the icon model in miniature: a hint's lines say where the shape is.

What is trained is a small network of the hint alone, whatever the noise and the words. The host's own nodes load and
run it as a ControlNet of the icon UNet: `host_state` lays it into the host's network, whose blocks do nothing else but
hand the hint on from size to size. So the weights to keep are few, and the checkpoint for the host is made when wanted.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .architecture import MODEL_CHANNELS, UNET

WEIGHTS = Path(__file__).with_name("control.safetensors")
CHECKPOINT_NAME = "icons_control.safetensors"
WIDTHS = (1, 1, 1, 2, 2, 4)
"""Of the residuals, in MODEL_CHANNELS: one for each of the UNet's input blocks."""
FEATURES = 256

State = dict[str, Tensor]


class Control(nn.Module):
    """Residuals of the UNet's skip connections, and of its middle, from hints `(rows, 1, height, width)` of 0..1."""

    def __init__(self) -> None:
        super().__init__()
        small, middle, large = (MODEL_CHANNELS * width for width in (1, 2, 4))
        self.see = nn.Conv2d(1, FEATURES, 2)
        self.read = nn.Conv2d(FEATURES, small, 3, padding=1)
        self.halve = nn.ModuleDict(
            {name: nn.Conv2d(width, width, 3, 2, padding=1) for name, width in (("2", small), ("4", middle))}
        )
        self.widen = nn.ModuleDict({"3": nn.Conv2d(small, middle, 1), "5": nn.Conv2d(middle, large, 1)})
        self.out = nn.ModuleList(_nothing(MODEL_CHANNELS * width) for width in WIDTHS)
        self.out_middle = _nothing(large)

    def forward(self, hint: Tensor) -> dict[str, list[Tensor]]:
        """As the host's UNet takes them: lists that it takes from the end."""
        features = self.read(nn.functional.silu(self.see(nn.functional.pad(hint, (1, 0, 1, 0)))))
        residuals = []
        for block, out in enumerate(self.out):
            for step in (self.halve, self.widen):
                if str(block) in step:
                    features = step[str(block)](features)
            residuals.append(out(features))
        return {"output": residuals, "middle": [self.out_middle(features)]}


def _nothing(channels: int) -> nn.Conv2d:
    """A layer that begins without effect, as in a ControlNet (Zhang et al. 2023, section 3.1)."""
    layer = nn.Conv2d(channels, channels, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def load(path: Path = WEIGHTS) -> Control:
    control = Control()
    control.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return control.requires_grad_(False).eval()


def host_state(control: Control) -> State:
    """The weights of the host's ControlNet that computes what `control` does, from a hint eight times as large."""
    import comfy.cldm.cldm

    settings = {name: value for name, value in UNET.items() if name != "out_channels"}
    network = comfy.cldm.cldm.ControlNet(**settings, hint_channels=3, device="meta", dtype=torch.float32)
    state = {name: torch.zeros(weight.shape) for name, weight in network.state_dict().items()}
    _lay_in_hint(state, control)
    layers = {f"zero_convs.{block}.0": layer for block, layer in enumerate(control.out)}
    layers |= {f"input_blocks.{block}.0.op": layer for block, layer in control.halve.items()}
    layers |= {f"input_blocks.{block}.0.skip_connection": layer for block, layer in control.widen.items()}
    for name, layer in {**layers, "middle_block_out.0": control.out_middle}.items():
        state |= {f"{name}.weight": layer.weight.detach(), f"{name}.bias": layer.bias.detach()}
    return state


def _lay_in_hint(state: State, control: Control) -> None:
    """`see` and `read` as the last two of the host's hint layers; the others hand the hint on, and halve it thrice.

    A value passes through them beside its negative, since silu(x) - silu(-x) = x. The last halving meets each value
    twice, as the neighbour before and as the one itself, which are the two that `see` takes.
    """
    state["input_hint_block.0.weight"][:2, 0, 1, 1] = torch.tensor([1.0, -1.0])
    for layer in range(2, 12, 2):
        state[f"input_hint_block.{layer}.weight"][:2, :2, 1, 1] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    see = control.see.weight.detach()
    state["input_hint_block.12.weight"][:, :2, :2, :2] = torch.cat([see, -see], dim=1)
    state["input_hint_block.12.bias"] = control.see.bias.detach()
    state["input_hint_block.14.weight"] = control.read.weight.detach()
    state["input_hint_block.14.bias"] = control.read.bias.detach()


def write_checkpoint(folder: Path) -> Path:
    """The ControlNet as a file for the host's loader, in half precision; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT_NAME
    save_file({name: weight.half().contiguous() for name, weight in host_state(load()).items()}, path)
    return path
