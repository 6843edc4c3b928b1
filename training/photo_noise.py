"""The noise that photos have, made from clean ones: sensor, film, scanner, chroma blotches, JPEG.

Each kind is a field that is added to the clean picture, so the truth is the picture itself, never a
resampled one: `noise(clean, rng) -> (N, 3, H, W)`, batched, on the picture's device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.camera import random_cameras
from training.degrade import NoisyPair, add_gaussian_noise, evened_weight
from training.jpeg import jpeg

#: Side in pixels of the windows in which the noise's true level is taken.
_WINDOW = 16
#: The shares of the batches with the noise of photos that are softened, or shrunk, first.
_SOFTENED, _SHRUNK = 0.65, 0.175
#: What the network is told where the noise is of unknown kind and strength.
UNKNOWN = -1.0


@dataclass(frozen=True, slots=True)
class DenoisingMix:
    """White noise, told and untold, beside the noise of real photos, in fixed shares of each batch.

    Of the pictures `told` have unclipped white noise of a level that the network is told, uniform
    in [`low`, `high`]; `blind` the same untold, half of them clipped and rounded to 8 bit as a
    file would be; the rest the noise of a photo, untold, and two in three of the batches of these
    are softened first, some shrunk. Of those `untouched` stay as they are, every second batch's shrunk, so that
    fine texture is not taken for noise.
    Each picture is as likely as `grey` to be black-and-white: then its noise is the same in all three
    channels. Of those that are told nothing as many as `toned` have a tone, as sepia, which picture and noise share.
    """

    low: float = 0.0
    high: float = 75 / 255
    told: float = 0.45
    blind: float = 0.15
    untouched: float = 0.1
    grey: float = 0.25
    toned: float = 0.3

    def __call__(self, clean: Tensor, rng: torch.Generator) -> NoisyPair:
        count = clean.shape[0]
        # Shares of the whole number of pictures, and chance for the remainder, so that one picture a batch works too.
        turn = float(torch.rand((), device=clean.device, generator=rng))
        first, second = int(count * self.told + turn), int(count * (self.told + self.blind) + turn)
        sigma = torch.rand(second, device=clean.device, generator=rng) * (self.high - self.low) + self.low
        last = max(second, count - int(count * self.untouched + turn))
        clean = torch.cat((clean[:second], _resized(clean, second, last, rng)))
        shot = photo_noise(clean[second:last], rng)
        noisy = torch.cat((add_gaussian_noise(clean[:second], sigma, rng), shot, clean[last:]))
        chance = torch.rand(2, count, 1, 1, 1, device=clean.device, generator=rng)
        toned = chance[1] < self.toned
        toned[:first] = False
        tones = torch.where(toned, _tones(count, rng, clean.device), 1)
        clean, noisy = _greyed(clean, noisy, tones, chosen=chance[0] < self.grey, white=second)
        level = F.avg_pool2d((noisy - clean).square().mean(dim=1, keepdim=True), _WINDOW).sqrt()
        in_files = slice(first, first + (second - first) // 2)
        noisy[in_files] = (noisy[in_files] * 255).round().clamp(0, 255) / 255
        noisy[second:last] = saved(noisy[second:last], rng)
        told = clean.new_full((count,), UNKNOWN)
        told[:first] = sigma[:first]
        rms = (noisy - clean).square().mean(dim=(1, 2, 3)).sqrt()
        return NoisyPair({"image": noisy, "sigma": told}, clean, evened_weight(rms), level)


def _tones(count: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Colours to multiply grey pictures with, (N, 3, 1, 1): the strongest channel at 1, the others at 0.7 or more."""
    tone = 0.7 + 0.3 * torch.rand(count, 3, 1, 1, device=device, generator=rng)
    return tone / tone.amax(dim=1, keepdim=True)


def _greyed(clean: Tensor, noisy: Tensor, tones: Tensor, *, chosen: Tensor, white: int) -> tuple[Tensor, Tensor]:
    """The pairs, those `chosen` (N, 1, 1, 1) in grey times their tone.

    Of the first `white` the noise is that of one channel, of the rest its luma.
    """
    noise = noisy - clean
    plain = torch.cat((noise[:white, :1].expand(-1, 3, -1, -1), luma_of(noise[white:]).expand(-1, 3, -1, -1)))
    clean = torch.where(chosen, luma_of(clean) * tones, clean)
    return clean, clean + torch.where(chosen, plain * tones, noise)


def _resized(clean: Tensor, first: int, last: int, rng: torch.Generator) -> Tensor:
    """The batch from `first` on: up to `last`, where noise comes, softened, shrunk or not; the rest shrunk or not."""
    draw = torch.rand(2, device=clean.device, generator=rng).tolist()
    photos, untouched = clean[first:last], clean[last:]
    if draw[0] < _SOFTENED:
        photos = softened(photos, rng)
    elif draw[0] < _SOFTENED + _SHRUNK:
        photos = shrunk(clean, len(photos), rng)
    if draw[1] < 0.5:
        untouched = shrunk(clean, len(untouched), rng)
    return torch.cat((photos, untouched))


def shrunk(clean: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """`count` pictures as large as these, each of 2 x 2 or 3 x 3 of them, shrunk and side by side.

    (N, 3, H, W) -> (count, 3, H, W). Grass becomes as fine as noise then, as sand is in other photos, and is no noise.
    """
    height, width = clean.shape[-2:]
    side = 2 + int(torch.randint(2, (), device=clean.device, generator=rng))
    chosen = torch.randint(len(clean), (count, side, side), device=clean.device, generator=rng)
    sheet = clean[chosen].permute(0, 3, 1, 4, 2, 5).reshape(count, 3, side * height, side * width)
    return F.interpolate(sheet, size=(height, width), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def softened(clean: Tensor, rng: torch.Generator) -> Tensor:
    """A part of each picture, enlarged 1.2 to 4 times to the size of the whole: (N, 3, H, W), as before.

    A camera's files are soft at their full size, where their noise is; photos for training were shrunk.
    """
    if len(clean) == 0:
        return clean
    draw = torch.rand(3, device=clean.device, generator=rng).tolist()
    height, width = clean.shape[-2:]
    scale = 1.2 * (4 / 1.2) ** draw[0]
    rows, columns = max(2, round(height / scale)), max(2, round(width / scale))
    top, left = int(draw[1] * (height - rows + 1)), int(draw[2] * (width - columns + 1))
    part = clean[..., top : top + rows, left : left + columns]
    return F.interpolate(part, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def photograph(clean: Tensor, rng: torch.Generator) -> Tensor:
    """The pictures as a camera, a film scan or a much-sent file would have them: (N, 3, H, W), 8 bits in [0, 1]."""
    return saved(photo_noise(clean, rng), rng)


def photo_noise(clean: Tensor, rng: torch.Generator) -> Tensor:
    """The pictures with a sensor's noise (half of them), film grain, a scanner's noise, colour blotches, or none.

    (N, 3, H, W) in [0, 1] -> the same shape, not clipped.
    """
    if clean.shape[0] == 0:
        return clean
    count, device = clean.shape[0], clean.device
    order = torch.rand(count, device=device, generator=rng).argsort()
    shares = (0.51, 0.14, 0.09, 0.09)
    noisy = clean.clone()
    start = 0.0
    turn = float(torch.rand((), device=device, generator=rng))
    for share, noise in zip(shares, (sensor_noise, film_grain, scanner_noise, chroma_blotches), strict=True):
        chosen = order[min(count, int(start * count + turn)) : min(count, int((start + share) * count + turn))]
        start += share
        if len(chosen):
            noisy[chosen] += noise(clean[chosen], rng)
    return noisy


def sensor_noise(clean: Tensor, rng: torch.Generator) -> Tensor:
    """A camera's noise (`training.camera`), smoothed or sharpened and resampled as cameras and editors do.

    Smoothing, sharpening and resampling are linear, so they are done to the noise alone. The noise
    arises at up to twice or down to a third of the picture's size.
    """
    height, width = clean.shape[-2:]
    draw = torch.rand(8, device=clean.device, generator=rng).tolist()
    scale = 1.0 if draw[0] < 0.4 else 0.35 * (2 / 0.35) ** draw[1]
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    seen = clean if scale == 1.0 else F.interpolate(clean, size=size, mode="area" if scale < 1 else "bilinear")
    cameras = random_cameras(len(clean), rng, device=clean.device)
    noise = cameras.noise(seen, rng, gradient_corrected=draw[2] < 0.5)
    if draw[3] < 0.75:
        noise = _filtered(noise, rng)
    if scale != 1.0:
        noise = F.interpolate(noise, size=(height, width), mode="area" if scale > 1 else "bilinear")
    return noise


def _filtered(noise: Tensor, rng: torch.Generator) -> Tensor:
    """Noise after a camera's own denoising or sharpening: luma mixed with its blur, colour blurred far more.

    A mix above 1 or below 0 would be no filter that a camera has: luma keeps 0.1 to 1.3 of what
    the blur takes away, colour 0 to 0.6, mostly little. Eyes see no fine detail in colour, so cameras smooth it over
    many pixels; what is left of its noise are faint blotches.
    """
    count = len(noise)
    draw = torch.rand(4, device=noise.device, generator=rng).tolist()
    per_picture = torch.rand(2, count, 1, 1, 1, device=noise.device, generator=rng)
    luma = luma_of(noise)
    chroma = noise - luma
    soft_luma, soft_chroma = blur(luma, 0.5 + 1.3 * draw[0]), blur(chroma, 0.6 * 10 ** draw[1])
    luma_kept, chroma_kept = 0.1 + 1.2 * per_picture[0], 0.6 * per_picture[1] ** 2
    return soft_luma + luma_kept * (luma - soft_luma) + soft_chroma + chroma_kept * (chroma - soft_chroma)


def film_grain(clean: Tensor, rng: torch.Generator) -> Tensor:
    """Correlated grain, strongest in the mid-tones, mostly alike in the three layers.

    Its deviation at mid-grey is 2 to 18 levels, its grains' sigma 0.4 to 1.6 pixels.
    """
    count = len(clean)
    draw = torch.rand(3, count, 1, 1, 1, device=clean.device, generator=rng)
    size = 0.4 + 1.2 * float(torch.rand((), device=clean.device, generator=rng))
    white = torch.randn(count, 4, *clean.shape[-2:], device=clean.device, generator=rng, dtype=clean.dtype)
    grain = _unit(blur(white, size), size)
    own = 0.6 * draw[1]
    field = (1 - own**2).sqrt() * grain[:, :1] + own * grain[:, 1:]
    tone = luma_of(clean).clamp(0, 1)
    midtones = 0.25 + 0.75 * (4 * tone * (1 - tone))
    return field * midtones * (2 + 16 * draw[0] ** 2) / 255


def scanner_noise(clean: Tensor, rng: torch.Generator) -> Tensor:
    """Stripes along the scan, different in each channel, beside the sensor line's white noise.

    Stripes have a deviation of 0.5 to 4 levels, the white noise 1 to 8; half of the batches are turned.
    """
    count, _, height, width = clean.shape
    draw = torch.rand(2, count, 1, 1, 1, device=clean.device, generator=rng)
    stripes = torch.randn(count, 3, 1, width, device=clean.device, generator=rng, dtype=clean.dtype)
    if height == width and float(torch.rand((), device=clean.device, generator=rng)) < 0.5:
        stripes = stripes.transpose(2, 3)
    white = torch.randn(clean.shape, device=clean.device, generator=rng, dtype=clean.dtype)
    return (stripes * (0.5 + 3.5 * draw[0]) + white * (1 + 7 * draw[1])) / 255


def chroma_blotches(clean: Tensor, rng: torch.Generator) -> Tensor:
    """Clouds of colour, several pixels wide, without luma, beside a little luma noise: a phone's night shot.

    Blotches have a deviation of 2 to 12 levels and a sigma of 1.5 to 6 pixels; stronger in the dark.
    """
    count = len(clean)
    draw = torch.rand(3, count, 1, 1, 1, device=clean.device, generator=rng)
    size = 1.5 + 4.5 * float(torch.rand((), device=clean.device, generator=rng))
    white = torch.randn(clean.shape, device=clean.device, generator=rng, dtype=clean.dtype)
    clouds = _unit(blur(white, size), size)
    clouds = clouds - luma_of(clouds)
    dark = 1 - 0.6 * luma_of(clean).clamp(0, 1)
    fine = torch.randn(count, 1, *clean.shape[-2:], device=clean.device, generator=rng, dtype=clean.dtype)
    return (clouds * dark * (2 + 10 * draw[0]) + fine * (4 * draw[1])) / 255


def saved(noisy: Tensor, rng: torch.Generator) -> Tensor:
    """As 8-bit files, in [0, 1]: 65 in 100 once a JPEG of quality 60 to 98, 20 twice, and 15 without loss."""
    count = len(noisy)
    answer = (noisy * 255).round().clamp(0, 255) / 255
    for chance in (0.8, 0.25):
        draw = torch.rand(count + 3, device=noisy.device, generator=rng)
        chosen = torch.nonzero(draw[:count] < chance).flatten()
        if not len(chosen):
            continue
        quality = 60 + 38 * torch.rand(len(chosen), device=noisy.device, generator=rng).sqrt()
        # A crop of a photo begins anywhere within a block of 8.
        top, left = int(draw[-1] * 8), int(draw[-2] * 8)
        shifted = F.pad(answer[chosen], (left, 0, top, 0), mode="replicate")
        coded = jpeg(shifted, quality.round(), subsample=bool(draw[-3] < 0.6))
        answer[chosen] = coded[..., top:, left:]
    return answer


def blur(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of `sigma` pixels, (N, C, H, W) -> same shape; edges are mirrored, or repeated if too short."""
    radius = max(1, math.ceil(3 * sigma))
    taps = _taps(sigma, radius).to(image)
    channels = image.shape[1]
    mode = "reflect" if radius < min(image.shape[-2:]) else "replicate"
    padded = F.pad(image, (radius,) * 4, mode=mode)
    rows = taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    down = F.conv2d(padded, rows, groups=channels)
    return F.conv2d(down, rows.transpose(2, 3), groups=channels)


def _taps(sigma: float, radius: int) -> Tensor:
    at = torch.arange(-radius, radius + 1.0)
    taps = torch.exp(-0.5 * (at / sigma) ** 2)
    return taps / taps.sum()


def _unit(field: Tensor, sigma: float) -> Tensor:
    """Blurred white noise of deviation 1, scaled back to deviation 1."""
    taps = _taps(sigma, max(1, math.ceil(3 * sigma)))
    return field / float(taps.square().sum())


def luma_of(image: Tensor) -> Tensor:
    """Rec. 601 luma of sRGB-encoded pictures: (N, 3, H, W) -> (N, 1, H, W)."""
    weights = image.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)
    return (image * weights).sum(dim=1, keepdim=True)
