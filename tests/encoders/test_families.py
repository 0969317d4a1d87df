"""One contract for every backbone family; training with them; what is said when one cannot be had."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

import marnet
from marnet import Backbone, MARNet, fit, make_config
from marnet.building import build_model
from marnet.cli.app import main
from marnet.encoders.hf_backbones import HFBackbone
from marnet.encoders.torchvision_backbones import _ARCHITECTURES
from marnet.encoders.visual import (
    FAMILIES,
    adapt_backbone,
    feature_width,
    list_backbones,
    make_backbone,
    rebuild_backbone,
    save_architecture,
)
from marnet.errors import EncoderError

ARCHITECTURES = {
    "timm:test_resnet": 32,  # ResNet
    "timm:repvgg_a0": 32,
    "timm:mobilenetv3_small_050": 32,
    "timm:test_efficientnet": 32,
    "timm:test_convnext": 32,
    "timm:test_vit": 32,
    "timm:deit_tiny_patch16_224": 32,
    "timm:mixer_s32_224": 64,
    "timm:test_byobnet": 32,
    "timm:test_mambaout": 32,
    "timm:lcnet_035": 32,
    "torchvision:resnet18": 32,
    "torchvision:squeezenet1_1": 32,
    "torchvision:shufflenet_v2_x0_5": 32,
    "torchvision:mobilenet_v3_small": 32,
    "module:tiny_nets.make_net": 32,
    "hf:vit": 32,
    "hf:swin": 32,
    "hf:resnet": 32,
    "hf:clip": 32,
}
SLOW = {
    "torchvision:regnet_x_400mf": 32,
    "torchvision:mnasnet0_5": 32,
    "timm:poolformer_s12": 32,
    "timm:test_maxvit": 64,
    "timm:wide_resnet50_2": 32,
    "timm:convnextv2_atto": 32,
    "timm:swin_tiny_patch4_window7_224": 64,
    "timm:eva02_tiny_patch14_224": 28,
    "timm:test_coatnet": 64,
    "timm:test_nfnet": 32,
    "timm:regnetx_002": 32,
    "timm:densenet121": 32,
    "timm:xcit_nano_12_p16_224": 32,
    "timm:cait_xxs24_224": 32,
    "timm:mobilevit_xxs": 64,
    "timm:edgenext_xx_small": 64,
    "timm:resmlp_12_224": 32,
    "timm:fastvit_t8": 64,
    "torchvision:vit_b_32": 64,
    "torchvision:convnext_tiny": 32,
    "torchvision:densenet121": 32,
    "torchvision:efficientnet_b0": 32,
    "torchvision:googlenet": 64,
    "torchvision:swin_t": 64,
    "torchvision:inception_v3": 96,
    "torchvision:vgg11": 32,
    "hf:convnext": 32,
    "hf:dinov2": 32,
}
every_architecture = pytest.mark.parametrize(
    ("name", "size"),
    [*ARCHITECTURES.items(), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW.items())],
)


@pytest.fixture(scope="session")
def hf_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small randomly initialised model of each kind, as `save_pretrained` leaves it."""
    transformers = pytest.importorskip("transformers")
    tokens = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    }
    swin = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    stages: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1]}
    dinov2 = {key: value for key, value in tokens.items() if key != "intermediate_size"}
    configs = {
        "vit": transformers.ViTConfig(**tokens),
        "clip": transformers.CLIPVisionConfig(**tokens),
        "dinov2": transformers.Dinov2Config(**dinov2),
        "swin": transformers.SwinConfig(**swin),
        "resnet": transformers.ResNetConfig(embedding_size=8, layer_type="basic", **stages),
        "convnext": transformers.ConvNextConfig(num_stages=2, **stages),
    }
    folder = tmp_path_factory.mktemp("hf")
    processor = transformers.ViTImageProcessor(
        size={"height": 40, "width": 40}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=2
    )
    transformers.utils.logging.disable_progress_bar()
    for name, config in configs.items():
        transformers.AutoModel.from_config(config).save_pretrained(folder / name)
        if name != "convnext":
            processor.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="session", autouse=True)
def tiny_nets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package of a user's own, importable as `tiny_nets`."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "tiny_nets.py").write_text(
        "import marnet\n"
        "from torch import nn\n"
        "def make_net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "def make_backbone():\n"
        "    return marnet.Backbone(make_net(), mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), image_size=40)\n"
        "def needs_width(width):\n"
        "    return nn.Linear(width, 2)\n"
        "def make_list():\n"
        "    return []\n"
        "net = make_net()\n"
        "number = 3\n"
    )
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("tiny_nets", None)


def place(name: str, request: pytest.FixtureRequest) -> str:
    """The name, with the folder of a model made here."""
    family, _, rest = name.partition(":")
    return f"hf:{request.getfixturevalue('hf_models') / rest}" if family == "hf" else name


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(EncoderError) as caught:
        make_backbone(name, **options)
    return str(caught.value)


@every_architecture
def test_contract(name: str, size: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name = place(name, request)
    torch.manual_seed(0)
    backbone = make_backbone(name, image_size=size)
    module = backbone.module
    assert backbone.image_size == size
    width = feature_width(module, size)
    with torch.no_grad():  # what starts at zero would let no gradient through
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    images = torch.randn(3, 3, size, size)

    features = module.train()(images)
    assert features.shape == (3, width)
    (features * torch.randn_like(features)).sum().backward()
    learning = {key: parameter.grad for key, parameter in module.named_parameters() if parameter.requires_grad}
    assert [key for key, grad in learning.items() if grad is None] == []
    assert [key for key, grad in learning.items() if grad is not None and grad.ndim > 1 and not grad.any()] == []

    module.eval()
    again = make_backbone(name, image_size=size).module.eval()
    again.load_state_dict(module.state_dict())
    with torch.no_grad():
        before = module(images)
        assert torch.equal(before, again(images))
        exported = torch.export.export(module, (images,))
        torch.testing.assert_close(exported.module()(images), before)


def test_every_family_is_under_the_contract() -> None:
    assert {name.partition(":")[0] for name in ARCHITECTURES} == FAMILIES.keys()


@pytest.mark.parametrize("kind", ["vit", "swin", "resnet", "clip"])
def test_a_backbone_is_rebuilt_from_the_architecture_it_wrote(kind: str, hf_models: Path, tmp_path: Path) -> None:
    made = make_backbone(f"hf:{hf_models / kind}", image_size=64).module
    save_architecture(made, tmp_path / "backbone")
    images = torch.randn(2, 3, 64, 64)
    # Runs of version 0.1 have no architecture.json; what they hold was always written by transformers.
    for file in ("none", "architecture.json"):
        (tmp_path / "backbone" / file).unlink(missing_ok=True)
        again = rebuild_backbone(tmp_path / "backbone", image_size=64)
        again.load_state_dict(made.state_dict())
        with torch.no_grad():
            assert torch.equal(again.eval()(images), made.eval()(images))


def test_other_backbones_write_nothing_and_unknown_families_are_refused(tmp_path: Path) -> None:
    save_architecture(make_backbone("timm:test_resnet").module, tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()
    for family in ("timm", "newer"):
        (tmp_path / "architecture.json").write_text(f'{{"family": "{family}"}}')
        with pytest.raises(EncoderError, match=f"names the backbone family '{family}', which this version of marnet"):
            rebuild_backbone(tmp_path, image_size=32)


def test_backbones_are_listed_by_pattern() -> None:
    everything = list_backbones()
    assert {name.partition(":")[0] for name in everything} == {"timm", "torchvision"}
    assert len(everything) == len(set(everything)) > 1000
    assert list_backbones("timm:*") == [name for name in everything if name.startswith("timm:")]
    assert list_backbones("torchvision:resnet?8") == ["torchvision:resnet18"]
    assert {"timm:resnet18", "timm:resnet50"} <= set(list_backbones("timm:resnet*"))
    assert list_backbones("hf:*") == []


def settings(name: str, manifest: Path, *, size: int | None = 32, **sections: Any) -> marnet.Config:
    training = {"epochs": 2, "batch_size": 16, "devices": "cpu", "warmup_epochs": 0, **sections.pop("training", {})}
    backbone = {"name": name, **sections.pop("backbone", {})}
    data = {"source": str(manifest), "image_size": size}
    return make_config({"data": data, "backbone": backbone, "training": training, **sections})


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "hf:resnet", "module:tiny_nets.make_net"])
def test_train_and_predict_on_the_command_line(
    name: str,
    request: pytest.FixtureRequest,
    manifest_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["marnet", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code in (0, None), capsys.readouterr().err

    run, image = str(tmp_path / "run"), str(manifest_file.parent / "apple-15.png")
    name = place(name, request)
    flags = ["--backbone", name, "--image-size", "32", "--epochs", "1", "--batch-size", "16", "--devices", "cpu"]
    call("train", "--data", str(manifest_file), "--out", run, *flags)
    if name.startswith("hf:"):  # the run holds all that it needs
        Path(name.removeprefix("hf:")).rename(tmp_path / "moved")
    try:
        call("predict", run, image, "--top", "2")
    finally:
        if name.startswith("hf:"):
            (tmp_path / "moved").rename(name.removeprefix("hf:"))
    assert capsys.readouterr().out.count("%") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["timm:test_vit", "timm:test_efficientnet", "torchvision:vit_b_32", "hf:vit", "hf:swin"]
)
def test_train_and_predict(name: str, request: pytest.FixtureRequest, manifest_file: Path, tmp_path: Path) -> None:
    run = fit(settings(place(name, request), manifest_file), tmp_path / "run").path
    predictor = marnet.load(run)
    image = predictor.manifest().split("val")[0].image
    assert len(predictor.predict([image], top=3)[0].labels) == 3


def test_torchvision_knows_all_its_families() -> None:
    homes = {models.get_model_builder(name).__module__.rpartition(".")[2] for name in models.list_models(module=models)}
    assert homes == _ARCHITECTURES.keys()


def test_the_input_comes_from_the_backbones_own_configuration(hf_models: Path) -> None:
    timm_own = make_backbone("timm:test_vit")
    assert timm_own[1:] == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 160, "bicubic")
    assert make_backbone("timm:inception_v3").image_size == 299
    squeeze = make_backbone("torchvision:squeezenet1_1")
    assert squeeze[1:] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224, "bilinear")
    hf = make_backbone(f"hf:{hf_models / 'vit'}")
    assert hf[1:] == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 40, "bilinear")
    own = make_backbone("module:tiny_nets.make_backbone")
    assert own[1:] == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), 40, "bicubic")


def test_a_run_writes_out_the_size_and_the_interpolation_it_took(manifest_file: Path, tmp_path: Path) -> None:
    config = settings("module:tiny_nets.make_backbone", manifest_file, size=None, training={"epochs": 1})
    predictor = marnet.load(fit(config, tmp_path / "run").path)
    assert predictor.config.data.image_size == 40
    assert predictor.spec == marnet.ImageSpec(40, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), "bicubic")


def test_pretrained_hf_weights_are_read_and_random_ones_are_not(hf_models: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = hf_models / "vit"
    kept = transformers.AutoModel.from_pretrained(folder).state_dict()
    loaded = make_backbone(f"hf:{folder}", pretrained=True).module
    assert torch.equal(loaded.state_dict()["model.embeddings.cls_token"], kept["embeddings.cls_token"])
    assert loaded.training
    fresh = make_backbone(f"hf:{folder}").module.state_dict()
    projection = "embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(fresh[f"model.{projection}"], kept[projection])


def test_local_weights_fit_or_the_file_is_named(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = models.squeezenet1_1()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    for file in ("whole.safetensors", "whole.pth"):
        module = make_backbone("torchvision:squeezenet1_1", weights=tmp_path / file).module
        assert torch.equal(module.features[0].weight, whole.features[0].weight)
    assert refusal("torchvision:resnet18", weights=tmp_path / "whole.pth").startswith(
        f"The weights file {tmp_path / 'whole.pth'} does not fit torchvision:resnet18: it has no values for "
    )
    assert "does not exist. Check `backbone.weights`." in refusal("torchvision:resnet18", weights=tmp_path / "none.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    assert "cannot be read (" in refusal("module:tiny_nets.make_net", weights=tmp_path / "bad.safetensors")


@pytest.mark.slow
def test_a_vision_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = models.VisionTransformer(64, 32, 12, 12, 768, 3072)
    save_file(small.state_dict(), tmp_path / "vit.safetensors")
    module = make_backbone("torchvision:vit_b_32", image_size=96, weights=tmp_path / "vit.safetensors").module
    assert module.state_dict()["encoder.pos_embedding"].shape == (1, 10, 768)


def test_what_is_wrong_with_a_name_is_said(hf_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "torchvision has no image classifier 'resnet81'. Did you mean 'resnet18'" in refusal("torchvision:resnet81")
    assert refusal("module:tiny_nets") == (
        "The backbone module:tiny_nets is not an import path. Expected module:PACKAGE.NAME, such as module:nets.make."
    )
    assert "PYTHONPATH=." in refusal("module:no_such_package.net")
    assert (
        "module:tiny_nets.make_nte does not exist: the module tiny_nets has no 'make_nte'. Did you mean 'make_net'"
        in refusal("module:tiny_nets.make_nte")
    )
    assert "failed when called without arguments (TypeError" in refusal("module:tiny_nets.needs_width")
    assert "returned a list. Expected a torch.nn.Module" in refusal("module:tiny_nets.make_list")
    assert "is a int. Expected a torch.nn.Module" in refusal("module:tiny_nets.number")
    assert "no published weights for module:tiny_nets.net" in refusal("module:tiny_nets.net", pretrained=True)
    (tmp_path / "empty").mkdir()
    assert "holds no config.json. Expected a model saved by save_pretrained" in refusal(f"hf:{tmp_path / 'empty'}")


def test_offline_it_is_said_where_was_looked_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refusal("hf:nobody/nothing")
    for part in (f"there is no folder {Path('nobody/nothing').absolute()}", huggingface_hub.constants.HF_HUB_CACHE,
                 "run once with a network", "`backbone.name=hf:FOLDER`"):  # fmt: skip
        assert part in message
    assert "the name is not a repository" in refusal("hf:/no/such/folder")

    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    message = refusal("torchvision:squeezenet1_1", pretrained=True)
    for part in (torch.hub.get_dir(), "squeezenet1_1-", "`backbone.weights=FILE`", "leave out `backbone.pretrained`"):
        assert part in message


def test_without_transformers_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert refusal("hf:some/model").endswith("Install it: pip install 'marnet[hf]'")


def small_model(config: marnet.Config) -> MARNet:
    texts = ["red, round", "green, round", "blue, long"]
    return build_model(config, num_classes=3, texts=texts)


def step(model: MARNet) -> dict[str, Tensor]:
    """What changes in the backbone by one step of training."""
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    after = model.backbone.state_dict()
    return {key: after[key] for key, value in before.items() if not torch.equal(value, after[key])}


def test_a_frozen_backbone_learns_nothing_and_stays_in_evaluation_mode() -> None:
    model = small_model(
        make_config({"backbone": {"name": "timm:test_resnet", "freeze": True}, "data": {"image_size": 32}})
    )
    model.train()
    assert model.training
    assert not any(module.training for module in model.backbone.modules())
    assert step(model) == {}
    model.freeze_backbone(False)
    assert all(module.training for module in model.backbone.modules())
    assert step(model)


def test_unfreezing_leaves_alone_what_did_not_learn_before() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[0].requires_grad_(False)
    model = MARNet(net, 3, visual_width=4)
    model.freeze_backbone()
    model.freeze_backbone()
    model.freeze_backbone(False)
    assert [parameter.requires_grad for parameter in net.parameters()] == [False, False, True, True]


def test_frozen_batch_norms_keep_statistics_and_weights(manifest_file: Path, tmp_path: Path) -> None:
    config = settings("timm:test_resnet", manifest_file, backbone={"freeze_batch_norm": True}, training={"epochs": 1})
    changed = step(small_model(config).train())
    assert changed
    assert not [key for key in changed if "bn" in key or "running" in key]
    run = fit(config, tmp_path / "run").path
    assert marnet.load(run).classes  # the weights of a run with frozen norms fit what is rebuilt


@pytest.mark.parametrize("name", ["timm:test_vit", "hf:vit"])
def test_gradient_checkpointing_changes_no_gradient(name: str, request: pytest.FixtureRequest) -> None:
    name = place(name, request)
    torch.manual_seed(0)
    module = make_backbone(name, image_size=32).module
    images = torch.randn(2, 3, 32, 32)

    def gradients() -> list[Tensor]:
        module.zero_grad()
        module(images).square().sum().backward()
        return [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]

    plain = gradients()
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    part = module.model.layers[0].layernorm_before if isinstance(module, HFBackbone) else module.blocks[0].norm1
    part.register_forward_pre_hook(count)
    adapt_backbone(module, checkpointing=True)
    for one, other in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(one, other)
    assert calls == 2  # once forward, once again in the backward pass


def test_a_backbone_without_gradient_checkpointing_is_refused() -> None:
    net = make_backbone("module:tiny_nets.make_net").module
    with pytest.raises(
        EncoderError, match=r"Sequential has no gradient checkpointing\. It takes .* Set `backbone\.grad"
    ):
        adapt_backbone(net, checkpointing=True)


def test_a_probe_leaves_the_backbone_alone_and_finetuning_does_not(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    real = MARNet.training_outputs

    def record(self: MARNet, *args: Any, **kwargs: Any) -> Any:
        seen.append({key: value.clone() for key, value in self.backbone.state_dict().items()})
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MARNet, "training_outputs", record)
    config = settings("timm:test_resnet", manifest_file, training={"epochs": 3, "probe_epochs": 2})
    fit(config, tmp_path / "run")  # two steps an epoch

    def same(one: int, other: int) -> bool:
        return all(torch.equal(value, seen[other][key]) for key, value in seen[one].items())

    assert same(0, 4)
    assert not same(4, 5)


def test_a_run_that_stops_within_the_probe_resumes_to_the_same_weights(manifest_file: Path, tmp_path: Path) -> None:
    training = {"epochs": 3, "probe_epochs": 2}
    config = settings("timm:test_resnet", manifest_file, training=training)
    fit(config, tmp_path / "unbroken")
    steps, real = 0, MARNet.training_outputs

    def break_off(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 3:
            raise OSError("the power went out")
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MARNet, "training_outputs", break_off)
        with pytest.raises(OSError, match="the power went out"):
            fit(config, tmp_path / "broken")
    fit(config, tmp_path / "broken", resume=True)
    one, other = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("unbroken", "broken")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_own_backbones_keep_their_default_input() -> None:
    assert Backbone(nn.Identity())[1:] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224, "bicubic")
