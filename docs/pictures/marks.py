"""Makes the contact sheet of marks: eight free test photos with marks on, logos and fonts never trained on.

    python docs/pictures/marks.py --data ../shared/data [--model unwatermark] [--out docs/pictures/marks.webp]

Of each a crop: marked by us, as `restore unwatermark --certainty 0` gives it (the last one, which has no mark, without
that option), where it saw the mark, and the truth. The cases
were not chosen by how they come out; what fails stays in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw

from restore import Image, open_model, read
from training.mark_assets import Assets
from training.marks import draw_logo, draw_mark
from training.watermarks import MarkedPair, blend, compose, place

SIDE = 256
#: Photo, left and top of the crop; the mark: a logo's file, or a kind and the seed that it is drawn with; its longest
#: side, angle, centre (y, x) and opacity; JPEG quality, 0 for none.
SHEET = (
    ("58df1065f56fd207", 120, 60, "fluent-emoji-flat/raccoon.png", 150, 20, (128, 120), 0.5, 0),
    ("88397729d6fd5303", 200, 80, "noto/hot-pepper.png", 120, -30, (80, 170), 0.6, 0),
    ("9796194b3c1d3e40", 300, 80, "fluent-emoji-flat/shield.png", 110, 0, (150, 110), 0.4, 0),
    ("f9e5b1ff6b3df54e", 150, 40, "fluent-emoji-flat/ring-buoy.png", 200, 45, (128, 128), 0.5, 90),
    ("da321e9318e4365f", 130, 80, "noto/letter-b.png", 60, 0, (200, 60), 0.7, 85),
    ("dd7ef528eccde0e5", 200, 90, ("text", 13), 180, 0, (128, 128), 0.6, 90),
    ("89b3c6761d7fc89e", 180, 100, ("tiled", 7), 300, 0, (128, 128), 0.5, 90),
    ("27a62fa82df5150a", 120, 60, None, 0, 0, (0, 0), 0.0, 90),
)


def marked(case: tuple, data: Path, assets: Assets) -> MarkedPair:  # type: ignore[type-arg]
    """The crop of one case with its mark on, and the truth."""
    name, left, top, what, longest, angle, centre, opacity, quality = case
    clean = read(data / "photos" / "large" / f"{name}.webp").pixels[top : top + SIDE, left : left + SIDE]
    photo = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None] / 255
    alpha = light = torch.zeros(3, SIDE, SIDE)
    if what is not None:
        drawn = (
            draw_logo(data / "logos" / what, SIDE)
            if isinstance(what, str)
            else draw_mark(assets, what[0], SIDE, np.random.default_rng(what[1]))
        )
        mark = torch.from_numpy(drawn.copy()).permute(2, 0, 1)
        layer = place(mark, (SIDE, SIDE), longest=longest, angle=angle, centre=centre)
        alpha, light = blend(layer, opacity=opacity)
    return compose(photo, alpha[None], light[None], size=(SIDE, SIDE), quality=torch.tensor([float(quality)]))


def main() -> None:
    """Write the sheet, and print what was reached in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="with photos/, logos/ and fonts/")
    parser.add_argument("--model", default="unwatermark")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "marks.webp")
    args = parser.parse_args()
    unwatermark, assets = open_model(args.model), Assets.load(args.data, "test")
    line = 16
    sheet = PillowImage.new("RGB", (2 * (4 * SIDE + 8), 4 * (SIDE + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, case in enumerate(SHEET):
        pair = marked(case, args.data, assets)
        degraded, clean = (
            np.rint(picture[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
            for picture in (pair.inputs["image"], pair.clean)
        )
        # As a user would who sees a mark; the photo without one as a folder full of photos would be.
        done = unwatermark(Image(degraded), certainty=0.0) if case[3] else unwatermark(Image(degraded))
        x, y = index % 2 * (4 * SIDE + 8), index // 2 * (SIDE + line)
        mask = np.repeat(done.mask[..., None], 3, axis=2)
        for column, pixels in enumerate((degraded, done.image.pixels, mask, clean)):
            sheet.paste(PillowImage.fromarray(pixels), (x + column * SIDE, y + line))
        before, after = (
            -10 * np.log10(np.mean((p / 255.0 - clean / 255.0) ** 2) + 1e-10) for p in (degraded, done.image.pixels)
        )
        said = f"{before:.1f} -> {after:.1f} dB" if case[3] else f"no mark: {done.found['marked']:.1%} touched"
        draw.text((x, y + 1), said, fill="black")
        print(f"{case[0]}, {case[3]}: {said}")
    sheet.save(args.out, quality=80, method=6)


if __name__ == "__main__":
    main()
