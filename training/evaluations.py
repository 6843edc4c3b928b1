"""What `python -m training eval TASK` measures, and with which flags: one entry a task."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from restore import store
from restore.session import Session
from training import TrainingError, colorize_eval, monochrome_eval, unwatermark_eval
from training.weights import weights_digest


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
    #: The flags that decide what all published figures are of; those that a figure's name tells, as a sigma, do not.
    decisive: tuple[str, ...]
    #: The flags that say of how many pictures the figures are whose names end as they do: --clwd of "psnr/clwd".
    counts: tuple[str, ...] = ()


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
        decisive=("data", "seed", "limit", "every"),
    ),
    "colorize": Evaluation(
        title="PSNR, CIEDE2000 and colourfulness of a colorizer, with hints and without",
        description=f"Print a table of a colorizer and what it must beat.\n\n{colorize_eval.__doc__}",
        example="--data ../shared/data/photos --model colorize --out report.json --sheet runs/sheet.png",
        add_flags=colorize_eval.add_flags,
        measure=_measure_colorizers,
        decisive=("data", "split", "strength", "seed", "limit"),
    ),
    "monochrome": Evaluation(
        title="how often the rule for black-and-white errs",
        description=f"{monochrome_eval.__doc__}",
        example="--data ../shared/data/photos --count 2000",
        add_flags=monochrome_eval.add_flags,
        measure=_measure_monochrome,
        decisive=("data", "count", "seed"),
    ),
    "unwatermark": Evaluation(
        title="PSNR, SSIM, RMSE and the mask's F1 and IoU of watermark removers on four sets made by seed",
        description=f"Print tables over sets that are made by seed.\n\n{unwatermark_eval.__doc__}",
        example="--data ../shared/data/photos --marks ../shared/data --baselines --out report.json",
        add_flags=unwatermark_eval.add_flags,
        measure=unwatermark_eval.measure,
        decisive=("data", "marks", "split", "megapixels"),
        counts=("clwd", "hard", "large", "sent", "unmarked"),
    ),
    "classify": Evaluation(
        title="digits read right, as numbers and as picture files",
        description="Print the share of MNIST's test digits that is read right: as they are, and as PNG files,\n"
        "plain, inverted, on coloured paper, scaled and with a border, read and found as a user's file is.",
        example="--data ../shared/data/mnist --model runs/export/classify-fast.onnx --out report.json",
        add_flags=_digits_flags,
        measure=_measure_digits,
        decisive=("data", "limit"),
    ),
    "reproduce": Evaluation(
        title="an autoencoder's code against JPEG, and whether its error tells photos from other pictures",
        description="Print the PSNR that the code of test photos gives beside JPEG's at the same bytes, and how well\n"
        "logos, text, digits and noise are told from them. What photos are like is learnt from the train split.",
        example="--data ../shared/data --model runs/export/reproduce-fast.onnx --out report.json",
        add_flags=_reproduce_flags,
        measure=_measure_reproductions,
        decisive=("data", "limit", "seed"),
    ),
    "plan": Evaluation(
        title="plans that are right, harm to clean photos, and what a plan costs against the best order",
        description="Print how many plans are what trying every order of the installed models asks for on damaged\n"
        "photos, for how many clean ones a step is planned, and how far the PSNR falls short of the best order.",
        example="--data ../shared/data --model runs/export/plan-fast.onnx --out report.json",
        add_flags=_plan_flags,
        measure=_measure_plans,
        decisive=("data", "number", "clean", "seed"),
    ),
}


def conditions(command: str, figures: Iterable[str]) -> dict[str, str]:
    """What the figures of these names were measured on, by flag, of the command of an evaluation.

    Folders count by their names alone, wherever they lie. A command that this version does not know is its own
    condition.
    """
    try:
        words = shlex.split(command)
        evaluation = EVALUATIONS[words[4]]
        parser = _Parser(add_help=False)
        evaluation.add_flags(parser)
        for flag in ("--threads", "--out"):
            parser.add_argument(flag)
        told = vars(parser.parse_args(words[5:]))
    except (ValueError, LookupError):
        return {"command": command}
    counted = [flag for flag in evaluation.counts if any(figure.endswith(f"/{flag}") for figure in figures)]
    values = {flag: told[flag] for flag in (*evaluation.decisive, *counted)}
    return {flag: value.name if isinstance(value, Path) else str(value) for flag, value in values.items()}


class _Parser(argparse.ArgumentParser):
    """Raises ValueError where others end the program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def measured_weights(args: argparse.Namespace) -> dict[str, str]:
    """By the names that figures are published under: the digest of the weights of each model that is to be measured.

    Of two models of one name it is the last one's, as the figures are. A checkpoint has no figures to publish.
    """
    named = getattr(args, "model", ()) or (args.task if "model" in args and args.model is None else ())
    names = [named] if isinstance(named, str) else named
    paths = [store.find(name) for name in names if not name.endswith(".pt")]
    return {Session(path, device="cpu").spec.name: weights_digest(path) for path in paths}
