"""A camera, undone and done again, so that noise can be put where it arises: on the sensor.

After Brooks et al. 2019, "Unprocessing Images for Learned Raw Denoising" (arXiv:1811.11127). The
picture is taken back to linear raw light, photons and electronics add their noise there, and the
mosaic, the white balance, the colour matrix, the gamma and the tone curve turn it into the noise
that photos have: stronger in the shadows, correlated between pixels and channels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

_GAMMA = 2.2
#: Malvar, He & Cutler 2004, "High-quality linear interpolation for demosaicing": eighths.
_GREEN_AT_OTHER = ((0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0), (0, 0, -1, 0, 0))
_BESIDE_GREEN = (
    (0, 0, 0.5, 0, 0),
    (0, -1, 0, -1, 0),
    (-1, 4, 5, 4, -1),
    (0, -1, 0, -1, 0),
    (0, 0, 0.5, 0, 0),
)
_ACROSS = ((0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0), (0, 0, -1.5, 0, 0))


@dataclasses.dataclass(frozen=True, slots=True)
class Camera:
    """One camera a picture.

    `matrix` (N, 3, 3) takes its raw colours to linear sRGB, rows sum to 1; `gains` (N, 3) are the
    white balance; raw noise has variance shot * light + read (N,), light in [0, 1].
    """

    matrix: Tensor
    gains: Tensor
    shot: Tensor
    read: Tensor

    def to_raw(self, image: Tensor) -> Tensor:
        """Linear raw light in [0, 1] of sRGB pictures in [0, 1]: (N, 3, H, W)."""
        flat = 0.5 - torch.sin(torch.asin(1 - 2 * image.clamp(0, 1)) / 3)  # the inverse of 3x^2 - 2x^3
        linear = flat.clamp(min=1e-8) ** _GAMMA
        raw = torch.einsum("nij,njhw->nihw", torch.linalg.inv(self.matrix), linear)
        return (raw / self.gains[:, :, None, None]).clamp(0, 1)

    def to_srgb(self, raw: Tensor) -> Tensor:
        """Pictures, sRGB in [0, 1], of raw light, clipped where the sensor and the picture clip."""
        balanced = (raw.clamp(0, 1) * self.gains[:, :, None, None]).clamp(0, 1)
        linear = torch.einsum("nij,njhw->nihw", self.matrix, balanced)
        flat = linear.clamp(1e-8, 1) ** (1 / _GAMMA)
        return 3 * flat**2 - 2 * flat**3

    def noise(self, image: Tensor, rng: torch.Generator, *, gradient_corrected: bool = True) -> Tensor:
        """What the sensor's noise is in the finished picture: (N, 3, H, W), same for H and W even or odd.

        The mosaic's own faults are left out: they are in the truth of a real photo too.
        """
        raw = self.to_raw(image)
        deviation = (self.shot[:, None, None, None] * raw + self.read[:, None, None, None]).sqrt()
        grain = torch.randn(raw.shape, device=raw.device, generator=rng, dtype=raw.dtype)
        noisy = raw + deviation * grain
        shown = [self.to_srgb(demosaic(mosaic(x), gradient_corrected=gradient_corrected)) for x in (noisy, raw)]
        return shown[0] - shown[1]


def random_cameras(count: int, rng: torch.Generator, *, device: torch.device) -> Camera:
    """Cameras as they are met: daylight to lamp light, base ISO to very high.

    Shot noise is log-uniform in [1e-4, 1.2e-2], the Darmstadt cameras' range; read noise follows it as Brooks et al.
    measured.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, device=device, generator=rng) * (high - low) + low

    diagonal = uniform(1.2, 2.0, 3)
    share = uniform(0.1, 0.9, 3)
    matrix = torch.diag_embed(diagonal)
    rest = 1 - diagonal
    for row in range(3):
        matrix[:, row, (row + 1) % 3] = rest[:, row] * share[:, row]
        matrix[:, row, (row + 2) % 3] = rest[:, row] * (1 - share[:, row])
    gains = torch.stack((uniform(1.5, 2.4), torch.ones(count, device=device), uniform(1.4, 2.2)), dim=1)
    log_shot = uniform(-9.21, -4.42)  # natural logarithms
    wander = torch.randn(count, device=device, generator=rng)
    log_read = 2.18 * log_shot + 1.20 + 0.26 * wander
    return Camera(matrix, gains, log_shot.exp(), log_read.exp())


def mosaic(raw: Tensor) -> Tensor:
    """One colour a pixel, as a Bayer sensor (RGGB) sees it: (N, 3, H, W) -> (N, 1, H, W)."""
    red, green, blue = _phases(raw)
    return raw[:, :1] * red + raw[:, 1:2] * green + raw[:, 2:] * blue


def demosaic(seen: Tensor, *, gradient_corrected: bool = True) -> Tensor:
    """Colour from an RGGB mosaic, (N, 1, H, W) -> (N, 3, H, W): bilinear, or corrected by gradients (Malvar et al.)."""
    if gradient_corrected:
        kernels = seen.new_tensor((_GREEN_AT_OTHER, _BESIDE_GREEN, _ACROSS)) / 8
    else:
        plus = seen.new_zeros(3, 5, 5)
        plus[0, (1, 2, 2, 3), (2, 1, 3, 2)] = 0.25
        plus[1, 2, (1, 3)] = 0.5
        plus[2, (1, 1, 3, 3), (1, 3, 1, 3)] = 0.25
        kernels = plus
    green_there, beside, across = kernels
    bank = torch.stack((green_there, beside, beside.T, across))[:, None]
    green_there, along, upright, across = F.conv2d(F.pad(seen, (2, 2, 2, 2), mode="reflect"), bank)[:, :, None].unbind(
        dim=1
    )
    red, green, blue = _phases(seen)
    # A green pixel of a red row has red beside it and blue above it; of a blue row the reverse.
    in_red_row = torch.zeros_like(red)
    in_red_row[..., ::2, :] = 1
    sideways, above = green * in_red_row, green * (1 - in_red_row)
    return torch.cat(
        (
            seen * red + along * sideways + upright * above + across * blue,
            seen * green + green_there * (1 - green),
            seen * blue + upright * sideways + along * above + across * red,
        ),
        dim=1,
    )


def _phases(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where an RGGB sensor sees red, green and blue: three (1, 1, H, W) of zeros and ones."""
    red, blue = like.new_zeros(1, 1, *like.shape[-2:]), like.new_zeros(1, 1, *like.shape[-2:])
    red[..., ::2, ::2] = 1
    blue[..., 1::2, 1::2] = 1
    return red, 1 - red - blue, blue
