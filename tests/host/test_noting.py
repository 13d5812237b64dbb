"""Noting the layer of a transformer that is running, on the instances of its modules and for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from style_aligned.shared_attention.host.families.noting import current_layer, noting_layers
from style_aligned.shared_attention.host.families.transformer import (
    Image,
    Layer,
    LayerKey,
    Transformer,
    from_end,
    numbered,
)
from style_aligned.shared_attention.layers import LayerSelection
from torch import Tensor, nn

ALL = LayerSelection.parse("all")
X = torch.zeros(2, 4, 6, 10)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Layer | None] = []

    def forward(self, x: Tensor, pe: Tensor, mask: Tensor | None = None) -> Tensor:
        self.look()
        if mask is not None:
            raise RuntimeError("a block that fails")
        return x + 1

    @torch.compiler.disable
    def look(self) -> None:
        self.seen.append(current_layer.get())


class Network(nn.Module):
    patch_size = 2

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, pe=x[:1], mask=mask)
        return x


class Family(Transformer):
    name = "Test"
    classes = ("Network",)

    def __init__(self) -> None:
        self.arguments: list[Mapping[str, Any]] = []

    def modules(self, unet: Any) -> Iterator[tuple[LayerKey, Any]]:
        return numbered("double", unet.blocks)

    def layer(self, unet: Any, key: LayerKey, image: Image, arguments: Mapping[str, Any]) -> Layer:
        self.arguments.append(arguments)
        return Layer(key, from_end(1, image), None)


def untouched(network: Network) -> bool:
    return all("forward" not in module.__dict__ for module in network.modules() if isinstance(module, Block))


def test_each_module_runs_with_its_layer_and_nothing_else_does():
    network, family = Network(), Family()
    with noting_layers(family, network, X, ALL):
        out = network(X)
        assert current_layer.get() is None
    assert torch.equal(out, X + 3)
    assert [block.seen[0].key for block in network.blocks] == family.layers(network)
    assert network.blocks[0].seen[0].image(20) == slice(4, 19)  # 3 x 5 tokens, one behind them
    assert untouched(network)


def test_arguments_are_known_by_name_however_they_are_given():
    network, family = Network(1), Family()
    with noting_layers(family, network, X, ALL):
        network.blocks[0](1, 2)
        network.blocks[0](1, pe=2)
    assert family.arguments == [{"x": 1, "pe": 2}] * 2


def test_blocks_that_are_not_selected_are_left_alone():
    network = Network()
    with noting_layers(Family(), network, X, {("double", 1)}):
        assert "forward" not in network.blocks[0].__dict__
        network(X)
    assert [layer is not None for block in network.blocks for layer in block.seen] == [False, True, False]


def test_an_exception_leaves_nothing_behind():
    network = Network()
    with pytest.raises(RuntimeError, match="a block that fails"), noting_layers(Family(), network, X, ALL):
        network(X, mask=X)
    assert untouched(network)
    assert current_layer.get() is None


def test_anothers_forward_on_an_instance_runs_and_comes_back():
    network, family = Network(1), Family()
    block = network.blocks[0]

    def doubled(*args: Any, **kwargs: Any) -> Tensor:
        return 2 * Block.forward(block, *args, **kwargs)

    block.forward = doubled
    with noting_layers(family, network, X, ALL):
        assert torch.equal(network(X), 2 * (X + 1))
    assert block.__dict__["forward"] is doubled
    assert block.seen[0].key == ("double", 0)
    assert set(family.arguments[0]) == {"x", "pe", "mask"}


def test_calls_within_calls_have_their_own_image():
    """As where a node runs the model from within a call of it."""
    network = Network(1)
    with noting_layers(Family(), network, X, ALL):
        with noting_layers(Family(), network, torch.zeros(1, 4, 2, 2), ALL):
            network(X)
        network(X)
    assert [layer.image(99) for layer in network.blocks[0].seen] == [slice(97, 98), slice(83, 98)]
    assert untouched(network)


@pytest.mark.parametrize("compiled", ["whole", "blocks"])
def test_compiled_models_are_noted_and_compiled_once(compiled: str):
    """What is noted differs from call to call; the graphs do not."""
    torch.compiler.reset()
    network, plain = Network(2), Network(2)
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    unet: Any = network
    if compiled == "whole":
        unet = torch.compile(network, backend=backend)
    else:
        for number, block in enumerate(network.blocks):
            network.blocks[number] = torch.compile(block, backend=backend)
    counts = []
    for _ in range(3):
        with noting_layers(Family(), unet, X, ALL):
            assert torch.equal(unet(X), plain(X))
        counts.append(len(graphs))
    blocks = [getattr(block, "_orig_mod", block) for block in network.blocks]
    assert [block.seen[0].key for block in blocks] == [("double", 0), ("double", 1)]
    assert untouched(network)
    assert counts[0] == counts[-1] > 0
