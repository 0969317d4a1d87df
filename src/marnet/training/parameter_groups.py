"""Groups of parameters for the optimiser: the learning rate and the decay of each weight."""

from typing import Any, Protocol, runtime_checkable

from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import nn

from marnet.model import MARNet
from marnet.outputs import VISUAL

Groups = list[dict[str, Any]]

_LISTS = (nn.Sequential, nn.ModuleList)


@runtime_checkable
class _KnowsItsLayers(Protocol):
    """A model that says which of its parameters belong to which layer, as timm's models do."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]: ...


def parameter_groups(model: MARNet, *, lr: float, weight_decay: float, layer_decay: float = 1.0) -> Groups:
    """Return groups of the weights that learn, each with its `lr` and `weight_decay`.

    Biases, norms, scales and other parameters of fewer than two dimensions are not decayed.

    Args:
        model: the model to train.
        lr: learning rate of everything behind the backbone and of the backbone's last layer.
        weight_decay: decay of all parameters of two or more dimensions.
        layer_decay: learning rate of each layer of the backbone divided by that of the layer after it (as in BEiT, Bao
            et al., 2022); 1 is none. timm's models know their layers; for other models the order of modules decides.
    """
    if layer_decay == 1.0:
        return _decayed_and_not(list(model.ordered_parameters()), lr, weight_decay)
    inside = {id(parameter) for parameter in model.backbone.parameters()}
    groups = _decayed_and_not([p for p in model.ordered_parameters() if id(p) not in inside], lr, weight_decay)
    if isinstance(model.backbone, _KnowsItsLayers):
        for group in param_groups_layer_decay(model.backbone, weight_decay, layer_decay=layer_decay):
            groups.append(
                {"params": group["params"], "lr": lr * group["lr_scale"], "weight_decay": group["weight_decay"]}
            )
        return groups
    layers = parameters_by_layer(model.backbone)
    for depth, parameters in enumerate(layers):
        groups += _decayed_and_not(parameters, lr * layer_decay ** (len(layers) - 1 - depth), weight_decay)
    return groups


def clipped_together(model: MARNet) -> list[list[nn.Parameter]]:
    """Return the parameters whose gradients are clipped together: of the backbone, of the head on x_v, and of the rest.

    The head on x_v then learns as it does without text, however large the gradients of other parts are.
    """
    backbone, head = list(model.backbone.parameters()), list(model.heads[VISUAL].parameters())
    apart = {id(parameter) for parameter in (*backbone, *head)}
    rest = [parameter for parameter in model.ordered_parameters() if id(parameter) not in apart]
    return [parameters for parameters in (backbone, head, rest) if parameters]


def parameters_by_layer(module: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each layer of any module, the first layer first.

    A layer is an element of a `Sequential` or `ModuleList`, or else a module without parts. A module that only has
    parameters of fewer than two dimensions, such as a norm, belongs to the layer before it. Parameters of no layer,
    such as a class token, belong to the first.
    """
    layers: list[list[nn.Parameter]] = []
    seen: set[int] = set()
    for layer in _layers(module, in_list=False):
        new = [parameter for parameter in layer.parameters() if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in new}
        if layers and all(parameter.ndim < 2 for parameter in new):
            layers[-1] += new
        elif new:
            layers.append(new)
    rest = [parameter for parameter in module.parameters() if id(parameter) not in seen]
    return [rest + layers[0], *layers[1:]] if layers else [rest]


def _layers(module: nn.Module, *, in_list: bool) -> list[nn.Module]:
    children = list(module.children())
    is_list = type(module) in _LISTS  # not a subclass: those are blocks that happen to run in a row
    if not children or (in_list and not is_list):
        return [module]
    return [layer for child in children for layer in _layers(child, in_list=is_list)]


def _decayed_and_not(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> Groups:
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
    ]
