"""What `python -m training eval TASK` measures, and with which flags: one entry a task."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from training import TrainingError, colorize_eval, monochrome_eval, unwatermark_eval


class Measured(Protocol):
    """What an evaluation found; its JSON holds `command`, `markdown`, and `published`: figures by model."""

    def to_markdown(self) -> str: ...

    def to_json(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One task: its help, its flags beside --threads and --out, and what runs with them and the command's words."""

    title: str
    description: str
    example: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[argparse.Namespace, str], Measured]


def _denoise_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="clean pictures")
    parser.add_argument(
        "--model", nargs="*", metavar="NAME_OR_PATH",
        help="names, .onnx files (told the noise, and blind) or checkpoints .pt (default: the task's shipped model)",
    )  # fmt: skip
    parser.add_argument(
        "--sigma", type=int, nargs="+", default=[15, 25, 50], metavar="N", help="0-255 (default: 15 25 50)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N pictures by name (default: all)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one picture in N alone (default: all)")
    parser.add_argument(
        "--baselines", nargs="+", default=[], choices=("nlm", "bm3d"),
        help="nlm: OpenCV's non-local means; bm3d: where the package of that name is installed",
    )  # fmt: skip
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER",
        help="also photos with noise of their own, in pairs NAMEreal.jpg and NAMEmean.jpg, as they are",
    )  # fmt: skip
    parser.add_argument("--clean", action="store_true", help="also what the models do to pictures without noise")
    parser.add_argument("--grey", action="store_true", help="also the same pictures in black and white")
    parser.add_argument(
        "--levels", action="store_true",
        help="also how well the level is found, and whether dark and bright parts keep their mean",
    )  # fmt: skip
    parser.add_argument(
        "--self-ensemble", type=int, default=1, metavar="N",
        help="looks of the models at each picture, mirrored and turned: 1, 2, 4 or 8 (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/cache"), metavar="DIR",
        help="where the baselines' scores are kept (default: runs/cache)",
    )  # fmt: skip


def _measure_denoisers(args: argparse.Namespace, command: str) -> Measured:
    from training.evaluate import measure

    demand_at_least(args, sigma=1, seed=0, limit=1, every=1)
    return measure(
        args.data,
        models=[args.task] if args.model is None else args.model,
        baselines=args.baselines,
        sigmas=args.sigma,
        seed=args.seed,
        limit=args.limit,
        every=args.every,
        clean=args.clean,
        grey=args.grey,
        levels=args.levels,
        photos=args.photos,
        threads=args.threads,
        looks=args.self_ensemble,
        cache=args.cache,
        command=command,
    )


def demand_at_least(args: argparse.Namespace, **least: int) -> None:
    """Raise TrainingError for a flag, or one of its values, that is below its least."""
    for flag, low in least.items():
        value = getattr(args, flag)
        if value is not None and min(value if isinstance(value, list) else [value]) < low:
            raise TrainingError(f"--{flag} must be {low} or more.")


def _measure_colorizers(args: argparse.Namespace, command: str) -> Measured:
    demand_at_least(args, limit=1, hints=0, seed=0)
    return colorize_eval.measure(args, command)


def _measure_monochrome(args: argparse.Namespace, command: str) -> Measured:
    demand_at_least(args, count=1, seed=0)
    return monochrome_eval.measure_as_told(args, command)


def _digits_flags(parser: argparse.ArgumentParser) -> None:
    from training.digits_eval import add_flags

    add_flags(parser)


def _measure_digits(args: argparse.Namespace, command: str) -> Measured:
    from training.digits_eval import measure

    demand_at_least(args, limit=1)
    return measure(args, command)


def _reproduce_flags(parser: argparse.ArgumentParser) -> None:
    from training.reproduce_eval import add_flags

    add_flags(parser)


def _measure_reproductions(args: argparse.Namespace, command: str) -> Measured:
    from training.reproduce_eval import measure

    demand_at_least(args, limit=4, seed=0)
    return measure(args, command)


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    from training.planner_eval import add_flags

    add_flags(parser)


def _measure_plans(args: argparse.Namespace, command: str) -> Measured:
    from training.planner_eval import measure

    demand_at_least(args, number=1, clean=1, seed=0)
    return measure(args, command)


EVALUATIONS: dict[str, Evaluation] = {
    "denoise": Evaluation(
        title="PSNR and SSIM of denoisers on a folder of clean pictures",
        description="Print a table of PSNR and SSIM over a folder of clean pictures. Colour Gaussian noise, not\n"
        "clipped, the same for every row; answers clipped to [0, 1], not rounded to 8 bit.",
        example="--data ../shared/data/test/CBSD68 --model denoise-fast --baselines nlm --out report.json",
        add_flags=_denoise_flags,
        measure=_measure_denoisers,
    ),
    "colorize": Evaluation(
        title="PSNR, CIEDE2000 and colourfulness of a colorizer, with hints and without",
        description=f"Print a table of a colorizer and what it must beat.\n\n{colorize_eval.__doc__}",
        example="--data ../shared/data/photos --model colorize --out report.json --sheet runs/sheet.png",
        add_flags=colorize_eval.add_flags,
        measure=_measure_colorizers,
    ),
    "monochrome": Evaluation(
        title="how often the rule for black-and-white errs",
        description=f"{monochrome_eval.__doc__}",
        example="--data ../shared/data/photos --count 2000",
        add_flags=monochrome_eval.add_flags,
        measure=_measure_monochrome,
    ),
    "unwatermark": Evaluation(
        title="PSNR, SSIM, RMSE and the mask's F1 and IoU of watermark removers on four sets made by seed",
        description=f"Print tables over sets that are made by seed.\n\n{unwatermark_eval.__doc__}",
        example="--data ../shared/data/photos --marks ../shared/data --baselines --out report.json",
        add_flags=unwatermark_eval.add_flags,
        measure=unwatermark_eval.measure,
    ),
    "classify": Evaluation(
        title="digits read right, as numbers and as picture files",
        description="Print the share of MNIST's test digits that is read right: as they are, and as PNG files,\n"
        "plain, inverted, on coloured paper, scaled and with a border, read and found as a user's file is.",
        example="--data ../shared/data/mnist --model runs/export/classify-fast.onnx --out report.json",
        add_flags=_digits_flags,
        measure=_measure_digits,
    ),
    "reproduce": Evaluation(
        title="an autoencoder's code against JPEG, and whether its error tells photos from other pictures",
        description="Print the PSNR that the code of test photos gives beside JPEG's at the same bytes, and how well\n"
        "logos, text, digits and noise are told from them. What photos are like is learnt from the train split.",
        example="--data ../shared/data --model runs/export/reproduce-fast.onnx --out report.json",
        add_flags=_reproduce_flags,
        measure=_measure_reproductions,
    ),
    "plan": Evaluation(
        title="plans that are right, harm to clean photos, and what a plan costs against the best order",
        description="Print how many plans are what trying every order of the installed models asks for on damaged\n"
        "photos, for how many clean ones a step is planned, and how far the PSNR falls short of the best order.",
        example="--data ../shared/data --model runs/export/plan-fast.onnx --out report.json",
        add_flags=_plan_flags,
        measure=_measure_plans,
    ),
}
