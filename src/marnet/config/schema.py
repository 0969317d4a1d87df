"""The configuration: every setting with its default, and how it is read and written.

Modules and encoders take plain arguments and know nothing of it. A value comes from, in rising priority: the default
here, a preset, a configuration file, an explicit setting. Settings that depend on the method are null here, and
`marnet.methods.resolve` writes them out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from marnet.atomic import write_text
from marnet.choices import (
    Augmentation,
    Balance,
    ClassMeans,
    ClipBy,
    Guide,
    Keep,
    LabelForm,
    Parametrisation,
    Positives,
    Sampler,
    Schedule,
    TextGradient,
    TextPooling,
    Unlabelled,
    UnlabelledTraining,
)
from marnet.config.errors import explain
from marnet.config.legacy import upgrade_settings
from marnet.config.nested import merge_settings, parse_assignment, read_yaml
from marnet.config.presets import preset_file
from marnet.errors import ConfigError

OWN_BACKBONE = "own"  # the name that stands in a configuration for a module handed over in Python
# So that a mistyped number, or a run of somebody else, does not ask for more memory than any machine has.
LARGEST_WIDTH = 16_384
LARGEST_SIDE = 8_192  # pixels
LARGEST_BATCH = 2**31  # pixels: 42,799 images of 224 x 224


class Section(BaseModel):
    """A group of settings; a misspelt key is refused."""

    # Numbers may stand for strings, because YAML reads `devices: 2` and a column named 2020 as numbers.
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False, coerce_numbers_to_str=True
    )


class ColumnNames(Section):
    """Names of a table's columns."""

    image: str = Field("image", description="column of image files")
    text: str = Field("text", description="column of texts; cells may be blank, and the column may be missing")
    label: str = Field("label", description="column of class names")
    split: str = Field("split", description="column of splits; a stratified split is made if it is missing")
    group: str = Field(
        "marnet_group",
        description="column of groups, such as the product in a photo: no split made here tears one apart",
    )


class DataConfig(Section):
    """The images and texts, and how they reach the model."""

    source: str = Field("", description="a table file, a folder of images or NAME:PATH; see docs/data.md")
    features: Path | None = Field(None, description="train on these features of 'marnet embed' instead of images")
    columns: ColumnNames = ColumnNames()
    labels: LabelForm = Field(
        "single", description="single: one class per image; multi: a comma-separated list of classes, or none"
    )
    missing: tuple[str, ...] = Field(
        ("nan", "null", "<NA>"), description="words in cells of tables that mean no value, in any case"
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="for data.labels=multi: an image has the classes with at least this probability; null: one per "
        "class, fitted on val for F1",
    )
    image_size: int | None = Field(
        None, ge=8, le=LARGEST_SIDE, description="side of the model's square input in pixels; null: the backbone's own"
    )
    augmentation: Augmentation = Field(
        "light", description="random crops and flips of training images; strong also changes colours"
    )
    val_share: float = Field(0.15, gt=0, lt=1, description="share of rows for val if the data has no split")
    test_share: float = Field(0.15, ge=0, lt=1, description="share of rows for test if the data has no split")
    split_seed: int = Field(0, description="seed of a split that is made here")
    unlabelled: Unlabelled = Field(
        "use", description="rows of train with a blank label: use them as the split unlabelled, or refuse them"
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop", description="stop before training if images cannot be read, or skip their rows"
    )
    max_pixels: int = Field(
        100_000_000, gt=0, description="images with more pixels are refused before they are decoded"
    )
    cache: bool = Field(True, description="keep decoded, resized images in a memory-mapped file instead of in memory")
    stream: bool = Field(
        False, description="keep no decoded images: decode each one whenever it is needed (docs/data.md)"
    )
    workers: int = Field(0, ge=0, le=4096, description="processes that load batches; 0: the training process itself")

    @field_validator("missing", mode="before")
    @classmethod
    def _null_is_a_word(cls, words: object) -> object:
        return ["null" if word is None else word for word in words] if isinstance(words, list | tuple) else words

    @model_validator(mode="after")
    def _streamed_images_are_not_skipped(self) -> Self:
        if self.stream and self.on_bad_image == "skip":
            raise ValueError(
                "`data.stream` meets broken images only during training, so `data.on_bad_image` cannot be skip. "
                "Find them with 'marnet data check' and leave them out"
            )
        return self


class BackboneConfig(Section):
    """The image backbone."""

    name: str = Field("timm:resnet18", description="timm:NAME, torchvision:NAME, hf:NAME or module:PACKAGE.NAME")
    pretrained: bool = Field(False, description="start from the backbone's published weights")
    weights: Path | None = Field(None, description="a local weights file to use instead of downloading")
    freeze: bool = Field(False, description="train nothing in the backbone; it stays in evaluation mode")
    freeze_batch_norm: bool = Field(False, description="keep statistics and weights of batch norms as they are")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")


class TextConfig(Section):
    """The text encoder, which turns a text into a vector `(D_s,)`."""

    name: str = Field(
        "bow", description="bow, tags, words, hf:NAME, module:PACKAGE.NAME or random:NAME (docs/encoders.md)"
    )
    trainable: bool = Field(False, description="fine-tune it; bow, tags and words learn a projection")
    dimensions: int | None = Field(
        128,
        ge=1,
        le=LARGEST_WIDTH,
        description="bow: reduce to this many dimensions by SVD, null keeps all; width of a learned projection",
    )
    max_vocabulary: int = Field(
        4096, ge=1, le=500_000, description="bow, tags, words: keep at most this many, the most frequent ones"
    )
    pooling: TextPooling = Field("mean", description="hf: mean of the tokens, or cls: the first token")
    max_length: int = Field(256, ge=2, le=100_000, description="hf: largest number of tokens that are read from a text")


class SemanticsConfig(Section):
    """The clean semantics of a text, x_0 `(d_0,)`, which EMA aligns with and CDR reconstructs (docs/method.md)."""

    dimensions: int | None = Field(
        128,
        ge=1,
        le=LARGEST_WIDTH,
        description="largest d_0: whitened directions of the text features; null takes the features as they are",
    )
    canonical: bool = Field(True, description="also weigh these directions by how far the classes explain them")


class AlignmentConfig(Section):
    """EMA, the embedding matching alignment (docs/method.md)."""

    width: int = Field(128, ge=1, le=LARGEST_WIDTH, description="d, the width of the shared space")
    temperature: float = Field(0.07, ge=0.01, description="tau at the start; it is learned and stays at 0.01 or more")
    positives: Positives = Field(
        "text", description="pairs of a batch that match: those with equal text, or identity: each row only with itself"
    )


class ReconstructionConfig(Section):
    """CDR, the cross-modal diffusion reconstruction (docs/method.md)."""

    guide: Guide = Field(
        "linear", description="guide of the diffusion: a linear prediction of the semantics, or the image features"
    )
    width: int = Field(256, ge=2, le=LARGEST_WIDTH, description="hidden width of the denoiser")
    depth: int = Field(2, ge=1, le=256, description="residual blocks of the denoiser")
    timesteps: int = Field(1000, ge=2, le=100_000, description="T, the steps of the forward process")
    schedule: Schedule = Field("cosine", description="noise schedule of the forward process")
    prediction: Parametrisation = Field("x0", description="output of the denoiser: the clean semantics, v or the noise")
    sampler: Sampler = Field("ddim", description="sampler of the reverse process")
    steps: int = Field(4, ge=1, le=10_000, description="K, the steps of the reverse process")
    guidance_scale: float = Field(1.0, ge=0, description="w of classifier-free guidance; 1 switches it off")
    condition_dropout: float = Field(0.1, ge=0, lt=1, description="share of training rows denoised without the image")
    condition_noise: float = Field(1.0, ge=0, description="standard deviation of noise on the condition in training")
    correction: float = Field(
        0.25, ge=0, le=1, description="how far x_CDR moves from the linear prediction to its denoised form"
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.steps > self.timesteps:
            raise ValueError(
                f"`reconstruction.steps` ({self.steps}) must not exceed `reconstruction.timesteps` ({self.timesteps})"
            )
        return self


class FusionConfig(Section):
    """The fusion of the branches into one prediction (docs/method.md)."""

    kind: str = Field(
        "weighted",
        description="weighted: by weights fitted on val; averaged, concat, gated-features, gated-logits or "
        "module:PACKAGE.NAME",
    )


class LateFusionConfig(Section):
    """The method `late-fusion`, a baseline."""

    width: int = Field(128, ge=1, le=LARGEST_WIDTH, description="width of the projected text and of the hidden layer")
    text_dropout: float = Field(0.5, ge=0, lt=1, description="share of training rows that see no text")


class LossConfig(Section):
    """Weights of the loss terms; 0 switches a term off (docs/method.md)."""

    classification: float | None = Field(
        None,
        ge=0,
        description="cross-entropy of the fused prediction; null: 0 where its weights are fitted later, 0.2 for "
        "an average, 1 for a fusion that learns",
    )
    matching: float = Field(0.1, ge=0, description="a: contrastive matching of image and text")
    reconstruction: float = Field(1.0, ge=0, description="b: mean squared error of the denoised semantics")
    linear_head: float = Field(10.0, ge=0, description="mean squared error of the linear head that guides CDR (ours)")
    semantic: float = Field(0.25, ge=0, description="c: cross-entropy of the head on x_CDR")
    visual: float = Field(1.0, ge=0, description="cross-entropy of the head on x_v (ours)")
    alignment: float = Field(0.1, ge=0, description="cross-entropy of the head on x_EMA (ours)")
    text: float = Field(0.3, ge=0, description="cross-entropy of a head on the text, if its encoder learns (ours)")
    words: float = Field(10.0, ge=0, description="multitask: binary cross-entropy of the words of the text")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing of every cross-entropy")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term by name, those that are null left out."""
        return {name: value for name, value in self if name != "label_smoothing" and value is not None}


class TrainingConfig(Section):
    """The optimisation."""

    epochs: int = Field(60, ge=1, description="passes over the training rows")
    batch_size: int = Field(32, ge=2, le=65_536, description="images per step")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.05, ge=0, description="weight decay of AdamW; biases, norms and scales have none")
    warmup_epochs: float = Field(2.0, ge=0, description="epochs over which the learning rate rises to its peak")
    min_lr_share: float = Field(0.01, ge=0, le=1, description="final learning rate as a share of the peak")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of a backbone layer as a share of the next layer's; 1: all equal"
    )
    probe_epochs: int = Field(0, ge=0, description="number of first epochs in which the backbone is frozen")
    gradient_clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: no clipping")
    clip_by: ClipBy = Field(
        "part", description="part: of the backbone, of the head on x_v and of all else, each by itself; model: of all"
    )
    text_gradient: TextGradient | Annotated[float, Field(ge=0)] = Field(
        "auto",
        description="largest gradient that text sends into the backbone, as a multiple of that of the head on x_v; "
        "unlimited; or auto: 1 for a backbone with pretrained weights or one of your own, else unlimited",
    )
    keep: Keep = Field(
        "averaged",
        description="weights to keep: their moving average at the end, those of the last epoch, or those of the epoch "
        "with the best val top-1 or mAP",
    )
    averaged_share: float = Field(
        0.1, gt=0, le=1, description="for training.keep=averaged: reach of the average as a share of the training"
    )
    calibrate: bool = Field(
        True,
        description="fit a temperature on val after training, and for fusion.kind=weighted the weights of the branches",
    )
    patience: int | None = Field(
        None, ge=1, description="stop after this many epochs without a better val top-1 or mAP"
    )
    balance: Balance = Field("none", description="treatment of rare classes (docs/data.md)")
    logit_adjustment: float = Field(
        1.0, gt=0, description="for training.balance=logit-adjust: tau, the factor on the log priors"
    )
    class_means: ClassMeans = Field(
        "auto",
        description="after training, add the cosines with the means of the classes to the prediction where that helps "
        "held-out rows; auto: where a class has 20 times the training rows of another (docs/labels.md)",
    )
    unlabelled: UnlabelledTraining = Field(
        "auto",
        description="rows without a label: learn from the labels that a teacher with image and text gives them, if "
        "that helps on held-out rows; or never (docs/labels.md)",
    )
    precision: Literal["32", "16-mixed", "bf16-mixed", "64"] = Field(
        "32", description="bits of the arithmetic; mixed: weights stay in 32 bits"
    )
    devices: str = Field("auto", description="auto, a count, or cpu, cpu:2, cuda:1, mps")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="fixes initial weights, order, augmentation and noise")

    @field_validator("text_gradient", mode="before")
    @classmethod
    def _limit_is_a_word_or_a_number(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if not is_number and value not in get_args(TextGradient):
            raise ValueError("it must be auto, unlimited or a number of 0 or more")
        return value

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_as_written(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value  # YAML reads `precision: 32` as a number


class Config(Section):
    """Everything one training run needs.

    Example:
        >>> import marnet
        >>> config = marnet.Config(method="match")
        >>> config.training.epochs, marnet.make_config(config.model_dump()) == config
        (60, True)
    """

    method: str = Field(
        "marnet",
        description="image-only, match, reconstruct, marnet, regress, multitask, late-fusion or module:PACKAGE.NAME",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="settings of a method from outside the package")
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
    def _read_old_names(cls, values: Any) -> Any:
        return upgrade_settings(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _a_batch_fits_into_memory(self) -> Self:
        batch, side = self.training.batch_size, self.data.image_size or 0
        if batch * side**2 > LARGEST_BATCH:
            raise ValueError(
                f"`training.batch_size` ({batch}) images of `data.image_size` ({side}) have {batch * side**2:,} pixels "
                f"together, but a batch may have {LARGEST_BATCH:,} at most"
            )
        return self

    @model_validator(mode="after")
    def _probing_needs_a_backbone_that_learns(self) -> Self:
        if self.backbone.freeze and self.training.probe_epochs:
            raise ValueError(
                f"`backbone.freeze` keeps the backbone frozen throughout, so `training.probe_epochs` "
                f"({self.training.probe_epochs}) has no effect. Leave one of them out"
            )
        return self


def make_config(
    values: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    file: Path | str | None = None,
    sets: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> Config:
    """Build a `Config` from a `preset`, a YAML `file`, nested `values` and `sets` ("a.b=c" each); later ones win.

    `base` are nested settings below all of these, in place of the defaults.

    Raises:
        ConfigError: the preset or a key is unknown, a value does not fit, or the file cannot be read.

    Example:
        >>> import marnet
        >>> marnet.make_config({"training": {"epochs": 5}}, sets=["training.lr=0.01"]).training.lr
        0.01
    """
    merged: dict[str, Any] = dict(base or {})
    given = [] if preset is None else [read_yaml(preset_file(preset))]
    given += [] if file is None else [read_yaml(Path(file))]
    for settings in (*given, values or {}, *map(parse_assignment, sets)):
        merged = merge_settings(merged, upgrade_settings(settings, method=str(merged.get("method", "marnet"))))
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from None


def read_config(path: Path | str) -> Config:
    """Read a configuration file, written by `write_config` or by hand."""
    return make_config(file=path)


def write_config(config: Config, path: Path | str) -> None:
    """Write every setting, defaults included, as YAML; the file is written whole or not at all."""
    # The end mark lets a reader tell a whole file from one that was cut short.
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, explicit_end=True)
    write_text(Path(path), text)
