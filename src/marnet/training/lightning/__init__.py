"""The bridge to Lightning, and the only place that knows it: devices, precision, the loop, progress and resuming.

The model stays a plain `nn.Module`; `examples/plain_torch_loop.py` trains it without these files.
"""

from marnet.training.lightning.loop import is_first_process, seed_everything, train_with_lightning
from marnet.training.lightning.module import OnEpoch

__all__ = ["OnEpoch", "is_first_process", "seed_everything", "train_with_lightning"]
