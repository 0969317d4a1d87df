"""The words that a setting or an argument can be set to, as types: the one place that lists them."""

from typing import Literal

Augmentation = Literal["none", "light", "strong"]
Balance = Literal["none", "weights", "sampler", "logit-adjust"]
ClassMeans = Literal["auto", "always", "never"]
ClipBy = Literal["part", "model"]
Guide = Literal["linear", "features"]
Keep = Literal["averaged", "last", "best"]
LabelForm = Literal["single", "multi"]
Parametrisation = Literal["x0", "v", "epsilon"]
Precision = Literal["fp32", "fp16", "int8"]
Positives = Literal["text", "identity"]
Sampler = Literal["ddim", "ddpm"]
Schedule = Literal["cosine", "linear"]
TextGradient = Literal["auto", "unlimited"]
TextPooling = Literal["mean", "cls"]
Unlabelled = Literal["use", "refuse"]
UnlabelledTraining = Literal["auto", "never"]
