"""Learning rates and decay by layer."""

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from marnet.encoders.visual import make_backbone
from marnet.model import MARNet
from marnet.training.parameter_groups import Groups, parameter_groups, parameters_by_layer


def model(name: str) -> MARNet:
    backbone = make_backbone(name, image_size=32).module
    return MARNet(backbone, 3, visual_width=backbone(torch.zeros(2, 3, 32, 32)).shape[1])


def rate_of(groups: Groups, parameter: nn.Parameter) -> float:
    rates = [group["lr"] for group in groups if any(parameter is each for each in group["params"])]
    assert len(rates) == 1  # in exactly one group
    return float(rates[0])


def sizes(parameters: Iterable[nn.Parameter]) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in parameters]


def test_without_layer_decay_there_is_one_rate_and_norms_are_not_decayed() -> None:
    decayed, kept = parameter_groups(model("timm:test_resnet"), lr=0.5, weight_decay=0.1)
    assert (decayed["lr"], decayed["weight_decay"], kept["lr"], kept["weight_decay"]) == (0.5, 0.1, 0.5, 0.0)
    assert all(len(size) >= 2 for size in sizes(decayed["params"]))
    assert all(len(size) < 2 for size in sizes(kept["params"]))


@pytest.mark.parametrize(
    "name", ["timm:test_vit", "timm:test_resnet", "torchvision:resnet18", "torchvision:squeezenet1_1"]
)
def test_every_weight_has_one_rate_that_grows_with_depth(name: str) -> None:
    net = model(name)
    groups = parameter_groups(net, lr=1.0, weight_decay=0.1, layer_decay=0.5)
    rates = [rate_of(groups, parameter) for parameter in net.backbone.parameters() if parameter.ndim == 4]
    if name != "timm:test_vit":  # of which only the patches are a convolution
        assert rates == sorted(rates)
        assert len(set(rates)) > 4
    assert rates[0] < 0.1
    assert {rate_of(groups, parameter) for parameter in net.heads.parameters()} == {1.0}
    assert max(rate_of(groups, parameter) for parameter in net.backbone.parameters()) == 1.0


def test_layers_of_any_module_follow_the_order_of_its_parts() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 1, 7))
            self.stem = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)
            self.stages = nn.Sequential(nn.Sequential(Block(4), Block(4)), nn.ReLU(), Block(4))

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.a = nn.Conv2d(width, width, 1, bias=False)
            self.b = nn.Sequential(nn.Conv2d(width, width, 1, bias=False))

    layers = [sizes(layer) for layer in parameters_by_layer(Net())]
    block = [(4, 4, 1, 1), (4, 4, 1, 1)]
    assert layers == [[(1, 1, 7), (4, 3, 1, 1), (4,), (4,), (4,)], block, block, block]


def test_shared_weights_are_counted_once() -> None:
    layer = nn.Linear(2, 2)
    assert [len(each) for each in parameters_by_layer(nn.Sequential(layer, layer))] == [2]


def test_frozen_weights_are_left_out() -> None:
    net = model("timm:test_vit")
    net.freeze_backbone()
    groups = parameter_groups(net, lr=1.0, weight_decay=0.1, layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == 2  # the head
