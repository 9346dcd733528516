"""The options of a training: their definitions, the command line, files for --config, --resume."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import OF_TRAINED, TINY, run_config
from numpy.testing import assert_allclose

from mlr import train
from mlr.data import drawn
from mlr.errors import InputError
from mlr.methods import METHODS
from mlr.options.command_line import read_options, written
from mlr.options.option import LARGEST, LONGEST, SECTIONS, flag
from mlr.options.training import (
    DRAWN,
    TrainingOptions,
    definitions,
    learning_rate_at,
    options_of,
)
from mlr.runs.schema import Refused, checked_config, upgraded

ROOT = Path(__file__).parents[3]
RELEASED = METHODS["l_cil"].released
SHIPPED_CONFIG = ROOT / "checkpoints" / "demo" / "config.json"


def rates_of(options, epochs, length=None):
    return [learning_rate_at(options, epoch, length) for epoch in epochs]


def test_the_released_schedule_epoch_by_epoch():
    rates = rates_of(RELEASED, range(RELEASED.epochs))
    expected = (
        [1e-4] * 10
        + [5e-5] * 10
        + [2.5e-5] * 10
        + [1.25e-5] * 10
        + [6.25e-6] * 10
        + [3.125e-6] * 10
    )
    assert_allclose(rates, expected, rtol=1e-15)  # halving is exact


def test_cosine_warms_up_and_ends_near_zero():
    options = replace(RELEASED, schedule="cosine", epochs=12, learning_rate=3.0)
    rates = rates_of(options, range(12))
    assert_allclose(rates[:2], [1.5, 3], rtol=1e-12)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 0.1


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_cosine_of_a_short_run(epochs):
    options = replace(RELEASED, schedule="cosine", epochs=epochs)
    assert all(rate > 0 for rate in rates_of(options, range(epochs)))


def test_the_solver_of_ar():
    """base_lr 1e-4, a tenth every 4,000 of 20,000 steps of 32 images: at 18,176 images (568 steps
    an epoch) 7 epochs of 35.
    """
    recipe = METHODS["ar"].released
    assert (recipe.batch_size, recipe.epochs, recipe.weight_decay, recipe.new_layers_rate) == (
        32,
        35,
        5e-4,
        10,
    )
    assert round(20000 / 568) == 35 and round(4000 / 568) == 7
    rates = rates_of(recipe, range(35))
    assert_allclose(rates, sum(([1e-4 * 0.1**step] * 7 for step in range(5)), []), rtol=1e-12)


def test_a_round_of_pcnn_has_a_schedule_of_its_own():
    """Cosine over the epochs of the round, not of the whole training: warm-up, then down near 0."""
    options = replace(METHODS["pcnn"].demo, epochs=12)
    first, second = METHODS["pcnn"].stages(options)
    assert (len(first), len(second)) == (12, 4)
    rates = rates_of(options, range(len(second)), len(second))
    # (1 + cos(k pi / 3)) / 2 of k = 0, 1, 2
    assert_allclose(rates, [3.5e-4, 7e-4, 7e-4 * 0.75, 7e-4 * 0.25], rtol=1e-12)


def test_the_drawn_data_is_known_by_name():
    """The options list it themselves, as --help has to answer without NumPy."""
    assert set(DRAWN) == set(drawn.DRAWN)


# Of 0.1.0


def of_0_1_0(options, **network):
    """What a config.json of 0.1.0 says, in today's words."""
    config = {"options": options, "network": {"classes": 2, **network}}
    return upgraded(config, "config.json")


def test_a_run_from_before_there_were_rows_is_l_cils():
    old = {
        name: value
        for name, value in METHODS["l_cil"].plain(RELEASED).items()
        if name not in ("method", "fusion", "gram_scale", "new_layers_rate")
    }
    config = of_0_1_0({**old, "data": "demo", "labels": "emotion", "fold": None, "seed": 0})
    assert options_of(config) == RELEASED
    assert config["network"]["kind"] == "multi_level"


def test_runs_from_before_the_pixel_cache_keep_their_pipeline():
    old = METHODS["l_cil"].plain(RELEASED)
    del old["pipeline"]
    assert options_of(of_0_1_0(old)).pipeline == "released"
    assert options_of(of_0_1_0({**old, "pipeline": "cached"})).pipeline == "cached"


def test_a_row_of_0_1_0_is_a_method():
    old = METHODS["pcnn"].plain(METHODS["pcnn"].released)
    old["row"] = old.pop("method")
    assert options_of(of_0_1_0(old, kind="fine_tuned")) == METHODS["pcnn"].released


# Definitions


def resolved_of(*arguments):
    return train.resolve(train.given_options(train.parser().parse_args(arguments)))


def plain(method, options):
    return method.plain(options)


def test_every_option_is_one_of_the_command():
    given = train.parser().parse_args([])
    assert all(
        hasattr(given, name) and getattr(given, name) is None
        for name in (each.name for each in fields(TrainingOptions))
    )
    assert resolved_of() == (METHODS["l_cil"], METHODS["l_cil"].demo)
    assert resolved_of(
        "--data", "x", "--method", "pcnn", "--rounds", "3", "--schedule", "cosine"
    ) == (
        METHODS["pcnn"],
        replace(METHODS["pcnn"].released, data="x", rounds=3, schedule="cosine"),
    )


def test_every_option_has_its_words():
    for name, option in definitions().items():
        assert option.section in SECTIONS and option.help and option.expected, name
        assert option.holds(getattr(TrainingOptions(), name)), name


def test_the_page_is_made_of_the_definitions():
    """docs/options.md: make it anew with python docs/options_page.py > docs/options.md"""
    done = subprocess.run(
        [sys.executable, "docs/options_page.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def neighbours(option):
    """Return values at and beyond the bounds of an option, of its type and of others."""
    values = ["", "x", "\u00e9", "none", "null", "true", "1.5", "1e3", "0x10", "nan", "inf", "-inf"]
    values += ["1e400", "x" * LONGEST, "x" * (LONGEST + 1), *option.choices]
    values += [str(number) for number in (-1, 0, 1, 2**16, 10**400)]
    if option.kind in (int, float) and not option.choices:
        for bound in (option.lowest, option.highest):
            values += [str(bound), str(bound - 1), str(bound + 1)]
    if option.kind is float:
        values += [repr(float(np.nextafter(option.lowest, side))) for side in (-1e9, 1e9)]
    return list(dict.fromkeys(values))


PARSER = train.parser()  # made once: it takes 10 ms


def taken_by_command(name, text, capsys):
    """Return the value that the command line makes of a text, and whether it takes it."""
    try:
        given = PARSER.parse_args([f"{flag(name)}={text}"])
    except SystemExit as stop:
        assert stop.code == 2
        assert f"argument {flag(name)}" in capsys.readouterr().err
        return None, False
    return getattr(given, name), True


CONFIG = json.dumps(run_config(METHODS["l_cil"].demo, 2))


def taken_by_config(name, value):
    """Tell whether the check of config.json takes a value of an option."""
    config = json.loads(CONFIG)
    config["target"] = config["data"]  # of a run that has --target
    config["options"][name] = json.loads(json.dumps(value))
    try:
        checked_config(config, "config.json")
    except Refused as error:
        assert f"config.json: options.{name} is " in str(error)
        return False
    return True


@pytest.mark.parametrize("name", definitions())
def test_command_line_and_config_take_the_same(name, capsys, tmp_path):
    """And so do files for --config; every value of a config.json can be typed, but for null."""
    option = definitions()[name]
    taken = 0
    for text in neighbours(option):
        value, by_command = taken_by_command(name, text, capsys)
        taken += by_command
        if not by_command:  # as a file would have it
            value = text
            if option.kind in (int, float) and not option.choices:
                try:
                    value = option.kind(text)
                except ValueError:
                    pass
        assert taken_by_config(name, value) == by_command, (text[:20], value)
        path = tmp_path / "options.json"
        path.write_text(json.dumps({name: value}))
        if by_command:
            assert read_options(path) == {name: value}
        else:
            with pytest.raises(InputError, match=f"options.json: {name} is .*, expected "):
                read_options(path)
    assert taken >= 2
    assert taken_by_config(name, None) == option.nullable
    for other in (True, [], {}, [1], {"a": 1}):
        assert not taken_by_config(name, other) and not option.holds(other)


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("seed", "4294967296", "'4294967296' is not a whole number from 0 to 4294967295"),
        ("epochs", "0", "'0' is not a whole number from 1 to 1000000"),
        ("image_size", "63", "'63' is not a whole number from 64 to 2048"),
        ("learning_rate", "0", "'0' is not a number above 0"),
        ("gamma", "-1", "'-1' is not a number from 0"),
        ("weight_decay", "nan", "'nan' is not a number from 0"),
        ("batch_size", "1.5", "'1.5' is not a whole number from 1 to 65536"),
        ("data", "", "it is empty, likely because a shell variable is not set"),
        ("data", "x" * 5000, "... is not text of up to 4096 characters"),
    ],
)
def test_what_the_command_line_says_of_a_wrong_value(name, text, expected, capsys):
    with pytest.raises(SystemExit):
        train.parser().parse_args([f"{flag(name)}={text}"])
    said = capsys.readouterr().err
    assert f"argument {flag(name)}: " in said and expected in said and len(said) < 300
    assert LARGEST > 1e299 and "1e+300" not in said  # no bound that nobody meant


# --config and --print-config


def printed(capsys, *arguments, code=0):
    assert train.main([*map(str, arguments)]) == code
    said = capsys.readouterr()
    return said.out if not code else said.err


def test_a_resumed_run_prints_no_other_options(capsys, tmp_path):
    said = printed(capsys, "--resume", "--out", tmp_path, "--print-config", code=2)
    assert "--print-config is not for --resume" in said


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("data", ["demo", "somewhere"])
def test_what_is_printed_is_read_again(name, data, capsys, tmp_path):
    text = printed(capsys, "--method", name, "--data", data, "--print-config")
    method = METHODS[name]
    defaults = method.demo if data == "demo" else replace(method.released, data=data)
    assert yaml.safe_load(text) == method.plain(defaults)
    path = tmp_path / "options.yaml"
    path.write_text(text)
    assert printed(capsys, "--config", path, "--print-config") == text
    assert resolved_of("--config", str(path)) == (method, defaults)
    assert text == written(method.plain(defaults))


def test_the_command_line_goes_before_the_file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("method: pcnn\ndata: x\nepochs: 7\nrounds: 2\n")
    method, options = resolved_of("--config", str(path), "--epochs", "9", "--seed", "3")
    assert method.name == "pcnn"
    assert options == replace(method.released, data="x", epochs=9, rounds=2, seed=3)


def test_a_file_may_hold_what_one_method_has_alone(tmp_path):
    """Another method of the command line does not take it in silence."""
    path = tmp_path / "options.yaml"
    path.write_text("method: pcnn\nrounds: 2\n")
    with pytest.raises(InputError, match="--rounds is not for --method vgg16, only for pcnn"):
        resolved_of("--config", str(path), "--method", "vgg16")


def test_json_is_yaml(tmp_path):
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"learning_rate": 1e-05, "epochs": 3, "target": None}))
    assert read_options(path) == {"learning_rate": 1e-5, "epochs": 3, "target": None}


@pytest.mark.parametrize(
    "text, rate",
    [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("1E-4", 1e-4), ("1", 1), ("1e3", 1000), ("'0.5'", 0.5)],
)
def test_numbers_as_people_write_them(text, rate, tmp_path):
    """YAML 1.1 takes 1e-4, without a dot, for text."""
    path = tmp_path / "options.yaml"
    path.write_text(f"learning_rate: {text}\n")
    assert read_options(path) == {"learning_rate": rate}
    assert type(read_options(path)["learning_rate"]) in (int, float)


def test_a_runs_own_options(tmp_path):
    """A config.json of today, and one of 0.1.0, which called a method a row."""
    options = replace(METHODS["vgg16"].demo, epochs=3, seed=7)
    config = run_config(options, 2, seed=7)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    expected = METHODS["vgg16"].plain(replace(options, data="data"))
    assert plain(*resolved_of("--config", str(path))) == expected
    del config["format"]
    config["options"]["row"] = config["options"].pop("method")
    del config["options"]["pipeline"]
    path.write_text(json.dumps(config))
    assert plain(*resolved_of("--config", str(path))) == {**expected, "pipeline": "released"}
    del config["options"]["row"]
    path.write_text(json.dumps(config))
    assert read_options(path)["method"] == "l_cil"


def test_the_options_of_the_run_that_ships():
    config = json.loads(SHIPPED_CONFIG.read_text())
    method, options = resolved_of("--config", str(SHIPPED_CONFIG))
    assert method.name == "l_cil" and options.pipeline == "released"
    assert options == options_of(upgraded(config, SHIPPED_CONFIG))


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"epochs: [1\n",
            r"options.yaml, line 2 is not valid YAML or JSON: correct it, or "
            r"make a new file with",
        ),
        (b"{'a: 1", "is not valid YAML or JSON"),
        (b"\x00\x01", "is not valid YAML or JSON"),
        (b"- 1\n- 2\n", "options.yaml is not a mapping of options to values"),
        (b"", "options.yaml is not a mapping of options to values"),
        (b"text", "is not a mapping"),
        (b"\xff\xfe\xfa", "options.yaml is not a text file: give a YAML or JSON file"),
        (b"epoch: 3\n", "options.yaml sets epoch, which is not an option: did you mean epochs?"),
        (
            b"learning-rate: 3\n",
            "sets learning-rate, which is not an option: did you mean learning_rate?",
        ),
        (b"epochs: 3\nseed: 1\nepochs: 4\n", "sets epochs twice, in lines 1 and 3: keep one of"),
        (b'{"seed": 1, "seed": 1}', "sets seed twice, in lines 1 and 1: keep one of them"),
        (b"zzz: 3\n", "sets zzz, which is not an option: the options are data, labels, "),
        (b"1: 3\n", "sets 1, which is not an option: the options are"),
        (b"row: vgg16\n", "sets row, which is not an option: "),
        (b"epochs: 0\n", "options.yaml: epochs is 0, expected a whole number from 1 to 1000000"),
        (b"epochs: 1.5\n", r"epochs is 1\.5, expected a whole number from 1"),
        (b"epochs: true\n", "epochs is True, expected a whole number"),
        (b"epochs: null\n", "epochs is None, expected a whole number from 1 to 1000000$"),
        (b"fold: 0\n", "fold is 0, expected a whole number from 1 to 1000, or null"),
        (b"learning_rate: fast\n", "learning_rate is 'fast', expected a number above 0"),
        (b"learning_rate: .nan\n", "learning_rate is nan, expected a number above 0"),
        (b"learning_rate: '-inf'\n", "learning_rate is -inf, expected a number above 0"),
        (b"loss: crossentropy\n", "expected one of class_imbalance, cross_entropy"),
        (b"data: 3\n", "data is 3, expected text of up to 4096 characters"),
        (b"data: 2026-01-01\n", "data is datetime.date"),
        (b"data: [a, a]\n", "expected text"),
        (b"target: [a, b]\n", "expected text"),
        (b"data: !!python/object/apply:os.getcwd []\n", "is not valid YAML or JSON"),
        pytest.param(b"[" * 400, "is not valid YAML or JSON", id="deep"),
        (b'{"options": {"epochs": "many"}}', "epochs is 'many', expected a whole number"),
    ],
)
def test_wrong_files(content, message, tmp_path, capsys):
    path = tmp_path / "options.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_options(path)
    said = printed(capsys, "--config", path, "--print-config", code=2)
    assert len(said.splitlines()) == 1 and str(path) in said and len(said) < 700


def test_files_that_are_not_there(tmp_path, capsys):
    for path, why in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        said = printed(capsys, "--config", path, "--print-config", code=2)
        assert said.startswith(f"mlr train: error: can't read --config {path}: {why}")


def test_a_method_that_there_is_not(tmp_path, capsys):
    (tmp_path / "options.yaml").write_text("method: resnet52\n")
    said = printed(capsys, "--config", tmp_path / "options.yaml", "--print-config", code=2)
    assert "there is no method resnet52: choose one of alexnet" in said


def test_a_fold_of_a_file_and_all_folds(tmp_path, capsys):
    (tmp_path / "options.yaml").write_text("fold: 2\n")
    arguments = ("--config", tmp_path / "options.yaml", "--folds", "all", "--print-config")
    assert "--fold trains one fold and --folds all of them" in printed(capsys, *arguments, code=2)
    (tmp_path / "options.yaml").write_text("fold: null\n")
    printed(capsys, *arguments)


# --row, until 0.3.0


def test_a_row_says_that_it_goes(capsys):
    assert train.main(["--row", "vgg16", "--print-config"]) == 0
    said = capsys.readouterr()
    assert said.err == "mlr train: --row is now called --method; 0.3.0 will remove --row\n"
    assert yaml.safe_load(said.out) == METHODS["vgg16"].plain(METHODS["vgg16"].demo)
    assert train.main(["--row", "vgg16", "--method", "vgg16", "--print-config"]) == 0
    assert "--row is now called --method" in capsys.readouterr().err
    said = printed(capsys, "--row", "vgg16", "--method", "ar", code=2)
    assert said == (
        "mlr train: error: --row vgg16 and --method ar mean the same: give only --method\n"
    )


def test_help_speaks_of_methods_alone():
    text = train.parser().format_help()
    assert "--method" in text and "--row" not in text.split()
    assert all(f"\n{section}:" in text for section in SECTIONS)


# --resume


@pytest.fixture
def resumed(trained, tmp_path, capsys):
    """Go on with a finished run, as it was begun and with other arguments; return what is said."""
    run = shutil.copytree(trained[0], tmp_path / "run")

    def resume(*arguments, code=0):
        before = (run / "last.params").read_bytes()
        assert train.main(["--resume", "--out", str(run), *map(str, arguments)]) == code
        assert (run / "last.params").read_bytes() == before
        return capsys.readouterr()

    return resume


def test_the_same_command_line_again(trained, resumed):
    """As it was typed before --row was called --method, and with the options of the run itself."""
    again = ("--data", trained[1], "--row", "l_cil", "--config", trained[0] / "config.json")
    assert "--row is now called --method" in resumed(*again, *OF_TRAINED).err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--epochs", 2), "--epochs 2: {run} was started with --epochs 8, and a resumed run keeps"),
        (("--seed", 1), "--seed 1: {run} was started with --seed 0"),
        (("--method", "vgg16"), "--method vgg16: {run} was started with --method l_cil"),
        (("--row", "vgg16"), "--method vgg16: {run} was started with --method l_cil"),
        (("--learning-rate", "0.011"), "--learning-rate 0.011: {run} was started with "),
        (("--pretrained", "zoo"), "--pretrained zoo: {run} was started with --pretrained none"),
        (("--labels", "sentiment"), "--labels sentiment: {run} was started with --labels emotion"),
        (("--fold", 1), "--fold 1: {run} was started with --fold None"),
    ],
)
def test_another_value_is_refused(resumed, tmp_path, arguments, message):
    said = resumed(*arguments, code=2).err
    assert message.format(run=tmp_path / "run") in said
    assert "leave it out, or start a new run" in said


def test_a_file_is_held_to_the_run_too(trained, resumed, tmp_path):
    given = ("--config", trained[0] / "config.json", "--epochs", 2)
    assert "--epochs 2: " in resumed(*given, code=2).err
    (tmp_path / "other.yaml").write_text("gamma: 2\n")
    assert "--gamma 2: " in resumed("--config", tmp_path / "other.yaml", code=2).err


@pytest.mark.slow
def test_a_file_named_from_here_is_the_one_that_the_run_knows(
    trained, tmp_path, monkeypatch, capsys
):
    """config.json has whole paths, and the same command line is typed with a relative one."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(trained[0] / "last.params", "start.params")
    again = [*TINY, "--data", str(trained[1]), "--pretrained", "start.params", "--out", "run"]
    assert train.main(again) == 0
    assert train.main([*again, "--resume"]) == 0
    capsys.readouterr()
    assert train.main(["--resume", "--out", "run", "--pretrained", "other.params"]) == 2
    assert "--pretrained other.params: run was started with " in capsys.readouterr().err
