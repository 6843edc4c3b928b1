"""What these tests share: fonts and logos made in code, a tiny network for marks, and torch on one thread.

So sums are in one order, and a busy machine does not stall them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from training.mark_assets import family_split

SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mark_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fonts and logos as in the data folder: of each split one logo and one font, Pillow's own under many names."""
    root = tmp_path_factory.mktemp("assets")
    (root / "fonts").mkdir()
    (root / "logos").mkdir()
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    families = {
        split: next(f"Family {i}" for i in range(99) if family_split(f"Family {i}") == split) for split in SPLITS
    }
    fonts, logos = ["file\tfamily\tcategory"], ["file\tkind\tsplit"]
    for index, split in enumerate(SPLITS):
        (root / "fonts" / f"{split}.ttf").write_bytes(font.font_bytes)
        fonts.append(f"{split}.ttf\t{families[split]}\tsans-serif")
        logo = np.zeros((20, 24, 4), np.uint8)
        # A square in two colours, of which one channel tells the split.
        logo[2:18, 2:22] = (250, 10 + 40 * index, 20, 255)
        logo[6:14, 6:18, :3] = (20, 60, 240)
        Image.fromarray(logo).save(root / "logos" / f"{split}.png")
        logos.append(f"{split}.png\tbrand\t{split}")
    (root / "fonts" / "FONTS.tsv").write_text("\n".join(fonts) + "\n", encoding="utf-8")
    (root / "logos" / "LOGOS.tsv").write_text("\n".join(logos) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def tiny_remover_checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """A checkpoint of the recipe unwatermark-fast."""
    return make_checkpoint(
        "unwatermark", std=0.15, channels=(4, 6), blocks=(1, 1), edge_channels=(4, 6), edge_blocks=(1, 1)
    )


@pytest.fixture(scope="session")
def tiny_remover(tmp_path_factory: pytest.TempPathFactory, tiny_remover_checkpoint: Path) -> Path:
    """The ONNX file that the real export makes of it."""
    from training.export import export_checkpoint

    return export_checkpoint(tiny_remover_checkpoint, tmp_path_factory.mktemp("models"))
