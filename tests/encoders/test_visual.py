"""Backbones by name: suggestions, pretrained weights without a network, and the width read from the module."""

import re
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from marnet.encoders.visual import FAMILIES, IMAGENET_MEAN, IMAGENET_STD, feature_width, make_backbone
from marnet.errors import EncoderError

NAME = "test_resnet"


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Stands for weights that somebody trained: a whole classifier's, unlike any that a seed of the tests gives."""
    torch.manual_seed(12345)
    model = timm.create_model(NAME)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return model.state_dict()


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def same_weights(module: nn.Module, state: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def refusal(name: str, *, pretrained: bool = False, weights: Path | None = None) -> str:
    with pytest.raises(EncoderError) as refused:
        make_backbone(name, image_size=32, pretrained=pretrained, weights=weights)
    return str(refused.value)


def test_a_backbone_comes_with_the_normalisation_that_it_needs() -> None:
    backbone = make_backbone("timm:resnet10t", image_size=32)
    assert backbone.mean == IMAGENET_MEAN
    assert backbone.std == IMAGENET_STD
    assert make_backbone(f"timm:{NAME}").mean == (0.5, 0.5, 0.5)
    assert backbone.module(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


def test_unknown_names_get_suggestions() -> None:
    sentence = refusal("timm:resnet81")
    assert sentence.startswith(f"timm {timm.__version__} has no architecture 'resnet81'. Did you mean 'resnet18'")
    assert sentence.endswith("timm.list_models() lists all of them.")
    needed = f"is not known. Expected FAMILY:NAME with a family of {', '.join(FAMILIES)}, such as timm:resnet18."
    hint = "Did you mean 'timm:resnet18' or 'torchvision:resnet18'?"
    assert refusal("resnet18") == f"Backbone 'resnet18' {needed} {hint}"
    assert refusal("resnet18.a1_in1k") == f"Backbone 'resnet18.a1_in1k' {needed} {hint}"
    assert refusal("tim:resnet18") == f"Backbone 'tim:resnet18' {needed} Did you mean 'timm'?"
    assert refusal("qqqq") == f"Backbone 'qqqq' {needed}"
    assert "has no architecture ''" in refusal("timm:")


def test_an_unknown_version_of_weights_gets_suggestions() -> None:
    sentence = refusal("timm:resnet18.a1_in2k")
    assert sentence.startswith(
        f"timm {timm.__version__} has no weights 'resnet18.a1_in2k'. Did you mean 'resnet18.a1_in1k'"
    )
    assert "Known: resnet18.a1_in1k, " in sentence


def test_a_name_may_carry_its_version_of_weights() -> None:
    assert make_backbone("timm:test_vit.r160_in1k", image_size=32).module.num_features == 64


def test_local_weights_with_a_head(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "whole.safetensors"
    save_file(published, path)
    assert same_weights(make_backbone(f"timm:{NAME}", weights=path).module, published)
    assert same_weights(make_backbone(f"timm:{NAME}", weights=str(path), pretrained=True).module, published)


def test_local_weights_without_a_head(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "headless.safetensors"
    save_file({name: value for name, value in published.items() if not name.startswith("fc.")}, path)
    module = make_backbone(f"timm:{NAME}", weights=path).module
    assert same_weights(module, published)
    assert module(torch.zeros(2, 3, 32, 32)).ndim == 2


def test_local_weights_of_pytorch(published: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "plain.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in published.items()}}, tmp_path / "parallel.pth")
    for name in ("plain.pth", "parallel.pth"):
        assert same_weights(make_backbone(f"timm:{NAME}", weights=tmp_path / name).module, published)


def test_local_weights_never_touch_the_network(published: dict[str, Tensor], tmp_path: Path, hub_cache: Path) -> None:
    path = tmp_path / "whole.safetensors"
    save_file(published, path)
    assert same_weights(make_backbone(f"timm:{NAME}", weights=path).module, published)


def test_weights_files_that_do_not_fit_are_refused(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "missing.safetensors"
    expected = f"The weights file {path} does not exist. Check `backbone.weights`."
    assert refusal(f"timm:{NAME}", weights=path) == expected

    path = tmp_path / "other.safetensors"
    save_file(published, path)
    sentence = refusal("timm:resnet10t", weights=path)
    assert sentence.startswith(f"The weights file {path} does not fit timm:resnet10t: ")
    assert "size mismatch for conv1.0.weight" in sentence
    assert len(sentence) < 800

    path = tmp_path / "short.safetensors"
    path.write_bytes((tmp_path / "other.safetensors").read_bytes()[:500])
    assert refusal(f"timm:{NAME}", weights=path).startswith(f"The weights file {path} does not fit timm:{NAME}: ")


def test_weights_that_would_leave_tensors_at_random_are_refused(published: dict[str, Tensor], tmp_path: Path) -> None:
    """timm itself would carry on with random weights and say nothing."""
    path = tmp_path / "strange.safetensors"
    save_file({"embedding": torch.zeros(3)}, path)
    sentence = refusal(f"timm:{NAME}", weights=path)
    assert re.fullmatch(
        rf"The weights file {re.escape(str(path))} does not fit timm:{NAME}: it has no values for at least \d+ of its "
        r"\d+ tensors, such as conv1\.0\.weight, .*\. Use a file with weights of this architecture\.",
        sentence,
    )

    path = tmp_path / "part.safetensors"
    save_file({name: value for name, value in published.items() if not name.startswith("layer2.")}, path)
    assert "such as layer2.0.conv1.weight" in refusal(f"timm:{NAME}", weights=path)


def test_loading_weights_uses_no_more_random_numbers_than_building(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    """Every method must start alike under one seed, whatever the check of the weights does inside."""
    path = tmp_path / "whole.safetensors"
    save_file(published, path)
    torch.manual_seed(0)
    make_backbone(f"timm:{NAME}", weights=path)
    after_loading = torch.rand(3)
    torch.manual_seed(0)
    make_backbone(f"timm:{NAME}")
    assert torch.equal(torch.rand(3), after_loading)


def test_pickled_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Payload()}, tmp_path / "weights.pth")
    assert "does not fit" in refusal(f"timm:{NAME}", weights=tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_pretrained_comes_from_the_local_cache(published: dict[str, Tensor], hub_cache: Path) -> None:
    repository = timm.get_pretrained_cfg_value(NAME, "hf_hub_id")
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = hub_cache / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    save_file(published, folder / "snapshots" / revision / "model.safetensors")
    assert same_weights(make_backbone(f"timm:{NAME}", pretrained=True).module, published)
    assert not same_weights(make_backbone(f"timm:{NAME}").module, published)


def test_offline_says_what_is_missing_and_how_to_go_on(hub_cache: Path) -> None:
    start = time.monotonic()
    sentence = refusal(f"timm:{NAME}", pretrained=True)
    assert time.monotonic() - start < 5
    assert sentence == (
        f"The pretrained weights of timm:{NAME} (timm/test_resnet.r160_in1k) are not in the local cache {hub_cache} "
        f"and could not be downloaded (LocalEntryNotFoundError). Run once with a network, copy that cache from a "
        f"machine that has it, name a local file (`backbone.weights=FILE`), or leave out `backbone.pretrained` to "
        f"start from random weights."
    )


def test_architectures_without_published_weights_say_so() -> None:
    assert refusal("timm:resnetv2_152", pretrained=True) == (
        f"timm {timm.__version__} publishes no weights for 'resnetv2_152'. Leave out `backbone.pretrained`, choose "
        f"another name (timm.list_models(pretrained=True) lists them), or name a local file (`backbone.weights=FILE`)."
    )


@pytest.mark.parametrize("size", [64, 48])
def test_a_vision_transformer_is_built_for_its_image_size(size: int) -> None:
    module = make_backbone("timm:test_vit", image_size=size).module
    assert module(torch.zeros(2, 3, size, size)).shape == (2, 64)
    assert module.patch_embed.num_patches == (size // 16) ** 2
    assert feature_width(module, size) == 64


def test_a_vision_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = timm.create_model("test_vit")  # 160 pixels
    save_file(published.state_dict(), tmp_path / "vit.safetensors")
    module = make_backbone("timm:test_vit", image_size=64, weights=tmp_path / "vit.safetensors").module
    state = published.state_dict()
    same = [name for name, value in module.state_dict().items() if value.shape == state[name].shape]
    assert set(module.state_dict()) - set(same) == {"pos_embed"}
    assert all(torch.equal(module.state_dict()[name], state[name]) for name in same)


class Mixed(nn.Module):
    """Batch norm and dropout, parts of it frozen on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.frozen_norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.drop(self.frozen_norm(self.norm(self.conv(images)))).mean((2, 3))


def test_reading_the_width_leaves_the_module_as_it_was() -> None:
    torch.manual_seed(0)
    module = Mixed().train()
    module.frozen_norm.eval()
    modes = {name: part.training for name, part in module.named_modules()}
    state = {name: value.clone() for name, value in module.state_dict().items()}
    before = torch.get_rng_state()
    assert feature_width(module, 16) == 5
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert modes["frozen_norm"] is False
    assert modes["norm"] is True
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_reading_the_width_follows_the_modules_precision() -> None:
    assert feature_width(Mixed().double(), 16) == 5
    assert feature_width(nn.Flatten(), 4) == 48  # nothing to learn at all


class Broken(nn.Module):
    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_modules_that_are_no_backbone_are_refused() -> None:
    given = (
        "for an image batch of shape (2, 3, 8, 8). Expected pooled features (2, D). "
        "Remove its head or pool its feature map."
    )
    for answer, found in [
        (torch.zeros(2, 5, 4, 4), "(2, 5, 4, 4)"),
        (torch.zeros(2), "(2,)"),
        ((1, 2), "tuple"),
        (None, "NoneType"),
    ]:
        with pytest.raises(EncoderError) as refused:
            feature_width(Broken(answer), 8)
        assert str(refused.value) == f"The backbone Broken returned {found} {given}"
    module = Broken(RuntimeError("expects 4 channels"))
    with pytest.raises(EncoderError) as refused:
        feature_width(module, 8)
    assert str(refused.value) == (
        "The backbone Broken failed on an image batch of shape (2, 3, 8, 8): expects 4 channels. "
        "Expected a module that maps such a batch to features (2, D)."
    )
    assert module.training
    assert module.norm.training  # also after a failure
