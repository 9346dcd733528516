"""python -m mlr.reproduce: train every system of the results table with several seeds, and write the table."""

import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from mlr import command, paper
from mlr.command import DRAWN
from mlr.errors import InputError, Interrupted, RunError
from mlr.experiments import PRETRAINING, SIZES, TABLES, presets_of, tables
from mlr.files import STAGED, write_file
from mlr.installation import require_mxnet
from mlr.output import ReaderGone
from mlr.processor import usable_cores

SUMS, TRAINED = "SHA256SUMS", "confusion.png"  # files of a run, in the order in which they appear
SLOW = ("ar", "pcnn", "vgg16")
CITED = {title: accuracy for title, accuracy in paper.ROWS.values()}


def parser():
    parser = command.Parser("reproduce", __doc__)
    parser.add_argument("--data", default="demo", metavar="DIR|demo", help=(
        "data with a split test, as for mlr train (default: demo, small versions of all systems, pretrained on drawn objects)"))
    parser.add_argument("--rows", nargs="+", default=["all"], choices=("all", *paper.ROWS), metavar="ROW", help=(
        "all, or some of %s (default: all)" % ", ".join(paper.ROWS)))
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES, metavar="TABLE", help=(
        "some of %s; ablations and class imbalance are of l_cil (default: all, without l_cil: rows)" % ", ".join(TABLES)))
    parser.add_argument("--seeds", type=command.number(int, 1), default=3, metavar="N", help="trainings of each system, seeds 0 to N - 1 (default: 3)")
    parser.add_argument("--out", metavar="DIR", help=(
        "folder of the runs and the table; what is finished there is not done again, what was interrupted goes on (default: runs/reproduce-<data>)"))
    parser.add_argument("--labels", choices=("emotion", "sentiment"), help="default: emotion for demo, else sentiment, as the paper's table (inferred)")
    parser.add_argument("--size", choices=SIZES, default="small", help="of the demo's trainings; tiny: one epoch, to try all of it (default: small)")
    parser.add_argument("--caffenet", metavar="FILE|none", help="weights of DeepSentiBank or of CaffeNet, for the row deepsentibank; not for demo")
    parser.add_argument("--proposals", metavar="FILE", help="boxes for the row ar, as for mlr train (default: the package's own)")
    parser.add_argument("--jobs", type=command.number(int, 1), metavar="N", help=(
        "trainings at once, which share the cores (default: for the demo one a core, else 1)"))
    command.add_context(parser)
    return parser


def reproduce(options):
    demo = options.data == "demo"
    rows = list(paper.ROWS) if "all" in options.rows else options.rows
    if demo and options.caffenet:
        raise InputError("--caffenet is not for demo, which draws what it pretrains on")
    for name, value, fits, what in (("size", options.size != "small", demo, "--data demo"),
                                    ("caffenet", options.caffenet, "deepsentibank" in rows, "the row deepsentibank"),
                                    ("proposals", options.proposals, "ar" in rows, "the row ar")):
        if value and not fits:
            raise InputError("--%s has no effect, it is only for %s: leave it out" % (name, what))
    if not demo and "deepsentibank" in rows and not options.caffenet:
        raise InputError("the row deepsentibank needs --caffenet FILE, weights of DeepSentiBank (.npz) or of ImageNet's CaffeNet (.onnx); "
                         "or give --caffenet none, for features of random weights, or leave the row out of --rows")
    require_mxnet()
    out, cores = Path(options.out or "runs/reproduce-%s" % Path(options.data).name), usable_cores()
    jobs = options.jobs or (cores if demo else 1)
    wanted, runs = plan(rows, options, out)
    if not runs:
        raise InputError("--tables %s are of l_cil, which --rows leaves out: add it, or take the table rows" % " ".join(options.tables))
    trainings = [(out / ("%s-seed%d" % (name, seed)), [*common(options), *arguments, "--seed", str(seed)])
                 for seed in range(options.seeds) for name, arguments in runs.items()]
    trainings.sort(key=lambda training: not training[0].name.startswith(SLOW))  # the longest first, so that no core waits at the end
    first = [(out / name, arguments) for name, arguments in pretrainings(rows, options)] if demo else []
    for folder, arguments in first + trainings:
        check(folder, arguments)
    if demo:
        draw_data(DRAWN if first else DRAWN[:1])
    runner = Runner(out / "logs", jobs, max(1, cores // jobs), len(first) + len(trainings))
    try:
        runner.run_all(train, first)
        runner.run_all(train_and_evaluate, trainings)
    except ReaderGone as gone:
        raise Interrupted("%s, in %s; the same command goes on" % (gone, out), gone.signal) from None
    write_results(out, options, wanted, {name: [out / ("%s-seed%d" % (name, seed)) for seed in range(options.seeds)] for name in runs})


def plan(rows, options, out):
    """Return the tables, {name: (title, {system: run})}, and the runs, {name: arguments of mlr train}; equal systems share a run."""
    presets, wanted, runs = presets_of(options.data), {}, {}
    for table, (title, experiments) in tables(presets, rows).items():
        if table not in options.tables:
            continue
        wanted[table] = title, {}
        for experiment in experiments:
            name, arguments = experiment.run(presets, settings_of(experiment.options["row"], options, out))
            runs[name] = arguments
            wanted[table][1][experiment.title] = name
    return wanted, runs


def settings_of(row, options, out):
    """Return the options of mlr train that a row has beside its preset."""
    settings = {"proposals": options.proposals} if row == "ar" and options.proposals else {}
    if options.data != "demo":
        return {**settings, "pretrained": options.caffenet} if row == "deepsentibank" else settings
    pretraining, settings["epochs"] = SIZES[options.size]
    if pretraining:
        name, = (name for name, (rows, _) in PRETRAINING.items() if row in rows)
        settings["pretrained"] = str(out / ("pretrained-" + name) / "last.params")
    return settings


def pretrainings(rows, options):
    """Return the trainings on drawn objects that the demo's rows start from, [(name, arguments of mlr train)]."""
    epochs, _ = SIZES[options.size]
    return [("pretrained-" + name, [
        "--data", "demo-objects", *(part for key, value in training.items() for part in ("--" + key, value)), "--epochs", str(epochs), *device(options)])
        for name, (served, training) in PRETRAINING.items() if epochs and set(served) & set(rows)]


def common(options):
    return ["--data", options.data, "--labels", labels_of(options), *device(options)]


def labels_of(options):
    return options.labels or ("emotion" if options.data == "demo" else "sentiment")


def device(options):
    return ["--ctx", options.ctx] if options.ctx else []


def draw_data(names):
    """Draw the demo's data before trainings that run at once would."""
    from mlr.data.drawn import data_folder

    for name in names:
        data_folder(name)


def check(folder, arguments):
    """Raise InputError where a run's folder holds one that was made by other options."""
    from mlr.checkpoint import Run

    if (folder / SUMS).is_file():
        made_by = Run.open(folder).config["argv"][1:-2]
        if made_by != ["train", *arguments]:
            raise InputError("%s was made by other options (mlr %s): give another --out, or remove it" % (folder, " ".join(made_by)))


def train(runner, folder, arguments):
    """Train a run, unless it is finished; go on where it was interrupted."""
    if (folder / SUMS).is_file():
        if not (folder / TRAINED).is_file():
            runner.command(folder, "train", "--resume", "--out", str(folder), *device_of(arguments))
    else:
        if folder.is_dir() and all(path.name.endswith(STAGED) for path in folder.iterdir()):
            shutil.rmtree(folder)  # of a training that was stopped before its first file was whole
        runner.command(folder, "train", *arguments, "--out", str(folder))


def train_and_evaluate(runner, folder, arguments):
    """Train a run and measure it on test, unless that is done, and of the run as it is now."""
    train(runner, folder, arguments)
    if not measured(folder):
        runner.command(folder, "evaluate", "--run", str(folder), *device_of(arguments))


def measured(folder):
    """Tell whether a run folder holds the run's own evaluation on test."""
    from mlr.checkpoint import Run
    from mlr.results import own_evaluation

    try:
        return bool(own_evaluation(Run.open(folder)))
    except InputError:  # of a run that is damaged, mlr evaluate says more
        return False


def device_of(arguments):
    return arguments[arguments.index("--ctx"):][:2] if "--ctx" in arguments else []


class Runner:
    """Runs the package's own commands as a user would type them, several at once, each in a process of its own."""

    def __init__(self, logs, jobs, threads, total):
        """logs: folder for what they print. threads: for each. total: how many runs there will be, for the progress."""
        self._logs, self._jobs, self._total = logs, jobs, total
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}  # or an error would come before what was printed
        self._running, self._stopped, self._done = set(), False, 0

    def run_all(self, work, runs):
        """Do `work(runner, folder, arguments)` for all runs. Where one fails, or at Ctrl-C, the others are interrupted, too."""
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(work, self, *run): run[0] for run in runs}
            try:
                for future in as_completed(futures):
                    future.result()
                    self._done += 1
                    print("[%d/%d] %s" % (self._done, self._total, futures[future].name), flush=True)
            except BaseException:
                self._stopped = True
                for process in list(self._running):
                    process.terminate()  # what is in the background of a shell would not hear an interruption; a checkpoint stays whole
                raise

    def command(self, folder, *arguments):
        """Run `mlr ARGUMENTS`. Raises RunError where it fails."""
        if self._stopped:
            return
        log = self._logs / (folder.name + ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            print("$ mlr %s" % shlex.join(arguments), file=file, flush=True)
            start = file.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "mlr", *arguments], env=self._environment, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True)  # or Ctrl-C in a terminal would be a second signal beside `terminate`, and end it without a checkpoint
            self._running.add(process)
            if self._stopped:  # while the process was started, so that `run_all` did not see it
                process.terminate()
            code = process.wait()
            self._running.remove(process)
        if code and not self._stopped:
            self._stopped = True  # at once: this thread would begin the next run before `run_all` hears of it
            raise RunError("mlr %s ended with exit code %d: %s (all of it: %s)" % (arguments[0], code, error_in(log, start), log))


def error_in(log, start):
    """Return the line of a log, from a byte on, that says why a command ended: MXNet may print behind it."""
    lines = [line for line in log.read_bytes()[start:].decode("utf-8", "replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if ": error: " in line), lines[-1] if lines else "it said nothing")


def write_results(out, options, wanted, folders):
    """Write RESULTS.md, results.csv and results.png. folders: {run's name: run folders of its seeds}."""
    from mlr.drawing import own_settings
    from mlr.figures import new_figure, plot_results, save_figure
    from mlr.results import csv_table, markdown, of_fi, outcome, summary

    outcomes = {name: [outcome(folder) for folder in seeds] for name, seeds in folders.items()}
    of_all = [result for results in outcomes.values() for result in results]
    if len({(result["data_sha256"], result["evaluated_sha256"]) for result in of_all}) > 1:
        raise InputError("the runs in %s are of different images, likely as %s has changed between them: give another --out" % (out, options.data))
    majority = of_all[0]["majority_rate"]
    heading = [
        "# Results on %s" % options.data, "", "`%s`" % command_of(options), "",
        "%d test images; always saying the most frequent class is right in %.3f of them. Mean and standard deviation of %d seeds. MXNet %s, "
        "%s threads a training." % (of_all[0]["images"], majority, options.seeds, of_all[0]["versions"]["mxnet"], of_all[0]["threads"])]
    write_file(out / "RESULTS.md", markdown(
        {table: (title, systems, CITED if table == "rows" else None) for table, (title, systems) in wanted.items()},
        outcomes, heading, of_fi(options.data) and labels_of(options) == "sentiment"))
    write_file(out / "results.csv", csv_table(outcomes))
    figure, axes = new_figure(10, sum(1.2 + .35 * len(systems) for _, systems in wanted.values()), rows=len(wanted), heights=[
        1 + len(systems) for _, systems in wanted.values()])
    for (panel,), (title, systems) in zip(axes, wanted.values()):
        found = {system: summary(outcomes[name])["balanced_accuracy"] for system, name in systems.items()}
        with own_settings():
            plot_results(found, 1 / of_all[0]["classes"], panel).set_title(title)
    save_figure(figure, out / "results.png")
    print("written: %s" % ", ".join(str(out / name) for name in ("RESULTS.md", "results.csv", "results.png")))


def command_of(options):
    """Return the command that has these options."""
    given = {name: value for name, value in vars(options).items() if value not in (None, parser().get_default(name))}
    return shlex.join(["mlr", "reproduce", *(part for name, value in given.items() for part in (
        "--" + name, *map(str, value if isinstance(value, (list, tuple)) else [value])))])


def main(argv=None):
    return command.run(parser(), reproduce, argv)


if __name__ == "__main__":
    sys.exit(command.leave_if_stopped(main()))
