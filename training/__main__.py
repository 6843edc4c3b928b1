"""python -m training: pack photos, train a network on them, measure it, export it, and time it."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.errors import RestoreError
from training import TrainingError
from training import settings as settings_module
from training.evaluations import EVALUATIONS, demand_at_least, measured_weights
from training.recipes import ALIASES, OTHER_ALIASES, OTHERS, RECIPES, find_network, find_recipe

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
    _add_marks(commands.add_parser("marks", help="draw the watermarks that unwatermark is trained on"))
    _add_try(commands.add_parser("try", help="try every order of restorers on damaged photos, for the planner"))
    _add_palettes(commands.add_parser("palettes", help="choose palettes that stand for those of all photos"))
    _add_preview(commands.add_parser("preview", help="look at what a recipe is trained on"))
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
            "--hparam", nargs="+", default=(), metavar="NAME=JSON",
            help="make the network otherwise, to compare: head='\"classification\"' or channels=[32,64] for example",
        )  # fmt: skip
        one.add_argument(
            "--sources", type=Path, metavar="FILE",
            help="the photos' SOURCES.tsv: one with n photos then counts as much as the root of n",
        )  # fmt: skip
        one.add_argument(
            "--start-from", type=Path, metavar="FILE",
            help="begin a fresh run with the weights of a checkpoint or of an exported .onnx file",
        )  # fmt: skip
        one.add_argument(
            "--hand-over", type=Path, metavar="DIR",
            help="at the end write the exported network there, its figures on the split val, the log, and last.pt in "
            "parts of 15 MiB that cat joins: all that a borrowed machine must give back",
        )  # fmt: skip
        settings_module.add_flags(one, recipe.settings)
        one.set_defaults(train=_train_on_photos)
    for name in ("classify-fast", "classify"):
        one = recipes.add_parser(name, help="LeNet-5 on MNIST, published as classify-fast")
        _add_train_digits(one, name)
    for name in ("plan-fast", "plan"):
        one = recipes.add_parser(name, help="the planner, on what trying says that photos need")
        _add_train_planner(one, name)
    parser.set_defaults(run_command=lambda args: args.train(args))


def _hparams(texts: Sequence[str]) -> dict[str, Any]:
    """What `--hparam` says. Raises TrainingError for what is not NAME=JSON."""
    pairs = [text.partition("=") for text in texts]
    try:
        return {name: json.loads(value) for name, _, value in pairs}
    except ValueError:
        raise TrainingError(f"--hparam {' '.join(texts)} is not NAME=JSON, as in channels=[32,64]") from None


def _add_train_digits(parser: argparse.ArgumentParser, name: str) -> None:
    _describe(
        parser,
        "Train LeNet-5 on distorted digits of MNIST. Where RUN/last.pt exists, the run is resumed at its last whole\n"
        "epoch. RUN/best.pt is the checkpoint to export, chosen on 5,000 of the training digits; the test digits are\n"
        "not read.",
        f"train {name} --data ../shared/data/mnist",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the four original files of MNIST")
    parser.add_argument(
        "--run", type=Path, default=_RUNS / "classify-fast", metavar="DIR",
        help=f"checkpoints and log (default: {_RUNS / 'classify-fast'})",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)")
    parser.add_argument("--epochs", type=int, default=60, metavar="N", help="(default: 60)")
    parser.add_argument("--batch", type=int, default=128, metavar="N", help="digits in one step (default: 128)")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-3, metavar="N", help="at its highest (default: 0.002)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and distortions (default: 0)")
    parser.set_defaults(train=_train_digits)


def _train_digits(args: argparse.Namespace) -> None:
    _set_threads(args.threads)
    from training.digits import train_digits
    from training.loop import pick_device

    best = train_digits(
        args.data, args.run, epochs=args.epochs, seed=args.seed, device=pick_device(args.device), batch=args.batch,
        learning_rate=args.learning_rate,
    )  # fmt: skip
    print(best)


def _add_train_planner(parser: argparse.ArgumentParser, name: str) -> None:
    _describe(
        parser,
        "Train the planner on photos on which everything was tried, and on what the installed restorers make of them\n"
        "by its own plans. On the CPU. Where RUN/last.pt exists, the run goes on. RUN/best.pt is the checkpoint to\n"
        "export.",
        f"train {name} --tried runs/tried --minutes 20",
    )
    parser.add_argument(
        "--tried", type=Path, default=_RUNS / "tried", metavar="DIR",
        help=f"what `try` wrote (default: {_RUNS / 'tried'})",
    )  # fmt: skip
    parser.add_argument(
        "--run", type=Path, default=_RUNS / "plan-fast", metavar="DIR",
        help=f"checkpoints and log (default: {_RUNS / 'plan-fast'})",
    )  # fmt: skip
    parser.add_argument(
        "--start-from", type=Path, metavar="FILE",
        help="begin a fresh run with all that fits of an earlier planner's checkpoint or exported .onnx file",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)")
    settings_module.add_flags(parser, settings_module.PLANNER)
    parser.set_defaults(train=_train_planner)


def _train_planner(args: argparse.Namespace) -> None:
    settings = settings_module.overridden(settings_module.PLANNER, vars(args))
    _set_threads(args.threads)
    import torch

    from restore.engine import open_noise_finder
    from restore.steps import open_tools
    from training.planner import new_planner, train_planner
    from training.tried_cases import load

    torch.manual_seed(settings.seed)
    cases, held_out = (load(args.tried / split) for split in ("train", "val"))
    tools = open_tools(device="cpu", threads=args.threads)
    network = new_planner(args.start_from)
    denoiser = open_noise_finder("cpu")
    best = train_planner(cases, held_out, tools, args.run, settings=settings, network=network, denoiser=denoiser)
    print(best)


def _add_try(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Damage photos and try every order of the installed restorers on each: what the planner is trained on. Photos\n"
        "that were tried before, with the same restorers, photos and marks, are kept.",
        "try --data runs/packs/large --out runs/tried",
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="shards, or folders of them")
    parser.add_argument(
        "--marks", type=Path, default=_RUNS / "marks", metavar="DIR",
        help=f"what `marks` wrote (default: {_RUNS / 'marks'})",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=_RUNS / "tried", metavar="DIR", help=f"(default: {_RUNS / 'tried'})"
    )
    parser.add_argument(
        "--number", type=int, default=2000, metavar="N", help="of photos of the train split (default: 2000)"
    )
    parser.add_argument("--val", type=int, default=600, metavar="N", help="of photos of the val split (default: 600)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N",
        help="processes side by side: with --threads 1 as many as there are cores are fastest (default: 1)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of each process (default: all)")
    parser.set_defaults(run_command=_try)


def _try(args: argparse.Namespace) -> None:
    demand_at_least(args, number=1, val=1, workers=1)
    _set_threads(args.threads)
    import torch

    from restore.steps import open_tools
    from training.data import PhotoSet
    from training.mark_bank import bank_path, open_bank
    from training.planner_photos import CaseMaker
    from training.tried_cases import fill, sources

    device = torch.device("cpu")
    opened = functools.partial(open_tools, device="cpu", threads=args.threads)
    for seed, (split, number) in enumerate((("train", args.number), ("val", args.val))):
        photos, bank = PhotoSet.load(args.data, split, device=device), bank_path(args.marks, split)
        maker = CaseMaker(photos=photos, marks=open_bank(bank))
        for path in fill(
            maker, opened, args.out / split, number=number, seed=seed, workers=args.workers,
            made_from=sources(photos, bank),
        ):  # fmt: skip
            print(path)


def _train_on_photos(args: argparse.Namespace) -> None:
    recipe = find_recipe(args.recipe)
    recipe = dataclasses.replace(recipe, hparams={**recipe.hparams, **_hparams(args.hparam)})
    settings = settings_module.overridden(recipe.settings, vars(args))
    _set_threads(args.threads)
    from training.data import read_shards
    from training.loop import fit, joined_world, pick_device

    device = pick_device(args.device)
    with joined_world(device) as world:
        photos = recipe.photos.load(args.data, "train", device=device)
        if args.sources:
            photos.balance(args.sources)
        val = None
        if world.leads and next(read_shards(args.data, "val"), None):
            val = recipe.photos.load(args.data, "val", device=device)
        elif world.leads:
            print("no photo of the split 'val': best.pt will be the last weights", file=sys.stderr)
        run = args.run or _RUNS / recipe.name
        best = fit(
            recipe, settings, photos, run=run, device=device, world=world, val=val, start=args.start_from
        )  # fmt: skip
        if world.leads:
            print(best)
            if args.hand_over:
                from training.handover import hand_over

                print(*hand_over(best, run, args.hand_over, val=val), sep="\n")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Train the variants of the denoiser that training/compare.py lists, all on the same photos for the\n"
        "same steps; then time them and print a table. Variants that RUN holds already are not trained again.\n"
        "With --ways the network stays, and what differs is how it is trained.",
        "compare --data runs/packs/large --steps 600 --patches 96 --plot docs/decisions/variants.png",
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="shards, or folders of them")
    parser.add_argument("--ways", action="store_true", help="vary the training in place of the network")
    parser.add_argument("--run", type=Path, metavar="DIR", help="(default: runs/compare, or runs/ways)")
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

    run = args.run or _RUNS / ("ways" if args.ways else "compare")
    if args.ways or not args.time_only:
        photos, val = (PhotoSet.load(args.data, split, device=torch.device("cpu")) for split in ("train", "val"))
    if args.ways:
        names = args.only or list(compare.TRAININGS)
        found = compare.train_ways(recipe, settings, photos, val, names=names, run=run)
        print(compare.ways_to_markdown(found))
        return
    if not args.time_only:
        names = args.only or list(compare.VARIANTS)
        compare.train_variants(recipe, settings, photos, val, names=names, run=run)
    if not args.train_only:
        outcomes, diverged = compare.time_variants(run, rounds=args.rounds, threads=args.threads)
        print(compare.to_markdown(outcomes, diverged))
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
    parser.description = "Measure models and baselines, in one run. Each task has its own flags: see eval TASK --help."
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for name, task in EVALUATIONS.items():
        one = tasks.add_parser(name, help=task.title)
        _describe(one, task.description, f"eval {name} {task.example}")
        task.add_flags(one)
        one.add_argument("--threads", type=int, metavar="N", help="CPU threads of the models (default: all)")
        one.add_argument("--out", type=Path, metavar="FILE", help="write all figures as JSON too")
    parser.set_defaults(run_command=_eval)


def _eval(args: argparse.Namespace) -> None:
    _set_threads(args.threads)
    # Before measuring: the files may have changed when it is done.
    weights = measured_weights(args) if args.out else {}
    report = EVALUATIONS[args.task].measure(args, shlex.join(["python", "-m", "training", *args.words]))
    print(report.to_markdown())
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        plain = json.loads(report.to_json()) | {"weights": weights}
        args.out.write_text(json.dumps(plain, indent=2) + "\n", "utf-8")


def _add_marks(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Draw a stock of watermarks with the fonts and logos of a folder, a file for each split, which training\n"
        "takes them from: drawing a mark takes as long as a step of training.",
        "marks ../shared/data --out runs/marks",
    )
    parser.add_argument("folder", type=Path, help="with fonts/FONTS.tsv and logos/LOGOS.tsv")
    parser.add_argument("--out", type=Path, default=_RUNS / "marks", metavar="DIR", help="(default: runs/marks)")
    parser.add_argument("--number", type=int, default=3000, metavar="N", help="of marks for training (default: 3000)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that draw (default: 1)")
    parser.set_defaults(run_command=_marks)


def _marks(args: argparse.Namespace) -> None:
    from training.mark_assets import Assets
    from training.mark_bank import bank_path, fill_bank

    if args.number < 10:
        raise TrainingError(f"--number {args.number} is too few. Use 10 or more.")
    demand_at_least(args, workers=1)
    for seed, (split, number) in enumerate((("train", args.number), ("val", args.number // 10))):
        assets = Assets.load(args.folder, split)
        path = bank_path(args.out, split)
        print(fill_bank(assets, path, marks=number, logos=len(assets.logos), seed=seed, workers=args.workers))


def _add_palettes(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Choose palettes that stand for those of all training photos: what colorize --candidates draws from.",
        "palettes --data runs/packs/large runs/packs/small --out restore/palettes.json",
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="shards, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .json file")
    parser.add_argument("--number", type=int, default=64, metavar="N", help="of palettes (default: 64)")
    parser.set_defaults(run_command=_palettes)


def _palettes(args: argparse.Namespace) -> None:
    if args.number < 2:
        raise TrainingError(f"--number {args.number} is too few. Use 2 or more.")
    import torch

    from training.palettes import choose, palettes_of, to_json
    from training.thumbnails import ThumbnailSet

    photos = ThumbnailSet.load(args.data, "train", device=torch.device("cpu"))
    args.out.write_text(to_json(choose(palettes_of(photos), args.number)), "utf-8")
    print(args.out)


def _add_preview(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Write a contact sheet of what a recipe is trained on: the clean photo, the damaged one, and, for marks,\n"
        "the mask. Look at it before a training: a wrong generator wastes the run.",
        "preview unwatermark --data runs/packs/large --out sheet.png",
    )
    parser.add_argument("recipe", choices=[*RECIPES, *ALIASES], metavar="RECIPE", help="what is to be trained")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="shards, or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .png file")
    parser.add_argument("--number", type=int, default=24, metavar="N", help="of crops (default: 24)")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="side of a crop in pixels (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    parser.set_defaults(run_command=_preview)


def _preview(args: argparse.Namespace) -> None:
    import torch

    from training.data import PhotoSet
    from training.sheets import contact_sheet

    for flag in ("number", "size"):
        if getattr(args, flag) < 1:
            raise TrainingError(f"--{flag} must be 1 or more.")
    photos = PhotoSet.load(args.data, "train", device=torch.device("cpu"))
    rng = torch.Generator().manual_seed(args.seed)
    crops = photos.crops(rng, batch=args.number, size=args.size)
    print(contact_sheet(find_recipe(args.recipe).degradation(crops, rng), args.out))


def _add_export(parser: argparse.ArgumentParser) -> None:
    _describe(
        parser,
        "Export a checkpoint to ONNX, checked against torch. With --publish it goes into restore/weights,\n"
        "if the figures of a report (eval --out, of the file that was exported from it) beat those of the file\n"
        "there, measured on the same data.",
        "export denoise runs/denoise-fast/best.pt --out runs/export",
    )
    choices = [*RECIPES, *ALIASES, *OTHERS, *OTHER_ALIASES]
    parser.add_argument("recipe", choices=choices, metavar="RECIPE", help="what it was trained as")
    parser.add_argument("checkpoint", type=Path, help="RUN/best.pt")
    parser.add_argument(
        "--out", type=Path, default=_RUNS / "export", metavar="DIR", help=f"(default: {_RUNS / 'export'})"
    )
    parser.add_argument("--publish", type=Path, metavar="REPORT", help="the report.json of eval --out")
    parser.add_argument(
        "--measured-otherwise", action="store_true",
        help="publish figures of other data or other names than those of the file there: the two are not compared",
    )  # fmt: skip
    parser.add_argument(
        "--data", default="not stated", metavar="TEXT", help="what it was trained on, for people (default: not stated)"
    )
    parser.set_defaults(run_command=_export)


def _export(args: argparse.Namespace) -> None:
    from training.loop import load_network

    name = find_network(args.recipe).name
    trained_as = load_network(args.checkpoint)[1]["recipe"]
    if trained_as != name:
        raise TrainingError(f"{args.checkpoint}: a checkpoint of {trained_as}, not of {name}")
    from restore.store import BUNDLED
    from training.export import export_checkpoint, publish_checkpoint
    from training.tables import published_figures

    if args.publish:
        published = published_figures(args.publish, name)
        path = publish_checkpoint(
            args.checkpoint, BUNDLED, published=published, data=args.data, cards=_CARDS,
            compared=not args.measured_otherwise,
        )  # fmt: skip
        print(path)
    else:
        print(export_checkpoint(args.checkpoint, args.out, data=args.data))


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
