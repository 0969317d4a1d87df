"""The backbone of the runs in this folder: small, so that their weights are small."""

from torch import Tensor, nn


class TinyNet(nn.Module):
    """Images `(B, 3, H, W)` to features `(B, 8)`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]
