"""The words that a setting or an argument can be set to, as types: the one place that lists them."""

from typing import Literal

Augmentation = Literal["none", "light", "strong"]
Balance = Literal["none", "weights", "sampler", "logit-adjust"]
FusionKind = Literal["averaged", "gated-logits", "gated-features", "concat"]
Guide = Literal["guess", "features"]
LabelForm = Literal["single", "multi"]
Method = Literal["image-only", "match", "reconstruct", "marnet", "regress", "multitask", "late-fusion"]
Parametrisation = Literal["x0", "v", "epsilon"]
Positives = Literal["text", "identity"]
Sampler = Literal["ddim", "ddpm"]
Schedule = Literal["cosine", "linear"]
TextPooling = Literal["mean", "cls"]
