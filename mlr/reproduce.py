"""python -m mlr.reproduce: train every method of the results table with several seeds, and write
the table.
"""

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from mlr import cli
from mlr.errors import InputError, Interrupted, as_interrupted
from mlr.methods import METHODS
from mlr.methods.method import Experiment, Method
from mlr.options.command_line import read_options
from mlr.options.option import flag
from mlr.options.training import DRAWN
from mlr.runtime.commands import Runner, Task
from mlr.runtime.cpu import usable_cores
from mlr.runtime.files import STAGED, write_file
from mlr.runtime.installation import require_mxnet

# files of a run: training writes the first at its start, and the second at its end
SUMS, TRAINED = "SHA256SUMS", "confusion.png"
PUBLISHED = {name: method for name, method in METHODS.items() if method.published is not None}
# For the demo: epochs of pretraining on drawn objects (0: none), and epochs of each method's
# training.
SIZES = {"small": (12, 5), "tiny": (0, 1)}
MAIN_TABLE = "methods"
# options of mlr train that reproduce sets itself
OWN_OPTIONS = ("data", "target", "labels", "method", "fold", "seed")

Tables = Dict[str, Tuple[str, Dict[str, str]]]  # {name: (title, {system: its run's name})}


def tables_of(
    methods: Dict[str, Method], demo: bool, backbone: Optional[str] = None
) -> Dict[str, Tuple[str, List[Experiment]]]:
    """Return the tables of the given methods, {name: (title, experiments)}. backbone: that of
    --config.
    """
    systems = [Experiment(method.title, {"method": name}) for name, method in methods.items()]
    tables = {MAIN_TABLE: ("The methods of the results table", systems)}
    for method in methods.values():
        tables.update(method.experiments(demo, backbone))
    return tables


TABLES = tuple(tables_of(PUBLISHED, False))
USUAL_TABLES = tuple(tables_of(PUBLISHED, True))  # the demo's; others only with --tables


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("reproduce", __doc__)
    parser.add_argument(
        "--data",
        default="demo",
        metavar="DIR|demo",
        help=(
            "data with a test split, as for mlr train (default: demo, with small versions of all "
            "systems, pretrained on drawn objects)"
        ),
    )
    add_choice(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help=(
            "folder of the runs and the table; the same command again keeps finished trainings "
            "and continues interrupted ones (default: runs/reproduce-<data>)"
        ),
    )
    add_training_options(parser)
    parser.add_argument(
        "--jobs",
        type=cli.number(int, 1),
        metavar="N",
        help=(
            "number of trainings that run at the same time and share the cores (default: for the "
            "demo one per core, else 1)"
        ),
    )
    cli.add_context(parser)
    return parser


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the trainings."""
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=("all", *PUBLISHED),
        metavar="METHOD",
        help=f"all, or some of {', '.join(PUBLISHED)} (default: all)",
    )
    parser.add_argument("--rows", nargs="+", choices=("all", *PUBLISHED), help=argparse.SUPPRESS)
    parser.add_argument(
        "--tables",
        nargs="+",
        default=USUAL_TABLES,
        choices=(*TABLES, "rows"),  # 0.1.0's name of the main table
        metavar="TABLE",
        help=(
            f"some of {', '.join(TABLES)}; every table but {MAIN_TABLE} belongs to one method, "
            f"and is left out if --methods leaves that out (default: {', '.join(USUAL_TABLES)})"
        ),
    )
    parser.add_argument(
        "--seeds",
        type=cli.number(int, 1),
        default=3,
        metavar="N",
        help="number of trainings of each system, with seeds 0 to N - 1 (default: 3)",
    )


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for all trainings, and those for some methods."""
    parser.add_argument(
        "--labels",
        choices=("emotion", "sentiment"),
        help="default: emotion for demo, else sentiment, as in the paper's table (inferred)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=(
            "file of options for all trainings, YAML or JSON, as for mlr train: backbone, epochs, "
            "...; does not change the options that a table compares"
        ),
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="small",
        help=(
            "length of the demo's trainings; tiny: one epoch each, for a quick trial (default: "
            "small)"
        ),
    )
    parser.add_argument(
        "--caffenet",
        metavar="FILE|none",
        help="weights of DeepSentiBank or of CaffeNet, for the method deepsentibank; not for demo",
    )
    parser.add_argument(
        "--proposals",
        metavar="FILE",
        help="boxes for the method ar, as for mlr train (default: computed by this package)",
    )


def reproduce(options: argparse.Namespace) -> None:
    """Train and measure the chosen systems, and write the tables."""
    methods = wanted_methods(options)
    demo = options.data == "demo"
    if options.data in DRAWN and not demo:
        raise InputError(
            f"--data {options.data} has no test images: give demo, or your own data folder"
        )
    refuse_without_effect(options, methods, demo)
    require_mxnet()
    if options.data not in DRAWN and Path(options.data).is_dir():
        refuse_without_test(Path(options.data), labels_of(options))
    out, cores = Path(options.out or f"runs/reproduce-{Path(options.data).name}"), usable_cores()
    jobs = options.jobs or (cores if demo else 1)
    wanted, runs = plan(methods, options, out)
    if not runs:
        raise InputError(
            f"--tables {' '.join(options.tables)}: --methods leaves out the methods of these "
            f"tables: add the methods, or give the table {MAIN_TABLE}"
        )
    first = pretrainings(methods, options, out) if demo else []
    trainings = seeded(runs, options, out)
    for folder, arguments in first + trainings:
        refuse_other_options(folder, arguments)
    if demo:
        draw_data(DRAWN if first else DRAWN[:1])
    runner = Runner(out / "logs", jobs, max(1, cores // jobs), len(first) + len(trainings))
    try:
        runner.run_all(train, first)
        runner.run_all(train_and_evaluate, trainings)
    except KeyboardInterrupt as error:
        stopped = as_interrupted(error)
        raise Interrupted(
            f"{stopped}, in {out}; the same command continues", stopped.signal
        ) from None
    folders = {
        name: [run_folder(out, name, seed) for seed in range(options.seeds)] for name in runs
    }
    write_results(out, options, wanted, folders)


def wanted_methods(options: argparse.Namespace) -> Dict[str, Method]:
    """Return the chosen methods, in the order of the results table."""
    if options.rows:
        if options.methods:
            raise InputError("--rows and --methods mean the same: give only --methods")
        print(
            "mlr reproduce: --rows is now called --methods; 0.3.0 will remove --rows",
            file=sys.stderr,
        )
        options.methods, options.rows = options.rows, None
    options.tables = tuple(MAIN_TABLE if name == "rows" else name for name in options.tables)
    names = options.methods or ["all"]
    return {name: each for name, each in PUBLISHED.items() if "all" in names or name in names}


def refuse_without_effect(
    options: argparse.Namespace, methods: Dict[str, Method], demo: bool
) -> None:
    """Raise InputError for options that have no effect, and for missing ones."""
    reading = [name for name, method in methods.items() if method.needs_weights]
    asking = [name for name, method in methods.items() if "proposals" in method.options]
    if demo and options.caffenet:
        raise InputError(
            "--caffenet is not for demo, which pretrains on drawn objects: leave it out"
        )
    for name, value, fits, what in (
        ("size", options.size != "small", demo, "--data demo"),
        ("caffenet", options.caffenet, reading, "the method deepsentibank"),
        ("proposals", options.proposals, asking, "the method ar"),
    ):
        if value and not fits:
            raise InputError(f"--{name} has no effect, it is only for {what}: leave it out")
    if reading and not demo and not options.caffenet:
        raise InputError(
            f"the method {reading[0]} needs --caffenet FILE, weights of DeepSentiBank (.npz) or "
            "of ImageNet's CaffeNet (.onnx): give it, or --caffenet none for features of random "
            "weights, or leave the method out of --methods"
        )


def refuse_without_test(data: Path, labels: str) -> None:
    """Raise InputError, before any training, for data on which no run could be measured."""
    from mlr.data.manifest import folds_of
    from mlr.data.splits import read_split

    if folds_of(data):
        raise InputError(
            f"{data} is divided into folds, which mlr reproduce does not train: use mlr train "
            "--folds all for each method"
        )
    read_split(data, "test", labels)


def plan(
    methods: Dict[str, Method], options: argparse.Namespace, out: Path
) -> Tuple[Tables, Dict[str, List[str]]]:
    """Return the tables, and the runs, {name: arguments of mlr train}; equal systems share one
    run.
    """
    demo = options.data == "demo"
    given = common_settings(options.config) if options.config else {}
    wanted: Tables = {}
    runs: Dict[str, List[str]] = {}
    used: Set[str] = set()
    for table, (title, experiments) in tables_of(methods, demo, given.get("backbone")).items():
        if table not in options.tables:
            continue
        systems = {}
        for experiment in experiments:
            method = METHODS[experiment.options["method"]]
            used.update(method.options)
            settings = settings_of(method, options, out, given)
            if settings.get("backbone", method.released.backbone) not in method.backbones:
                raise InputError(
                    f"--config {options.config}: the method {method.name} can't use the backbone "
                    f"{settings['backbone']}: leave the method out of --methods, or the table "
                    f"{table} out of --tables"
                )
            name, arguments = experiment.run(method, demo, settings)
            runs[name], systems[experiment.title] = arguments, name
        wanted[table] = title, systems
    unused = sorted(set(given) - used)
    if runs and unused:
        raise InputError(
            f"--config {options.config}: {', '.join(unused)} has no effect, as no chosen method "
            "has it: leave it out"
        )
    return wanted, runs


def settings_of(
    method: Method, options: argparse.Namespace, out: Path, given: Mapping[str, Any] = {}
) -> Dict[str, Any]:
    """Return the options of mlr train in which a method's trainings differ from its defaults.

    given: the options in --config.
    """
    settings = {name: value for name, value in given.items() if name in method.options}
    if options.proposals and "proposals" in method.options:
        settings["proposals"] = options.proposals
    if options.data != "demo":
        return {**settings, "pretrained": options.caffenet} if method.needs_weights else settings
    pretraining, epochs = SIZES[options.size]
    settings.setdefault("epochs", epochs)
    if pretraining and "pretrained" not in settings and method.demo_pretraining:
        folder = pretrained_folder(out, method.demo_pretraining[0])
        settings["pretrained"] = str(folder / "last.params")
    return settings


def common_settings(path: str) -> Dict[str, Any]:
    """Return the options in --config. Raises InputError for those that reproduce sets itself."""
    given = read_options(Path(path))
    own = sorted(set(given) & set(OWN_OPTIONS))
    if own:
        raise InputError(
            f"--config {path} has {', '.join(own)}, which mlr reproduce sets for each training: "
            "remove it there, and give --data and --labels on the command line"
        )
    return given


def pretrained_folder(out: Path, name: str) -> Path:
    """Return the run folder of a pretrained network for the demo."""
    return out / f"pretrained-{name}"


def pretrainings(methods: Dict[str, Method], options: argparse.Namespace, out: Path) -> List[Task]:
    """Return the trainings on drawn objects that the demo's methods start from."""
    epochs, _ = SIZES[options.size]
    if not epochs:
        return []
    found = {}
    for name, training in filter(None, (each.demo_pretraining for each in methods.values())):
        given = [part for name, value in training.items() for part in (flag(name), str(value))]
        found[pretrained_folder(out, name)] = [
            "--data", "demo-objects", *given, "--epochs", str(epochs), *device(options),
        ]  # fmt: skip
    return list(found.items())


def seeded(runs: Dict[str, List[str]], options: argparse.Namespace, out: Path) -> List[Task]:
    """Return the trainings of all seeds, the longest first, so that the last ones end at about the
    same time.
    """
    common = ["--data", options.data, "--labels", labels_of(options), *device(options)]
    costs = {name: METHODS[arguments[1]].cost for name, arguments in runs.items()}
    trainings = [
        (costs[name], run_folder(out, name, seed), [*common, *arguments, "--seed", str(seed)])
        for seed in range(options.seeds)
        for name, arguments in runs.items()
    ]
    trainings.sort(key=lambda training: training[0] <= 1)
    return [(folder, arguments) for _, folder, arguments in trainings]


def run_folder(out: Path, name: str, seed: int) -> Path:
    """Return the run folder for one seed of a run."""
    return out / f"{name}-seed{seed}"


def labels_of(options: argparse.Namespace) -> str:
    """Return --labels; by default emotion for the demo, else the paper's two sentiments."""
    return options.labels or ("emotion" if options.data == "demo" else "sentiment")


def device(options: argparse.Namespace) -> List[str]:
    """Return the device arguments of the commands."""
    return ["--ctx", options.ctx] if options.ctx else []


def draw_data(names: Tuple[str, ...]) -> None:
    """Draw the demo's data now, so that trainings at the same time do not all draw them."""
    from mlr.data.drawn import data_folder

    for name in names:
        data_folder(name)


def refuse_other_options(folder: Path, arguments: List[str]) -> None:
    """Raise InputError if the folder holds a run that was trained with other options."""
    from mlr.runs.folder import Run

    if (folder / SUMS).is_file():
        made_by = Run.open(folder).config["argv"][1:-2]
        in_todays_words = ["--method" if word == "--row" else word for word in made_by]
        if in_todays_words != ["train", *arguments]:
            raise InputError(
                f"{folder} was trained with other options (mlr {' '.join(made_by)}): give another "
                "--out, or remove it"
            )


def train(runner: Runner, folder: Path, arguments: List[str]) -> None:
    """Train a run; continue it if it was interrupted, do nothing if it is finished."""
    if (folder / SUMS).is_file():
        if not (folder / TRAINED).is_file():
            runner.command(folder, "train", "--resume", "--out", str(folder), *device_of(arguments))
    else:
        if folder.is_dir() and all(path.name.endswith(STAGED) for path in folder.iterdir()):
            # left by a training that was stopped while it wrote its first file
            shutil.rmtree(folder)
        runner.command(folder, "train", *arguments, "--out", str(folder))


def train_and_evaluate(runner: Runner, folder: Path, arguments: List[str]) -> None:
    """Train a run and measure it on test, unless the folder already has this run's results."""
    train(runner, folder, arguments)
    if not measured(folder):
        runner.command(folder, "evaluate", "--run", str(folder), *device_of(arguments))


def measured(folder: Path) -> bool:
    """Tell whether a run folder holds an evaluation on test of the run as it is now."""
    from mlr.methods import open_run_folder
    from mlr.runs.results import own_evaluation

    try:
        return bool(own_evaluation(open_run_folder(folder)))
    except InputError:  # the run is damaged; mlr evaluate will say how
        return False


def device_of(arguments: List[str]) -> List[str]:
    """Return --ctx and its value from the arguments of a command, [] without it."""
    return arguments[arguments.index("--ctx") :][:2] if "--ctx" in arguments else []


def write_results(
    out: Path, options: argparse.Namespace, wanted: Tables, folders: Dict[str, List[Path]]
) -> None:
    """Write RESULTS.md, results.csv and results.png. folders: {name of a run: the run folders of
    its seeds}.
    """
    from mlr.runs.results import csv_table, markdown, of_the_papers_data, outcome

    outcomes = {name: [outcome(folder) for folder in seeds] for name, seeds in folders.items()}
    if images_differ(folders, outcomes):
        raise InputError(
            f"the runs in {out} were trained or measured on different images or labels, likely as "
            f"{options.data} changed in between: give another --out"
        )
    first = next(iter(outcomes.values()))[0]
    heading = [
        f"# Results on {options.data}",
        "",
        f"`{command_of(options)}`",
        "",
        f"{first['images']} test images; always predicting the most frequent class is right for "
        f"{first['majority_rate']:.3f} of them. Mean and standard deviation of {options.seeds} "
        f"seeds. MXNet {first['versions']['mxnet']}, threads per training: {first['threads']}.",
    ]
    published = {method.title: method.published for method in PUBLISHED.values()}
    tables = {
        table: (title, systems, published if table == MAIN_TABLE else None)
        for table, (title, systems) in wanted.items()
    }
    comparable = of_the_papers_data(options.data) and labels_of(options) == "sentiment"
    write_file(out / "RESULTS.md", markdown(tables, outcomes, heading, comparable))
    write_file(out / "results.csv", csv_table(outcomes))
    draw_results(wanted, outcomes, out / "results.png")
    names = "RESULTS.md", "results.csv", "results.png"
    print(f"written: {', '.join(str(out / name) for name in names)}")


def images_differ(
    folders: Dict[str, List[Path]], outcomes: Dict[str, List[Dict[str, Any]]]
) -> bool:
    """Tell whether the runs were measured on different images, or trained on different ones though
    with the same --train-part. The arguments are those of `write_results`.
    """
    from mlr.runs.folder import Run

    measured: Set[Tuple[str, str]] = set()
    trained: Dict[float, Set[str]] = {}
    for name, results in outcomes.items():
        for folder, result in zip(folders[name], results):
            part = Run.open(folder).config["options"].get("train_part", 1.0)
            measured.add((result["evaluated_sha256"], result["manifest_sha256"]))
            trained.setdefault(part, set()).add(result["data_sha256"])
    return len(measured) > 1 or any(len(images) > 1 for images in trained.values())


def draw_results(wanted: Tables, outcomes: Dict[str, List[Dict[str, Any]]], path: Path) -> None:
    """Draw a bar chart of each table into a file."""
    from mlr.runs.results import summary
    from mlr.viz.figures import new_figure, plot_results, save_figure
    from mlr.viz.style import own_settings

    height = sum(1.2 + 0.35 * len(systems) for _, systems in wanted.values())
    heights = [1 + len(systems) for _, systems in wanted.values()]
    figure, axes = new_figure(10, height, rows=len(wanted), heights=heights)
    classes = next(iter(outcomes.values()))[0]["classes"]
    for (panel,), (title, systems) in zip(axes, wanted.values()):
        found = {
            system: summary(outcomes[name])["balanced_accuracy"] for system, name in systems.items()
        }
        with own_settings():
            plot_results(found, 1 / classes, panel).set_title(title)
    save_figure(figure, path)


def command_of(options: argparse.Namespace) -> str:
    """Return the command line that gives these options."""
    words = ["mlr", "reproduce"]
    for name, value in vars(options).items():
        if value not in (None, parser().get_default(name)):
            words.append(f"--{name}")
            words += map(str, value if isinstance(value, (list, tuple)) else [value])
    return shlex.join(words)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), reproduce, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
