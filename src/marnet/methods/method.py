"""A method: which parts it adds to a backbone, which settings it reads, how a comparison presents it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from marnet.config import OWN_BACKBONE, Config
from marnet.errors import ConfigError, suggest
from marnet.losses import DEFAULT_WEIGHTS
from marnet.part import Part

# Settings that every method reads; a name that ends in "." is a section.
_SHARED = (
    "method",
    "options.",
    "data.",
    "backbone.",
    "training.",
    "losses.classification",
    "losses.visual",
    "losses.label_smoothing",
)

PRETRAINED_TEXT_GRADIENT = 1.0  # of `training.text_gradient`, so that text keeps what the backbone knows
_FUSED_WEIGHTS = {"weighted": DEFAULT_WEIGHTS["classification"], "averaged": 0.2}  # of `losses.classification`


class TextChoice(NamedTuple):
    """The text encoder that a method uses."""

    name: str
    trainable: bool


@dataclass(frozen=True)
class Method:
    """One way to train, as `method` names it. Give a subclass an override for anything unusual.

    Args:
        name: its name in configurations, records and tables.
        summary: one sentence for lists and help.
        parts: the parts that it adds to a backbone with a linear head, in the order in which they are built.
        position: its place in tables and legends, from 0; methods from outside come last.
        leaves_out: for an ablation of the full method, the thing that it leaves out (Table 2 of the paper).
        options: names and defaults of settings of its own, the section `options`.

    Example:
        >>> from marnet.methods import find_method
        >>> [part.name for part in find_method("match").parts]
        ['alignment', 'fusion', 'text_head']
    """

    name: str
    summary: str
    parts: tuple[Part, ...] = ()
    position: int = 1000
    leaves_out: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_text(self) -> bool:
        """True if any part learns from text."""
        return any(part.needs_text for part in self.parts)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the loss terms that it can have."""
        branches = any(part.branch_term for part in self.parts)
        own = [term for part in self.parts for term in part.terms]
        return tuple(dict.fromkeys(["classification", *(["visual"] if branches else []), *own]))

    def needs_semantics(self, config: Config) -> bool:
        """Return True if any part reads the semantics x_0."""
        return any(part.needs_semantics(config) for part in self.parts)

    def text_encoder(self, config: Config) -> TextChoice:
        """Return the text encoder to use."""
        return TextChoice(config.text.name, config.text.trainable)

    def text_settings(self) -> tuple[str, ...]:
        """Return the settings of the text encoder that it reads."""
        return ("text.",)

    def settings(self, config: Config) -> tuple[str, ...]:
        """Return the dotted names of the settings that it reads; a name that ends in "." is a section."""
        own = [name for part in self.parts for name in part.settings]
        text = self.text_settings() if self.needs_text else ()
        return (*_SHARED, *text, *(["semantics."] if self.needs_semantics(config) else []), *own)

    def classification_weight(self, config: Config) -> float:
        """Return the weight of the fused prediction's loss if the configuration does not say.

        With fitted weights the branches learn alone. An average has no weights of its own; a fusion that learns has.
        """
        return _FUSED_WEIGHTS.get(config.fusion.kind, 1.0)

    def weights(self, config: Config) -> dict[str, float]:
        """Return the weight of each loss term."""
        weights = config.losses.weights
        for part in self.parts:
            weights |= part.weights(config)
        return weights

    def resolve(self, config: Config) -> Config:
        """Write out the settings that depend on the method, and refuse those that it cannot use.

        Raises:
            MarnetError: a setting cannot be used.
        """
        unknown = [name for name in config.options if name not in self.options]
        if unknown:
            known = ", ".join(self.options) or "none"
            raise ConfigError(
                f"`options.{unknown[0]}` is not an option of method {self.name!r}, which has {known}."
                f"{suggest(unknown[0], self.options)} Correct it, or leave it out."
            )
        for part in self.parts:
            part.check(config)
        update: dict[str, Any] = {}
        if self.options:
            update["options"] = {**self.options, **config.options}
        if config.losses.classification is None:
            weight = {"classification": self.classification_weight(config)}
            update["losses"] = config.losses.model_copy(update=weight)
        if config.training.text_gradient == "auto":
            backbone = config.backbone
            pretrained = backbone.pretrained or backbone.weights is not None or backbone.name == OWN_BACKBONE
            limit = {"text_gradient": PRETRAINED_TEXT_GRADIENT if pretrained else "unlimited"}
            update["training"] = config.training.model_copy(update=limit)
        return config.model_copy(update=update) if update else config
