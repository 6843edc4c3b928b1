"""LeNet-5, and its trunk of convolutions for pictures of other channels and sizes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class LeNetTrunk(nn.Module):
    """Stages of a 5x5 convolution without padding, 2x2 max-pooling and ReLU (LeCun et al. 1998).

    (N, in_channels, H, W) -> (N, channels[-1], h, w) with h, w = `output_size(H, W)`. Where the convolution
    leaves an odd side, pooling drops its last line. Pooling comes before ReLU, which gives the same and is cheaper.
    """

    def __init__(self, in_channels: int = 1, *, channels: Sequence[int] = (6, 16)) -> None:
        super().__init__()
        self.out_channels = channels[-1]
        sides = [in_channels, *channels]
        stages = (
            nn.Sequential(nn.Conv2d(before, after, 5), nn.MaxPool2d(2), nn.ReLU())
            for before, after in zip(sides, channels, strict=False)
        )
        self.stages = nn.Sequential(*stages)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the features. Raises ValueError for a picture that is too small."""
        size = height, width
        for _ in self.stages:
            size = (size[0] - 4) // 2, (size[1] - 4) // 2
            if min(size) < 1:
                raise ValueError(f"{height} x {width} pixels are too few for {len(self.stages)} stages")
        return size

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(x)
        return features


class LeNet(nn.Module):
    """LeNet-5 as taught: the trunk, then 256-120-84-10 features with ReLU between; 44,426 parameters on 28 x 28.

    Differs from LeCun et al. 1998 (doi:10.1109/5.726791): ReLU for the scaled tanh, max-pooling for trained
    averages, every map of the second convolution sees all of the first, a linear layer for the radial one.
    (N, in_channels, *size) -> (N, labels): scores before softmax in training mode, else probabilities.
    """

    def __init__(self, *, in_channels: int = 1, size: tuple[int, int] = (28, 28), labels: int = 10) -> None:
        super().__init__()
        self.trunk = LeNetTrunk(in_channels)
        height, width = self.trunk.output_size(*size)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.trunk.out_channels * height * width, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, labels),
        )

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.head(self.trunk(image))
        return scores if self.training else scores.softmax(dim=1)
