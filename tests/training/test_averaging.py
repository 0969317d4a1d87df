"""Averaged weights against a loop by hand, and the parameters that are clipped together."""

import torch
from torch import nn

from marnet.model import MARNet
from marnet.training.averaging import AveragedWeights
from marnet.training.parameter_groups import clipped_together


def test_the_average_is_that_of_a_loop() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = AveragedWeights(model, steps=100, share=0.1)  # decay 0.9
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(0)
    for step in range(30):
        model(torch.randn(4, 3))
        with torch.no_grad():
            model[0].weight.add_(torch.randn(2, 3))
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
            else:
                expected[name] = tensor.clone()
    found = average.weights()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
    model.eval()
    images = torch.randn(5, 3)
    before = model(images)
    replaced = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    replaced.load_state_dict(found)
    torch.testing.assert_close(average.predict(images), replaced(images))
    assert torch.equal(model(images), before)


def test_it_goes_on_from_its_state() -> None:
    model = nn.Linear(2, 2)
    first, second = (AveragedWeights(model, steps=10, share=0.5) for _ in range(2))
    for value in (1.0, -2.0):
        nn.init.constant_(model.weight, value)
        first.update()
    second.load_state_dict(first.state_dict())
    nn.init.constant_(model.weight, 7.0)
    first.update()
    second.update()
    assert all(torch.equal(first.weights()[name], second.weights()[name]) for name in first.weights())


def test_a_frozen_backbone_is_not_averaged() -> None:
    model = MARNet(nn.Linear(4, 3), 2, visual_width=3)
    assert "backbone.weight" in AveragedWeights(model, steps=10, share=0.1).tensors
    model.freeze_backbone()
    average = AveragedWeights(model, steps=10, share=0.1)
    assert "backbone.weight" not in average.tensors
    assert torch.equal(average.weights()["backbone.weight"], model.backbone.weight)


def test_the_head_on_x_v_is_clipped_by_itself() -> None:
    model = MARNet(nn.Linear(4, 3), 2, visual_width=3)
    backbone, head = clipped_together(model)
    assert {id(p) for p in backbone} == {id(p) for p in model.backbone.parameters()}
    assert {id(p) for p in head} == {id(p) for p in model.heads["visual"].parameters()}
