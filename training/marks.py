"""Drawings of visible marks: text, logos, signatures, date stamps, bars and patterns, from one split's fonts and logos.

Inside, a drawing is premultiplied float32 (H, W, 4) in [0, 1]; what comes out is straight uint8 RGBA.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.ink import Array, blur, dress, fill, grow, over, put, random_colour, straight, tight, turned
from training.mark_assets import Assets, Font

#: Each kind and its share of what is drawn. Logos lead: they are the published sets' only kind.
SHARES = {"logo": 0.3, "text": 0.2, "tiled": 0.2, "lines": 0.08, "signature": 0.08, "date": 0.06, "bar": 0.08}
KINDS = tuple(SHARES)
#: These cover the whole picture instead of lying somewhere in it.
PATTERNS = frozenset({"tiled", "lines"})
#: The largest share of a pattern that is mark: above it little of a photo is left to learn from.
_MOST_COVERED = 0.4

_SYLLABLES = (
    "al", "ba", "co", "da", "el", "fo", "gra", "hi", "jo", "ka", "lu", "mi", "no", "or", "pix", "qui", "ra",
    "sol", "ta", "um", "ven", "wil", "xa", "yo", "zen", "ber", "tra", "lin", "mar",
)  # fmt: skip
_NOTES = ("SAMPLE", "PREVIEW", "PROOF", "DRAFT", "COPY", "DO NOT COPY", "COPYRIGHT", "All rights reserved", "Demo")
#: Fonts whose files hold one script only, by a part of the file's name.
_SCRIPTS = {
    "-arabic-": ("عينة", "حقوق النشر", "نموذج"),
    "-hebrew-": ("דוגמה", "כל הזכויות שמורות"),
    "-devanagari-": ("नमूना", "सर्वाधिकार सुरक्षित"),
    "Fallback": ("样张", "版权所有", "水印 見本", "禁止转载"),
}


def draw_mark(assets: Assets, kind: str, side: int, rng: np.random.Generator) -> Array:
    """One random mark as straight RGBA: (h, w, 4) uint8, its longest side about `side` pixels.

    A pattern is (side, side, 4), already turned; the other kinds are upright and tight.
    """
    for _ in range(20):
        layer = _DRAW[kind](assets, side, rng)
        covered = float((layer[..., 3] > 1 / 255).mean())
        if covered > 0 and (kind not in PATTERNS or 0.005 < covered <= _MOST_COVERED):
            break
    return straight(layer if kind in PATTERNS else tight(layer))


def pick_kind(rng: np.random.Generator) -> str:
    """A kind of mark, drawn by its share."""
    shares = np.array(list(SHARES.values()))
    return str(rng.choice(KINDS, p=shares / shares.sum()))


def pick_angle(rng: np.random.Generator) -> float:
    """Degrees: half the time 0, often +-30 or +-45, now and then any."""
    chance = rng.random()
    if chance < 0.5:
        return 0.0
    return float(rng.choice((-45, -30, 30, 45, -90, 90))) if chance < 0.8 else float(rng.uniform(-180, 180))


# Texts


def _name(rng: np.random.Generator, *, parts: int = 3) -> str:
    return "".join(rng.choice(_SYLLABLES, rng.integers(2, parts + 1))).capitalize()


def _phrase(font: Font, rng: np.random.Generator) -> str:
    for part, words in _SCRIPTS.items():
        if part in font.path.name:
            return str(rng.choice(words))
    name, other = _name(rng), _name(rng)
    text = str(
        rng.choice(
            (
                f"© {name} {rng.integers(1995, 2030)}", f"{name} Photography", f"Photo by {name} {other}",
                f"{name.lower()}stock", f"www.{name.lower()}.com", f"@{name.lower()}_{other.lower()}",
                f"ID {rng.integers(10**5, 10**9)}", f"{name} {other}", f"{name}\n{other} Images",
                name, str(rng.choice(_NOTES)), str(rng.choice(_NOTES)), f"{rng.choice(_NOTES)}\n© {name} {other}",
            )
        )
    )  # fmt: skip
    chance = rng.random()
    return text.upper() if chance < 0.3 else " ".join(text) if chance < 0.36 and "\n" not in text else text


def _moment(rng: np.random.Generator, *, plain: bool) -> str:
    year, month, day = rng.integers(1985, 2030), rng.integers(1, 13), rng.integers(1, 29)
    clock = f"{rng.integers(0, 24):02}:{rng.integers(0, 60):02}"
    # A seven-segment font has no slash and no comma.
    dates = (f"{year % 100:02} {month:2} {day:2}", f"{year}-{month:02}-{day:02}", f"{day:02}.{month:02}.{year}")
    more = () if plain else (f"{month:02}/{day:02}/{year}", f"'{year % 100:02} {month:2} {day:2}")
    date = str(rng.choice((*dates, *more)))
    return f"{date}  {clock}" if rng.random() < 0.4 else date


def _font(assets: Assets, rng: np.random.Generator, *wanted: str, latin: bool = False) -> Font:
    """A font of one of the wanted categories where the split has one; without digits-only fonts."""
    usable = [f for f in assets.fonts if "DSEG" not in f.path.name] or list(assets.fonts)
    if latin:
        usable = [f for f in usable if not any(part in f.path.name for part in _SCRIPTS)] or usable
    some = [f for f in usable if f.category in wanted] or usable
    return some[int(rng.integers(len(some)))]


def _write(text: str, font: Font, side: int) -> Array:
    """The ink of a text, (h, w) in [0, 1], its longest side about `side`."""
    box = _text_box(text, ImageFont.truetype(font.path, 64))
    size = max(5, round(64 * side / max(box[2] - box[0], box[3] - box[1], 1)))
    face = ImageFont.truetype(font.path, size)
    left, top, right, bottom = _text_box(text, face)
    image = Image.new("L", (max(1, int(right - left)), max(1, int(bottom - top))))
    ImageDraw.Draw(image).multiline_text((-left, -top), text, 255, face, align="center")
    return np.asarray(image, np.float32) / 255


def _text_box(text: str, face: ImageFont.FreeTypeFont) -> tuple[float, float, float, float]:
    return ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, face, align="center")


# Kinds


def _text(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    font = _font(assets, rng)
    text = _phrase(font, rng)
    ink = _write(text, font, side)
    layer = dress(ink, rng, line=ink.shape[0] / (1 + text.count("\n")))
    chance = rng.random()
    if chance < 0.15:
        layer = _joined(_logo(assets, max(12, int(side * rng.uniform(0.15, 0.4))), rng), layer, rng)
    elif chance < 0.27:
        layer = _framed(layer, rng, filled=chance < 0.21)
    return layer


def _joined(first: Array, second: Array, rng: np.random.Generator) -> Array:
    """Two pieces side by side or one above the other, centred."""
    axis = int(rng.integers(2))
    gap = int(0.1 * min(first.shape[axis], second.shape[axis]))
    shape = [max(first.shape[0], second.shape[0]), max(first.shape[1], second.shape[1]), 4]
    shape[axis] = first.shape[axis] + gap + second.shape[axis]
    canvas = np.zeros(shape, np.float32)
    for piece, at in ((first, 0), (second, first.shape[axis] + gap)):
        corner = [(shape[i] - piece.shape[i]) // 2 for i in range(2)]
        corner[axis] = at
        put(canvas, piece, corner[0], corner[1])
    return canvas


def _framed(layer: Array, rng: np.random.Generator, *, filled: bool) -> Array:
    """In a box with round corners: a line around, or a tinted ground."""
    pad = max(2, int(0.2 * layer.shape[0]))
    layer = np.pad(layer, ((pad, pad), (pad, pad), (0, 0)))
    height, width = layer.shape[:2]
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    shape, corner = (1, 1, width - 2, height - 2), int(pad * rng.uniform(0, 1))
    if filled:
        draw.rounded_rectangle(shape, corner, fill=255)
    else:
        draw.rounded_rectangle(shape, corner, outline=255, width=max(1, pad // 6))
    ink = np.asarray(image, np.float32) / 255
    return over(layer, fill(ink * (rng.uniform(0.2, 0.7) if filled else 1), random_colour(rng)))


def draw_logo(path: Path, side: int) -> Array:
    """A logo as it is in its file, scaled to `side`: straight RGBA (h, w, 4) uint8."""
    return straight(tight(_load_logo(path, side)))


def _load_logo(path: Path, side: int) -> Array:
    with Image.open(path) as image:
        logo = image.convert("RGBA")
    scale = side / max(logo.size)
    size = (max(1, round(logo.width * scale)), max(1, round(logo.height * scale)))
    # Pillow resizes RGBA premultiplied, so no colour bleeds out of where nothing is.
    straight = np.asarray(logo.resize(size, Image.Resampling.LANCZOS), np.float32) / 255
    return np.concatenate((straight[..., :3] * straight[..., 3:], straight[..., 3:]), axis=2)


def _logo(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    layer = _load_logo(assets.logos[int(rng.integers(len(assets.logos)))].path, side)
    chance = rng.random()
    solid = layer[layer[..., 3] > 0.9][:, :3]
    # A logo of one colour is a shape, and may have any colour; of others the shape alone may be a full square.
    if len(solid) and np.ptp(solid, axis=0).max() < 0.1 and chance < 0.6:
        return dress(layer[..., 3], rng)
    if chance > 0.85:
        layer[..., :3] = layer[..., :3].mean(axis=2, keepdims=True)
    elif chance > 0.75:
        unit = max(1, round(0.02 * side))
        layer = np.pad(layer, ((3 * unit, 3 * unit), (3 * unit, 3 * unit), (0, 0)))
        layer = over(layer, fill(grow(layer[..., 3], unit), np.full(3, float(rng.random() < 0.6))))
    return layer


def _signature(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    if rng.random() < 0.35:
        ink = _scribble(side, rng)
    else:
        ink = _write(f"{_name(rng)} {_name(rng)}", _font(assets, rng, "handwriting", latin=True), side)
    if rng.random() < 0.3:
        ink = np.pad(ink, ((0, max(3, ink.shape[0] // 4)), (0, 0)))
        _stroke(ink, ink.shape[0] * 0.88, ink.shape[1], rng)
    return dress(ink, rng) if rng.random() < 0.3 else fill(ink, random_colour(rng))


def _stroke(ink: Array, y: float, width: int, rng: np.random.Generator) -> None:
    """A slightly bent line under a signature, in place."""
    image = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    x = np.linspace(0.05 * width, 0.95 * width, 24)
    line = y + 0.04 * ink.shape[0] * np.sin(np.linspace(0, rng.uniform(1, 4), 24))
    ImageDraw.Draw(image).line(list(zip(x, line, strict=True)), 255, max(1, ink.shape[0] // 40), joint="curve")
    ink[:] = np.asarray(image, np.float32) / 255


def _scribble(side: int, rng: np.random.Generator) -> Array:
    """A pen's path that no font has: a large first letter, loops that shrink and lean, a last stroke."""
    fine, count = 3, 500
    width, height = side * fine, int(side * fine * rng.uniform(0.3, 0.5))
    t = np.linspace(0, 1, count)
    turns = 2 * np.pi * np.cumsum(np.interp(t, np.linspace(0, 1, 10), rng.uniform(0.4, 1.6, 10)))
    turns *= rng.uniform(3, 8) / count
    size = np.interp(t, (0, 0.15, 0.3, 0.85, 1), (1, 0.9, *rng.uniform(0.2, 0.5, 2), 0.05))
    size *= np.interp(t, np.linspace(0, 1, 9), rng.uniform(0.5, 1.3, 9))
    wave = size * (np.cos(turns) + 0.4 * np.cos(2.3 * turns + rng.uniform(0, 6)))
    x = 0.12 + 0.7 * t**0.8 + 0.09 * size * np.sin(turns) + 0.05 * wave
    y = 0.55 - rng.uniform(-0.05, 0.2) * t + 0.3 * wave
    image = Image.new("L", (width, height))
    pen = max(2, int(side * fine * rng.uniform(0.005, 0.012)))
    ImageDraw.Draw(image).line(list(zip(x * width, y * height, strict=True)), 255, pen, joint="curve")
    return np.asarray(image.reduce(fine), np.float32) / 255


def _date(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    digits = [f for f in assets.fonts if "DSEG" in f.path.name]
    plain = bool(digits) and rng.random() < 0.5
    font = digits[int(rng.integers(len(digits)))] if plain else _font(assets, rng, "monospace", latin=True)
    ink = _write(_moment(rng, plain=plain), font, side)
    amber = np.array(colorsys.hsv_to_rgb(rng.uniform(0, 0.17), rng.uniform(0.6, 1), rng.uniform(0.9, 1)), np.float32)
    colour = amber if rng.random() < 0.7 else random_colour(rng)
    ink = np.pad(ink, max(3, ink.shape[0] // 3))
    layer = fill(ink, colour)
    if rng.random() < 0.4:
        # A camera's date back exposed the film with light, which spread.
        layer = over(layer, fill(0.6 * blur(ink, max(1.0, ink.shape[0] / 20)), amber))
    return layer


def _bar(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    height = max(8, int(side * rng.uniform(0.035, 0.1)))
    ground = float(rng.random() < 0.35) * np.ones(3, np.float32) if rng.random() < 0.7 else random_colour(rng)
    layer = fill(np.full((height, side), rng.uniform(0.25, 1), np.float32), ground)
    font = _font(assets, rng, "sans-serif")
    ink = _write(_phrase(font, rng).replace("\n", "  "), font, side)
    scale = min(1.0, height * rng.uniform(0.5, 0.8) / ink.shape[0], 0.9 * side / ink.shape[1])
    size = (max(1, int(ink.shape[1] * scale)), max(1, int(ink.shape[0] * scale)))
    ink = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BOX))
    ink_colour = np.full(3, 1.0 - round(float(ground.mean())), np.float32)
    left = int(rng.choice((height // 3, (side - size[0]) // 2, side - size[0] - height // 3)))
    put(layer, fill(ink, ink_colour), (height - size[1]) // 2, left)
    return layer


def _tiled(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    """4 to 60 copies of one piece in rows, often in bricks, turned as a whole."""
    long = int(side * rng.uniform(0.12, 0.42))
    draw = _logo if rng.random() < 0.3 else _text
    piece = tight(draw(assets, max(16, long), rng))
    height, width = piece.shape[:2]
    gaps = rng.uniform(0.15, 1.4, 2) * (min(height, width) + 0.25 * max(height, width))
    step_y, step_x = height + int(gaps[0]) + 1, width + int(gaps[1]) + 1
    # As many as a picture has room for, at the most 60: the gaps grow until it holds.
    grow = max(1.0, (side * side / (60 * step_y * step_x)) ** 0.5)
    step_y, step_x = int(step_y * grow), int(step_x * grow)
    whole = int(side * 1.45)
    canvas = np.zeros((whole, whole, 4), np.float32)
    brick = step_x // 2 if rng.random() < 0.5 else 0
    for row, top in enumerate(range(-int(rng.integers(step_y)), whole, step_y)):
        for left in range((row % 2) * brick - step_x, whole, step_x):
            put(canvas, piece, top, left)
    # Most stock previews are written aslant.
    angle = float(rng.choice((-45, -30, 30, 45))) if rng.random() < 0.4 else pick_angle(rng)
    return turned(canvas, angle, side)


def _lines(assets: Assets, side: int, rng: np.random.Generator) -> Array:
    """A lattice, stripes or a cross from corner to corner, at times with a text in the middle."""
    whole = int(side * 1.45)
    image = Image.new("L", (whole, whole))
    draw = ImageDraw.Draw(image)
    pen = max(1, round(side * rng.uniform(0.002, 0.008)))
    if rng.random() < 0.25:
        low, high = (whole - side) // 2, (whole + side) // 2
        draw.line((low, low, high, high), 255, pen)
        draw.line((low, high, high, low), 255, pen)
        angle = 0.0
    else:
        step, both, angle = int(side * rng.uniform(0.06, 0.3)), rng.random() < 0.65, pick_angle(rng)
        for at in range(int(rng.integers(step)), whole, step):
            draw.line((0, at, whole, at), 255, pen)
            if both:
                draw.line((at, 0, at, whole), 255, pen)
    layer = turned(fill(np.asarray(image, np.float32) / 255, random_colour(rng)), angle, side)
    if rng.random() < 0.5:
        piece = _text(assets, int(side * rng.uniform(0.25, 0.6)), rng)
        put(layer, piece, (side - piece.shape[0]) // 2, (side - piece.shape[1]) // 2)
    return layer


_DRAW: dict[str, Callable[[Assets, int, np.random.Generator], Array]] = {
    "logo": _logo, "text": _text, "tiled": _tiled, "lines": _lines,
    "signature": _signature, "date": _date, "bar": _bar,
}  # fmt: skip
