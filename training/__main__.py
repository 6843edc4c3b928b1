"""python -m training: pack photos, train a network on them, measure it, export it, and time it."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from restore.errors import RestoreError
from training import TrainingError
from training import settings as settings_module
from training.recipes import ALIASES, RECIPES, find_recipe

_RUNS = Path("runs")
_CARDS = Path("docs/models")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 wrong usage, 1 for anything else that went wrong."""
    words = sys.argv[1:] if argv is None else list(argv)
    args = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        args.run_command(args)
    except (TrainingError, RestoreError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1 if isinstance(error, OSError) else error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training", description="From photos to a model file, one command a step."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_pack(commands.add_parser("pack", help="put a folder of photos into shards"))
    _add_train(commands.add_parser("train", help="train a network on shards, or go on where it stopped"))
    _add_compare(commands.add_parser("compare", help="train variants of a network on an equal budget and time them"))
    _add_eval(commands.add_parser("eval", help="measure models and baselines on a folder of pictures"))
    _add_export(commands.add_parser("export", help="turn a checkpoint into an ONNX file that Restore opens"))
    _add_bench(commands.add_parser("bench", help="measure how fast a model is"))
    return parser


def _describe(parser: argparse.ArgumentParser, text: str, example: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = text
    parser.epilog = f"example:\n  python -m training {example}"


def _add_pack(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Put the photos below a folder into tar files of at most 16 MB, still encoded.\n"
        "The splits come from the columns file and split of SOURCES.tsv, in the folder or its\n"
        "parent; without that table all are for training.",
        "pack ../shared/data/photos --only large/ --out runs/packs/large",
    )
    parser.add_argument("folder", type=Path, help="the photos, in sub-folders or not")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the shards go")
    parser.add_argument("--only", nargs="+", default=(), metavar="PREFIX", help="names that begin with one of these")
    parser.add_argument(
        "--webp", type=int, default=None, choices=range(101), metavar="QUALITY",
        help="encode again as WebP, 0 to 100, where that is smaller (default: bytes stay as they are)",
    )  # fmt: skip
    parser.add_argument("--name", default="photos", help="how the files' names begin (default: photos)")
    parser.set_defaults(run_command=_pack)


def _pack(args: argparse.Namespace) -> None:
    from training.data import find_photos, pack

    members = find_photos(args.folder, only=args.only)
    shards = pack(members, args.out, prefix=args.name, webp_quality=args.webp)
    for shard in shards:
        print(shard)
    megabytes = sum(shard.stat().st_size for shard in shards) / 1e6
    print(f"{len(members)} photos in {len(shards)} shards, {megabytes:.1f} MB", file=sys.stderr)


def _add_train(parser: argparse.ArgumentParser) -> None:
    example = "train denoise --data runs/packs/large --minutes 120 --device auto"
    _describe(parser, "Train a network. Each recipe has its own defaults: see train RECIPE --help.", example)
    recipes = parser.add_subparsers(dest="recipe", required=True, metavar="RECIPE")
    for name in [*RECIPES, *ALIASES]:
        recipe = find_recipe(name)
        one = recipes.add_parser(name, help=f"the {recipe.network} network, published as {recipe.name}")
        _describe(
            one,
            f"Train {recipe.name}. Where RUN/last.pt exists, the run is resumed, exactly. Ctrl-C and SIGTERM\n"
            "save before they end it. RUN/best.pt is the checkpoint to export. Several processes:\n"
            f"torchrun --nproc-per-node 2 -m training train {name} ...",
            example.replace("denoise", name, 1),
        )
        one.add_argument(
            "--data", type=Path, nargs="+", required=True, metavar="DIR", help="shards, or folders of them"
        )
        one.add_argument(
            "--run", type=Path, metavar="DIR", help=f"checkpoints and log (default: {_RUNS / recipe.name})"
        )
        one.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one"
        )
        one.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)")
        one.add_argument(
            "--start-from", type=Path, metavar="FILE",
            help="begin a fresh run with the weights of a checkpoint or of an exported .onnx file",
        )  # fmt: skip
        settings_module.add_flags(one, recipe.settings)
    parser.set_defaults(run_command=_train)


def _train(args: argparse.Namespace) -> None:
    recipe = find_recipe(args.recipe)
    settings = settings_module.overridden(recipe.settings, vars(args))
    _set_threads(args.threads)
    from training.data import PhotoSet, read_shards
    from training.loop import fit, joined_world, pick_device

    device = pick_device(args.device)
    with joined_world(device) as world:
        photos = PhotoSet.load(args.data, "train", device=device)
        val = None
        if world.leads and next(read_shards(args.data, "val"), None):
            val = PhotoSet.load(args.data, "val", device=device)
        elif world.leads:
            print("no photo of the split 'val': best.pt will be the last weights", file=sys.stderr)
        run = args.run or _RUNS / recipe.name
        best = fit(
            recipe, settings, photos, run=run, device=device, world=world, val=val, start=args.start_from
        )  # fmt: skip
        if world.leads:
            print(best)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Train the variants of the denoiser that training/compare.py lists, all on the same photos for the\n"
        "same steps; then time them and print a table. Variants that RUN holds already are not trained again.",
        "compare --data runs/packs/large --steps 600 --patches 96 --plot docs/decisions/variants.png",
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="shards, or folders of them")
    parser.add_argument("--run", type=Path, default=_RUNS / "compare", metavar="DIR", help="(default: runs/compare)")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these alone (default: all)")
    parser.add_argument("--train-only", action="store_true", help="leave the timing for a quiet moment")
    parser.add_argument("--time-only", action="store_true", help="time what was trained before")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of timing, the median counts (default: 5)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default: 2)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw PSNR against time, .png or .svg")
    settings_module.add_flags(parser, find_recipe("denoise").settings)
    parser.set_defaults(run_command=_compare)


def _compare(args: argparse.Namespace) -> None:
    recipe = find_recipe("denoise")
    settings = settings_module.overridden(recipe.settings, vars(args))
    _set_threads(args.threads)
    import torch

    from training import compare
    from training.data import PhotoSet

    if not args.time_only:
        photos, val = (PhotoSet.load(args.data, split, device=torch.device("cpu")) for split in ("train", "val"))
        names = args.only or list(compare.VARIANTS)
        compare.train_variants(recipe, settings, photos, val, names=names, run=args.run)
    if not args.train_only:
        outcomes = compare.time_variants(args.run, rounds=args.rounds, threads=args.threads)
        print(compare.to_markdown(outcomes))
        if args.plot:
            compare.plot(outcomes, args.plot)


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise TrainingError(f"--threads {threads} cannot be. Use 1 or more.")
    import torch

    torch.set_num_threads(threads)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Print a table of PSNR and SSIM over a folder of clean pictures. Colour Gaussian noise, not\n"
        "clipped, the same for every row; answers clipped to [0, 1], not rounded to 8 bit.",
        "eval denoise --data ../shared/data/test/CBSD68 --model denoise-fast --baselines nlm --out report.json",
    )
    parser.add_argument("task", choices=("denoise",), help="what the models do")
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
    parser.add_argument(
        "--baselines", nargs="+", default=[], choices=("nlm", "bm3d"),
        help="nlm: OpenCV's non-local means; bm3d: where the package of that name is installed",
    )  # fmt: skip
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER",
        help="also photos with noise of their own, in pairs NAMEreal.jpg and NAMEmean.jpg, as they are",
    )  # fmt: skip
    parser.add_argument("--clean", action="store_true", help="also what the models do to pictures without noise")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of the models (default: all)")
    parser.add_argument(
        "--cache", type=Path, default=_RUNS / "cache", metavar="DIR",
        help=f"where the baselines' scores are kept (default: {_RUNS / 'cache'})",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all figures as JSON too")
    parser.set_defaults(run_command=_eval)


def _eval(args: argparse.Namespace) -> None:
    _set_threads(args.threads)
    from training.evaluate import measure

    for flag, least in (("sigma", 1), ("seed", 0), ("limit", 1)):
        value = getattr(args, flag)
        if value is not None and min(value if isinstance(value, list) else [value]) < least:
            raise TrainingError(f"--{flag} must be {least} or more.")
    report = measure(
        args.data,
        models=[args.task] if args.model is None else args.model,
        baselines=args.baselines,
        sigmas=args.sigma,
        seed=args.seed,
        limit=args.limit,
        clean=args.clean,
        photos=args.photos,
        threads=args.threads,
        cache=args.cache,
        command=shlex.join(["python", "-m", "training", *args.words]),
    )
    print(report.to_markdown())
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(report.to_json(), "utf-8")


def _add_export(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Export a checkpoint to ONNX, checked against torch. With --publish it goes into restore/weights,\n"
        "if the figures of a report (eval --out, of the exported file) beat those of the file there.",
        "export denoise runs/denoise-fast/best.pt --out runs/export",
    )
    parser.add_argument("recipe", choices=[*RECIPES, *ALIASES], metavar="RECIPE", help="what it was trained as")
    parser.add_argument("checkpoint", type=Path, help="RUN/best.pt")
    parser.add_argument(
        "--out", type=Path, default=_RUNS / "export", metavar="DIR", help=f"(default: {_RUNS / 'export'})"
    )
    parser.add_argument("--publish", type=Path, metavar="REPORT", help="the report.json of eval --out")
    parser.add_argument(
        "--data", default="not stated", metavar="TEXT", help="what it was trained on, for people (default: not stated)"
    )
    parser.set_defaults(run_command=_export)


def _export(args: argparse.Namespace) -> None:
    from training.loop import load_network

    name = find_recipe(args.recipe).name
    trained_as = load_network(args.checkpoint)[1]["recipe"]
    if trained_as != name:
        raise TrainingError(f"{args.checkpoint}: a checkpoint of {trained_as}, not of {name}")
    from restore.store import BUNDLED
    from training.export import ExportError, export_checkpoint, publish_checkpoint
    from training.tables import published_figures

    try:
        if args.publish:
            published = published_figures(args.publish, name)
            print(publish_checkpoint(args.checkpoint, BUNDLED, published=published, data=args.data, cards=_CARDS))
        else:
            print(export_checkpoint(args.checkpoint, args.out, data=args.data))
    except ExportError as error:
        raise TrainingError(str(error)) from None


def _add_bench(parser: argparse.ArgumentParser) -> None:
    _describe(parser, "Time a model against a yardstick network, taking turns.", "bench denoise --rounds 5")
    parser.add_argument("model", nargs="?", default="denoise", help="a name or an .onnx file (default: denoise)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="the median of so many (default: 5)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    parser.set_defaults(run_command=_bench)


def _bench(args: argparse.Namespace) -> None:
    from training.bench import bench

    print(bench(args.model, rounds=args.rounds, threads=args.threads))


if __name__ == "__main__":
    sys.exit(main())
