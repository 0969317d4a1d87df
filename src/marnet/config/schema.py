"""The configuration: what can be set, its defaults, and how it is read and written.

Modules and encoders take plain arguments and know no more of it than the names of their options. A value comes from, in
rising priority: the default here, a preset, the `--config` file, a flag or `--set a.b=c`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from marnet.choices import (
    Augmentation,
    Balance,
    FusionKind,
    Guide,
    LabelForm,
    Method,
    Parametrisation,
    Positives,
    Sampler,
    Schedule,
    TextPooling,
)
from marnet.config.errors import explain
from marnet.config.nested import merge_settings, parse_assignment, read_yaml
from marnet.config.presets import preset_file
from marnet.errors import ConfigError

# Which of the two modules each method uses; `alignment.enabled` and `reconstruction.enabled` override it.
MODULES = ("alignment", "reconstruction")
METHODS: dict[str, tuple[bool, bool]] = {
    "image-only": (False, False),
    "match": (True, False),
    "reconstruct": (False, True),
    "marnet": (True, True),
    # Rivals, to compare with: CDR's place is taken by a plain regression; the text's words are a second task; image and
    # text are fused late, with a stand-in for the text at prediction.
    "regress": (False, True),
    "multitask": (False, False),
    "late-fusion": (False, False),
}
_TEXT_WITHOUT_MODULES = ("multitask", "late-fusion")

# An average has no weights of its own, and its branches have losses of theirs; a fusion that learns has this one alone.
_CLASSIFICATION = {"averaged": 0.2, "learned": 1.0}


class Section(BaseModel):
    """A group of settings; a misspelt key is refused."""

    # Numbers may stand for strings, because YAML reads `devices: 2` and a column named 2020 as numbers.
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, coerce_numbers_to_str=True
    )


class ColumnNames(Section):
    """Names of a manifest's columns."""

    image: str = "image"
    text: str = "text"
    label: str = "label"
    split: str = "split"


class DataConfig(Section):
    """Where the images and texts come from and how they reach the model."""

    source: str = Field("", description="a manifest file, a folder of images or NAME:PATH; see docs/data.md")
    features: Path | None = Field(None, description="train on these features of 'marnet embed' instead of images")
    columns: ColumnNames = ColumnNames()
    labels: LabelForm = Field("single", description="one class an image, or multi: a comma list of classes, or none")
    threshold: float = Field(
        0.5, gt=0, lt=1, description="labels multi: an image has the classes with this probability or more"
    )
    image_size: int | None = Field(
        None, ge=8, description="side of the square the model sees, in pixels; null: the backbone's"
    )
    augmentation: Augmentation = "light"
    val_share: float = Field(0.15, gt=0, lt=1, description="share of rows for val where the manifest has no split")
    test_share: float = Field(0.15, ge=0, lt=1, description="share of rows for test where the manifest has no split")
    split_seed: int = 0
    on_bad_image: Literal["stop", "skip"] = "stop"
    max_pixels: int = Field(100_000_000, gt=0, description="images with more pixels are refused before decoding")
    cache: bool = Field(True, description="keep decoded, resized images in a memory-mapped file, not in memory")
    stream: bool = Field(False, description="keep none: decode images whenever they are needed (docs/data.md)")
    workers: int = Field(0, ge=0, description="processes that load batches; 0 loads in the training process")

    @model_validator(mode="after")
    def _streamed_images_are_not_skipped(self) -> Self:
        if self.stream and self.on_bad_image == "skip":
            raise ValueError(
                "stream meets broken images only during training, so on_bad_image cannot be skip: find them with "
                "'marnet data check' and leave them out"
            )
        return self


class BackboneConfig(Section):
    """The image backbone."""

    name: str = "timm:resnet18"
    pretrained: bool = False
    weights: Path | None = Field(None, description="a local weights file to use instead of downloading")
    freeze: bool = Field(False, description="learn nothing in the backbone; it stays in evaluation mode")
    freeze_batch_norm: bool = Field(False, description="keep statistics and weights of batch norms as they are")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")


class TextConfig(Section):
    """The text encoder: what a text becomes, `(D_s,)`."""

    name: str = Field(
        "bow", description="bow, tags, words, hf:NAME, module:PACKAGE.NAME or random:NAME (docs/encoders.md)"
    )
    trainable: bool = Field(False, description="fine-tune it; of bow, tags and words, learn a projection")
    dimensions: int | None = Field(
        128, ge=1, description="bow: reduce to so many by SVD, null keeps all; width of a learned projection"
    )
    max_vocabulary: int = Field(4096, ge=1, description="bow, tags, words: keep at most this many of the most frequent")
    pooling: TextPooling = Field("mean", description="hf: the mean of the tokens, or the first token (cls)")
    max_length: int = Field(256, ge=2, description="hf: tokens that are read of a text")


class SemanticsConfig(Section):
    """The clean semantics of a text, x_0 `(d_0,)`, which EMA aligns with and CDR reconstructs (docs/method.md)."""

    dimensions: int | None = Field(
        128, ge=1, description="d_0 at most: whitened directions of the text's features; null takes them as they are"
    )
    canonical: bool = Field(True, description="also weigh these directions by what the classes explain of them")


class AlignmentConfig(Section):
    """EMA, the embedding matching alignment (docs/method.md)."""

    enabled: bool | None = Field(None, description="null: as the method says")
    width: int = Field(128, ge=1, description="d, the width of the shared space")
    temperature: float = Field(0.07, ge=0.01, description="tau at the start; it is learned and stays >= 0.01")
    positives: Positives = Field("text", description="which pairs in a batch match: equal texts, or only a row itself")


class ReconstructionConfig(Section):
    """CDR, the cross-modal diffusion reconstruction (docs/method.md)."""

    enabled: bool | None = Field(None, description="null: as the method says")
    guide: Guide = Field("guess", description="what guides: a linear guess of the semantics, or the image's features")
    width: int = Field(256, ge=2, description="hidden width of the denoiser")
    depth: int = Field(2, ge=1, description="residual blocks of the denoiser")
    timesteps: int = Field(1000, ge=2, description="T, the steps of the forward process")
    schedule: Schedule = "cosine"
    prediction: Parametrisation = "x0"
    sampler: Sampler = "ddim"
    steps: int = Field(4, ge=1, description="K, the steps of the reverse process")
    guidance_scale: float = Field(1.0, ge=0, description="w of classifier-free guidance; 1 is none")
    condition_dropout: float = Field(0.1, ge=0, lt=1, description="share of training rows denoised without the image")
    condition_noise: float = Field(1.0, ge=0, description="standard deviation of noise on the condition in training")
    correction: float = Field(0.25, ge=0, le=1, description="how far x_CDR moves from a guess to its denoised form")

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.steps > self.timesteps:
            raise ValueError(f"steps ({self.steps}) must not exceed timesteps ({self.timesteps})")
        return self


class FusionConfig(Section):
    """How the branches become one prediction (docs/method.md)."""

    kind: FusionKind = "averaged"


class LateFusionConfig(Section):
    """The rival method `late-fusion`."""

    width: int = Field(128, ge=1, description="of the projected text and of the hidden layer")
    text_dropout: float = Field(0.5, ge=0, lt=1, description="share of training rows that see no text")


class LossConfig(Section):
    """Weights of the loss terms; 0 switches a term off (docs/method.md)."""

    classification: float | None = Field(
        None,
        ge=0,
        description="cross-entropy of the fused prediction; null: 0.2 of an average, 1 if fusing is learned",
    )
    matching: float = Field(0.1, ge=0, description="a: contrastive matching of image and text")
    reconstruction: float = Field(1.0, ge=0, description="b: mean squared error of the denoised semantics")
    guess: float = Field(10.0, ge=0, description="mean squared error of the linear guess that guides CDR (ours)")
    semantic: float = Field(0.25, ge=0, description="c: cross-entropy of the head on x_CDR")
    visual: float = Field(0.9, ge=0, description="cross-entropy of the head on x_v (ours)")
    alignment: float = Field(0.1, ge=0, description="cross-entropy of the head on x_EMA (ours)")
    text: float = Field(0.3, ge=0, description="cross-entropy of a head on the text, where its encoder learns (ours)")
    words: float = Field(10.0, ge=0, description="binary cross-entropy of the text's words, of multitask (a rival)")
    label_smoothing: float = Field(0.1, ge=0, lt=1)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term by name; where nothing says how branches are fused, of an average."""
        given = {name: value for name, value in self if name != "label_smoothing"}
        return {name: _CLASSIFICATION["averaged"] if value is None else value for name, value in given.items()}


class TrainingConfig(Section):
    """The optimisation."""

    epochs: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0)
    warmup_epochs: float = Field(2.0, ge=0)
    min_lr_share: float = Field(0.01, ge=0, le=1, description="final learning rate over the peak")
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a backbone's layer over the one after it")
    probe_epochs: int = Field(0, ge=0, description="this many first epochs leave the backbone as it is")
    gradient_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null does not clip")
    patience: int | None = Field(
        None, ge=1, description="stop after this many epochs without a better val top-1 or mAP"
    )
    balance: Balance = Field("none", description="what to do about rare classes (docs/data.md)")
    logit_adjustment: float = Field(1.0, gt=0, description="balance logit-adjust: tau, the factor on the log priors")
    precision: Literal["32", "16-mixed", "bf16-mixed", "64"] = "32"
    devices: str = Field("auto", description="auto, a count, or cpu, cpu:2, cuda:1, mps")
    seed: int = Field(0, ge=0)

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_as_written(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # YAML reads `precision: 32` as a number


class Config(Section):
    """Everything one training run needs, with every default written out."""

    method: Method = "marnet"
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    text: TextConfig = TextConfig()
    semantics: SemanticsConfig = SemanticsConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    fusion: FusionConfig = FusionConfig()
    late_fusion: LateFusionConfig = LateFusionConfig()
    losses: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _resolve_method(cls, values: Any) -> Any:
        """Write out what depends on the method and its fusion, so that a resolved config reads without this file."""
        if not isinstance(values, Mapping):
            return values
        resolved = dict(values)
        switches = METHODS.get(str(resolved.get("method", "marnet")), (None, None))
        for name, enabled in zip(MODULES, switches, strict=True):
            section = _as_mapping(resolved.get(name, {}))
            if section is not None and section.get("enabled") is None:
                resolved[name] = {**section, "enabled": enabled}
        losses, fusion = _as_mapping(resolved.get("losses", {})), _as_mapping(resolved.get("fusion", {}))
        if losses is not None and fusion is not None and losses.get("classification") is None:
            averages = fusion.get("kind", FusionConfig().kind) == "averaged" and resolved.get("method") != "late-fusion"
            resolved["losses"] = {**losses, "classification": _CLASSIFICATION["averaged" if averages else "learned"]}
        return resolved

    @model_validator(mode="after")
    def _probing_needs_a_backbone_that_learns(self) -> Self:
        if self.backbone.freeze and self.training.probe_epochs:
            raise ValueError(
                f"backbone.freeze keeps the backbone as it is throughout, so that training.probe_epochs "
                f"({self.training.probe_epochs}) has nothing to end; leave one of them out"
            )
        return self

    @property
    def needs_semantics(self) -> bool:
        """Whether any module learns from the semantics x_0; EMA reads x_s where the text encoder learns."""
        return bool(self.reconstruction.enabled or (self.alignment.enabled and not self.text.trainable))

    @property
    def needs_text(self) -> bool:
        """Whether any module of this configuration learns from text."""
        modules = self.alignment.enabled or self.reconstruction.enabled
        return bool(modules) or self.method in _TEXT_WITHOUT_MODULES


def _as_mapping(section: Any) -> Mapping[str, Any] | None:
    """A section before it is validated; None of what is no section, which pydantic will refuse."""
    if isinstance(section, BaseModel):
        return section.model_dump()
    return section if isinstance(section, Mapping) else None


def make_config(
    values: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    file: Path | str | None = None,
    sets: Sequence[str] = (),
) -> Config:
    """Build a `Config` from a `preset`, a YAML `file`, nested `values` and `sets` ("a.b=c" each); later ones win.

    Where `values` or `sets` name another method than the file, the file's module switches give way to that method's: a
    resolved file has the switches of its own method written out.

    Raises:
        ConfigError: the preset or a key is unknown, a value does not fit, or the file cannot be read.
    """
    over = merge_settings({}, values or {})
    for assignment in sets:
        over = merge_settings(over, parse_assignment(assignment))
    base: dict[str, Any] = {} if preset is None else read_yaml(preset_file(preset))
    if file is not None:
        base = merge_settings(base, read_yaml(Path(file)))
    if "method" in over and over["method"] != base.get("method", Config.model_fields["method"].default):
        base = merge_settings(
            base, {name: {"enabled": None} for name in MODULES if isinstance(base.get(name), Mapping)}
        )
    try:
        return Config.model_validate(merge_settings(base, over))
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from None


def read_config(path: Path | str) -> Config:
    """Read a configuration file written by `write_config` or by hand."""
    return make_config(file=path)


def write_config(config: Config, path: Path | str) -> None:
    """Write every setting, defaults included, as YAML."""
    # The end mark lets a reader tell a whole file from one that was cut short.
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, explicit_end=True)
    Path(path).write_text(text, encoding="utf-8")
