"""Every method of the results table, from its network to its commands."""

import json
import re
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from conftest import write_images
from mxnet import nd
from mxnet.gluon.model_zoo import vision
from numpy.testing import assert_allclose, assert_array_equal

import mlr
import mlr.evaluate
import mlr.predict
import mlr.train
from mlr import paper
from mlr.data.images import read_image
from mlr.data.manifest import Entry, write_prepared
from mlr.data.transforms import caffe_transform
from mlr.errors import InputError
from mlr.formats.params import read_params
from mlr.inference.support_vectors import SupportVectorMachine
from mlr.methods import METHODS, method_of, predictor_of
from mlr.model.backbone import Backbone
from mlr.model.finetuned import FineTuned
from mlr.model.fusion import Fusion
from mlr.model.gram import Gram
from mlr.model.networks import new_network
from mlr.model.parameters import ParametersError, materialize
from mlr.model.pretrained import load_pretrained
from mlr.model.shallow_only import ShallowOnly
from mlr.model.zoo import zoo_network
from mlr.runs.committed import CommittedFolder
from mlr.runs.folder import Run
from mlr.runs.schema import upgraded
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of
from mlr.training.run import new_layers
from mlr.training.run import new_network as network_on

ROUNDING = dict(rtol=1e-5, atol=1e-6)  # float32, the same operators in another order


@pytest.mark.parametrize("name", METHODS)
def test_the_network_of_every_method(name):
    """As the demo has it: logits for each class, the same as a static graph and layer by layer;
    names as zoo files and Caffe have them.
    """
    # as read from config.json
    method = METHODS[name]
    options = json.loads(json.dumps(method.network(method.demo, 5)))
    net = network_on(method, options, [mx.cpu()])
    images = nd.random.normal(shape=(2, 3, 64, 64))
    hybridized = net(images)
    assert hybridized.shape == (2, paper.SENTIBANK_CONCEPTS if name == "deepsentibank" else 5)
    net.hybridize(False)
    # float32 through up to 20 layers
    assert_allclose(net(images).asnumpy(), hybridized.asnumpy(), rtol=1e-4, atol=1e-5)
    # the image makes a difference
    assert np.ptp(hybridized.asnumpy(), axis=0).max() > 1e-4
    names = net._collect_params_with_prefix()
    if options["kind"] in ("fine_tuned", "caffenet"):
        assert all(
            re.fullmatch(r"features\.\d+(\.\w+)*", name)
            for name in names
            if name not in ("output.weight", "output.bias")
        )
        assert set(net.structural_parameters) == set(names) - {"output.weight", "output.bias"}


def test_a_run_from_before_there_were_rows_is_of_the_multi_level_network():
    config = upgraded(
        {
            "options": {},
            "network": {
                "classes": 3,
                "backbone": paper.SLIM_BACKBONE,
                "style_width": 8,
            },
            "preprocessing": {"image_size": 64},
        },
        "config.json",
    )
    method, image = method_of(config), nd.zeros((80, 90, 3), dtype="uint8")
    assert method.name == "l_cil"
    net = method.build(config["network"])
    assert isinstance(net, mlr.MultiLevelNet)
    assert (net.taps, config["network"]["widths"]) == (paper.TAPS, paper.BRANCH_WIDTHS)
    preprocessing = method.preprocessing(config)
    assert (
        preprocessing.training("gentle")(image).shape
        == preprocessing.evaluation()(image).shape
        == (3, 64, 64)
    )


@pytest.mark.parametrize(
    "name, layer, size, inputs",
    [
        ("alexnet_slim", 9, 64, 64),
        ("alexnet_slim", 9, 96, 64 * 2 * 2),
        ("alexnet_slim", 9, 224, 64 * 6 * 6),
        ("vgg16_slim", 18, 64, 128 * 2 * 2),
        ("vgg16_slim", 18, 100, 128 * 3 * 3),
        ("vgg16_slim", 18, 224, 128 * 7 * 7),
    ],
)
def test_the_size_of_images_makes_the_first_dense_layer(name, layer, size, inputs):
    net = new_network(
        json.loads(
            json.dumps(
                METHODS["vgg16"].network(
                    replace(METHODS["alexnet"].released, backbone=name, image_size=size), 2
                )
            )
        )
    )
    materialize(net, [mx.cpu()], mx.init.Xavier())
    assert net.structural_parameters[f"features.{layer:d}.weight"].shape == (1024, inputs)
    assert net(nd.zeros((2, 3, size, size))).shape == (2, 2)


@pytest.mark.parametrize(
    "method, layer, shape",
    [
        ("alexnet", "features.9.weight", (4096, 9216)),
        ("vgg16", "features.31.weight", (4096, 25088)),
        ("ar", "output.weight", (2, 4096)),
        ("pcnn", "output.weight", (2, 4096)),
        ("resnet50", "output.weight", (2, 2048)),
        ("deepsentibank", "output.weight", (2089, 4096)),
    ],
)
def test_the_released_networks_are_those_of_the_papers(method, layer, shape):
    released = METHODS[method].released
    net = METHODS[method].build(METHODS[method].network(released, 2))
    size = released.image_size
    net.infer_shape(nd.zeros((1, 3, size, size)))
    assert net._collect_params_with_prefix()[layer].shape == shape


def test_slim_networks_have_a_quarter_of_the_channels():
    for wide in ("alexnet", "vgg16"):
        name = f"{wide}_slim"
        slim, zoo = FineTuned(3, name, 64), FineTuned(3, wide, 64)
        for net in (slim, zoo):
            net.infer_shape(nd.zeros((1, 3, 64, 64)))
        ours, theirs = ([p.shape[0] for p in net.collect_params().values()] for net in (slim, zoo))
        assert ours[:-2] == [channels // 4 for channels in theirs[:-2]] and ours[-2:] == theirs[
            -2:
        ] == [3, 3]


def test_an_unknown_network():
    with pytest.raises(InputError, match="unknown backbone vgg17: choose one of resnet18_v2"):
        zoo_network("vgg17")


@pytest.mark.parametrize(
    "name, prefixed",
    [
        ("alexnet", False),
        ("alexnet", True),
        ("resnet50_v1", True),
        pytest.param("vgg16", False, marks=pytest.mark.slow),
    ],
)
def test_the_zoos_own_files(tmp_path, name, prefixed):
    """Of the zoo's network of 1,000 classes, saved by MXNet itself in both of its namings."""
    zoo, path = vision.get_model(name), str(tmp_path / "zoo.params")
    zoo.initialize(mx.init.Xavier())
    images = nd.random.normal(shape=(1, 3, 64, 64))
    expected = zoo.features(images).flatten().asnumpy()
    zoo(images)
    nd.waitall()
    zoo.collect_params().save(path) if prefixed else zoo.save_parameters(path)
    net = FineTuned(2, name, 64)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    record = load_pretrained(net, path)
    assert record == {"source": path, "file": "zoo.params", "sha256": sha256_of(path)}
    # the same operators, float32
    assert_allclose(
        net.features(images).asnumpy(), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max()
    )
    assert net.output.weight.shape[0] == 2


def test_weights_of_another_network_change_nothing(tmp_path):
    alexnet, vgg = (FineTuned(2, name, 64) for name in ("alexnet_slim", "vgg16_slim"))
    for net in (alexnet, vgg):
        materialize(net, [mx.cpu()], mx.init.Xavier())
    nd.waitall()
    alexnet.save_parameters(str(tmp_path / "alexnet.params"))
    before = {name: parameter.data().asnumpy() for name, parameter in vgg.collect_params().items()}
    with pytest.raises(
        ParametersError,
        match="parameters in .*alexnet.params don't fit the network: .* missing .* wrongly shaped",
    ):
        load_pretrained(vgg, str(tmp_path / "alexnet.params"))
    for name, parameter in vgg.collect_params().items():
        assert_array_equal(parameter.data().asnumpy(), before[name])


def test_the_network_of_pcnns_authors():
    net = FineTuned(2, "pcnn_small", 227)
    net.initialize()
    x, found = nd.zeros((1, 3, 227, 227)), []
    for layer in net.features:
        x = layer(x)
        found.append((type(layer).__name__, x.shape[1:]))
    assert found == [
        ("Conv2D", (96, 55, 55)),
        ("LocalResponseNorm", (96, 55, 55)),
        ("MaxPool2D", (96, 27, 27)),
        ("Conv2D", (256, 14, 14)),
        ("LocalResponseNorm", (256, 14, 14)),
        ("MaxPool2D", (256, 6, 6)),
        ("Flatten", (9216,)),
        ("Dense", (512,)),
        ("Dense", (512,)),
        ("Dense", (24,)),
    ]
    net(nd.zeros((1, 3, 227, 227)))
    shapes = [
        p.shape for name, p in net._collect_params_with_prefix().items() if name.endswith("weight")
    ]
    assert [shape[0] for shape in shapes] == [96, 256, 512, 512, 24, 2]
    assert shapes[0] == (96, 3, 11, 11) and shapes[1] == (256, 96, 5, 5)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("add", lambda a, b: a + b),
        ("multiply", lambda a, b: a * b),
        ("concat", lambda a, b: np.concatenate([a, b], axis=1)),
    ],
)
def test_fusions(kind, expected):
    fusion = Fusion(3, kind)
    deep, style = nd.random.normal(shape=(4, 6)), nd.random.normal(shape=(4, 6))
    fusion.initialize(mx.init.Xavier())
    fusion(deep, style)
    weight, bias = fusion.output.weight.data().asnumpy(), fusion.output.bias.data().asnumpy()
    # running statistics of 0 and 1
    both = expected(deep.asnumpy(), style.asnumpy()) / np.sqrt(1 + paper.BATCH_NORM_EPSILON)
    assert_allclose(fusion(deep, style).asnumpy(), both @ weight.T + bias, **ROUNDING)


def test_fusions_that_do_not_fit():
    with pytest.raises(
        InputError, match="unknown fusion glue: choose one of concat, add, multiply"
    ):
        Fusion(3, "glue")
    with pytest.raises(
        InputError,
        match=(
            "needs a style as wide as the deep representation of resnet18_v2: give style_width "
            "512, not 8"
        ),
    ):
        mlr.MultiLevelNet(3, backbone="resnet18_v2", style_width=8, fusion="add")
    assert mlr.MultiLevelNet(3, backbone="resnet18_v2", style_width=512, fusion="multiply")


def test_the_scale_of_gram_matrices():
    maps = nd.random.normal(shape=(2, 3, 4, 4))
    # one float32 product
    assert_allclose(Gram(100)(maps).asnumpy(), 100 * Gram()(maps).asnumpy(), rtol=1e-6)
    flat = maps.asnumpy().reshape(2, 3, 16).astype(float)
    # float32, 16 terms
    assert_allclose(
        Gram(7.5)(maps).asnumpy(), 7.5 * flat @ flat.transpose(0, 2, 1) / 48, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["l_cil", "shallow"])
def test_the_scale_reaches_every_branch(name):
    """The bias is 0, so that the rectified output of a branch is as many times larger as its Gram
    matrix is.
    """
    method = METHODS[name]
    description = method.network(replace(method.demo, gram_scale=10.0), 3)
    net = network_on(method, description, [mx.cpu()])
    maps = (
        nd.random.normal(shape=(2, 32, 16, 16)),
        nd.random.normal(shape=(2, 32, 16, 16)),
        nd.random.normal(shape=(2, 32, 16, 16)),
    )
    assert len(net.shallow.branches) == 3
    for branch, x in zip(net.shallow.branches, maps):
        pooled = (
            nd.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
            if len(branch.layers) == 3
            else x
        )
        weight = branch.layers[-1].weight.data()
        expected = (
            nd.dot(Gram()(pooled).reshape((2, -1)), weight, transpose_b=True).relu().asnumpy()
        )
        # float32, 1,024 terms
        assert_allclose(branch(x).asnumpy(), 10 * expected, rtol=1e-4, atol=1e-4)
        assert expected.max() > 0.01


@pytest.mark.parametrize(
    "taps, left_out", [(("stem",), "stage1"), (("pool",), "stage1"), (("stage1", "stem"), "stage2")]
)
def test_branches_alone_leave_out_what_is_above_them(tmp_path, taps, left_out):
    net = ShallowOnly(3, paper.SLIM_BACKBONE, taps, [8] * len(taps), 4)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    assert not any(name.startswith(left_out) for name in net._collect_params_with_prefix())
    whole = FineTuned(5, paper.SLIM_BACKBONE, 64)
    materialize(whole, [mx.cpu()], mx.init.Xavier())
    nd.waitall()
    whole.save_parameters(str(tmp_path / "whole.params"))
    load_pretrained(net, str(tmp_path / "whole.params"))
    for name, parameter in net.structural_parameters.items():
        assert_array_equal(
            parameter.data().asnumpy(), whole.structural_parameters[name].data().asnumpy()
        )
    images, maps = nd.random.normal(shape=(2, 3, 64, 64)), []
    x = whole.features[:4](images)
    for layer in (None, whole.features[4], whole.features[5]):
        x = layer(x) if layer else x
        maps.append(x)
    expected = net.output(net.shallow(*[maps[paper.TAPS.index(tap)] for tap in taps]))
    assert_allclose(net(images).asnumpy(), expected.asnumpy(), **ROUNDING)


def test_a_runs_parameters_are_weights_to_start_from(tmp_path):
    trained = FineTuned(7, paper.SLIM_BACKBONE, 64)
    materialize(trained, [mx.cpu()], mx.init.Xavier())
    nd.waitall()
    trained.save_parameters(str(tmp_path / "last.params"))
    backbone = Backbone(paper.SLIM_BACKBONE)
    materialize(backbone, [mx.cpu()], mx.init.Xavier())
    load_pretrained(backbone, str(tmp_path / "last.params"))
    images = nd.random.normal(shape=(1, 3, 64, 64))
    assert_allclose(backbone(images)[-1].asnumpy(), trained.features(images).asnumpy(), **ROUNDING)


def test_branches_alone_of_the_zoos_files(tmp_path):
    """In the zoo's prefixed names the classifier and the upper stages are left out, too; anything
    else is too much or missing.
    """
    zoo, path = vision.get_model("resnet18_v2"), str(tmp_path / "zoo.params")
    zoo.initialize(mx.init.Xavier())
    zoo(nd.zeros((1, 3, 64, 64)))
    nd.waitall()
    zoo.collect_params().save(path)
    net = ShallowOnly(3, "resnet18_v2", ("pool",), [8], 4)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    load_pretrained(net, path)
    assert_array_equal(
        net.structural_parameters["features.1.weight"].data().asnumpy(),
        zoo.features[1].weight.data().asnumpy(),
    )
    arrays = nd.load(path)
    first = next(name for name in arrays if name.endswith("conv0_weight") and "stage" not in name)
    nd.save(
        path,
        {
            **{
                name: array
                for name, array in arrays.items()
                if not name.endswith("batchnorm1_gamma") or "stage" in name
            },
            first.replace("conv0", "conv9"): arrays[first],
        },
    )
    with pytest.raises(ParametersError) as error:
        load_pretrained(net, path)
    assert (error.value.missing, error.value.unexpected) == (["batchnorm1_gamma"], ["conv9_weight"])


def test_only_layers_without_weights_learn_faster():
    net = new_network(METHODS["ar"].network(METHODS["ar"].demo, 2))
    options = METHODS["ar"].released
    assert {p.name for p in new_layers(net, options, {"source": "zoo"})} == {
        net.output.weight.name,
        net.output.bias.name,
    }
    assert set(new_layers(net, options, {"source": "zoo"}).values()) == {10}
    assert (
        new_layers(net, options, {"source": "none"})
        == new_layers(net, METHODS["l_cil"].released, {"source": "zoo"})
        == {}
    )


FITTED = ("--pretrained", "none", "--image-size", "64", "--ctx", "cpu")
SMALL = (*FITTED, "--epochs", "1", "--batch-size", "4")
TRIED = {
    "alexnet": ("--backbone", "alexnet_slim"),
    "vgg16": ("--backbone", "vgg16_slim"),
    "resnet50": ("--backbone", paper.SLIM_BACKBONE),
    "pcnn": ("--backbone", "vgg16_slim", "--rounds", "2", "--learning-rate", "0.001"),
    "deepsentibank": ("--backbone", "caffenet_slim"),
    "ar": ("--backbone", "vgg16_slim"),
    "l_cil": (
        "--backbone",
        paper.SLIM_BACKBONE,
        "--style-width",
        "160",
        "--fusion",
        "add",
        "--gram-scale",
        "10",
        "--taps",
        "by-width",
    ),
    "shallow": ("--backbone", paper.SLIM_BACKBONE, "--style-width", "8", "--taps", "pool"),
}


def trained_method(command, method, data, run, *more):
    done = command(
        "train",
        "--method",
        method,
        "--data",
        data,
        "--out",
        run,
        *(FITTED if method == "deepsentibank" else SMALL),
        *TRIED[method],
        *more,
    )
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.slow
@pytest.mark.parametrize("method", TRIED)
def test_every_method_trains_evaluates_and_predicts(method, data, tmp_path, command):
    run = trained_method(command, method, data, tmp_path / "run")
    done = command("evaluate", "--run", run, "--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    evaluation = json.loads((run / "evaluation_test.json").read_text())
    assert evaluation["images"] == 4
    done = command("predict", "--run", run, "--json", data / "test", "--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    confusion = np.zeros((2, 2), int)
    for line in said:
        assert abs(sum(line["probabilities"].values()) - 1) < 1e-6  # float64
        confusion[
            ["awe", "fear"].index(line["image"].split("/")[-2]),
            ["awe", "fear"].index(line["label"]),
        ] += 1
    # both commands answer alike
    assert confusion.tolist() == evaluation["confusion"]


@pytest.mark.parametrize(
    "rounds, stops",
    [
        (1, [(7, "last.params")]),
        pytest.param(
            2, [(6, "last.params"), (6, "kept_1.json"), (9, "last.params")], marks=pytest.mark.slow
        ),
    ],
)
def test_pcnn_goes_on_to_the_bit(data, tmp_path, monkeypatch, rounds, stops):
    """Stopped before its first selection, right after it, and within a round, a run ends as one
    that was not stopped.
    """

    def train(*arguments):
        return mlr.train.main([*map(str, arguments), "--ctx", "cpu"])

    files = [
        "last.params",
        "best.params",
        *(f"kept_{number + 1:d}.json" for number in range(rounds)),
    ]
    options = (
        "--method",
        "pcnn",
        "--data",
        data,
        "--pretrained",
        "none",
        "--image-size",
        "64",
        "--batch-size",
        "4",
        "--backbone",
        "vgg16_slim",
        # too low to be certain of all images
        "--rounds",
        rounds,
        "--epochs",
        "6",
        "--learning-rate",
        "0.001",
    )
    assert train(*options, "--out", tmp_path / "whole") == 0
    whole = {name: (tmp_path / "whole" / name).read_bytes() for name in files}
    # of all images, and rounds of a third as many epochs
    assert len(Run.open(tmp_path / "whole").metrics) == 6 + 2 * rounds
    names = [f"{label}/{number:02d}.jpg" for label in ("awe", "fear") for number in range(6)]
    trained_on = [
        round(line["images_per_second"] * line["seconds"])
        for line in Run.open(tmp_path / "whole").metrics
    ]
    assert trained_on[:6] == [12] * 6
    for name, images in zip(files[2:], (trained_on[6:8], trained_on[8:])):
        kept = json.loads(whole[name])
        assert images == [len(kept["kept"])] * 2
        assert [names[index] for index in kept["kept"]] == kept["names"] and 2 <= len(
            kept["names"]
        ) <= 12
        assert {name.partition("/")[0] for name in kept["names"]} == {"awe", "fear"}
    # else nothing was selected
    assert len(json.loads(whole["kept_1.json"])["kept"]) < 12

    commit = CommittedFolder.commit
    for epochs, file in stops:
        run = tmp_path / (f"stopped-{epochs:d}-{file}")

        def stop_there(self, contents, *arguments, epochs=epochs, file=file, **options):
            commit(self, contents, *arguments, **options)
            if (
                len((self.path / "metrics.jsonl").read_text().splitlines())
                if self.has("metrics.jsonl")
                else 0
            ) == epochs and file in contents:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(CommittedFolder, "commit", stop_there)
            assert train(*options, "--out", run) == 130
        assert len(Run.open(run).metrics) == epochs and Run.open(run).has("kept_1.json") == (
            file == "kept_1.json" or epochs > 6
        )
        assert train("--resume", "--out", run) == 0
        for name in files:
            assert (run / name).read_bytes() == whole[name], (run, name)


@pytest.mark.slow
def test_pcnn_transfers_to_a_target(data, tmp_path, command):
    target = write_images(tmp_path / "target", train=4, valid=1, test=3)
    run = trained_method(command, "pcnn", data, tmp_path / "run", "--target", target)
    assert [round(line["images_per_second"] * line["seconds"]) for line in Run.open(run).metrics][
        ::3
    ] == [12, 8]
    assert len(Run.open(run).metrics) == 4
    assert command("evaluate", "--run", run, "--ctx", "cpu").returncode == 0
    evaluation = json.loads((run / "evaluation_test.json").read_text())
    assert evaluation["images"] == 6 and str(target) in evaluation["data"]
    other = write_images(tmp_path / "other", classes=("anger", "joy"))
    done = command(
        "train",
        "--method",
        "pcnn",
        "--data",
        data,
        "--out",
        tmp_path / "no",
        *SMALL,
        *TRIED["pcnn"],
        "--target",
        other,
    )
    assert done.returncode == 2 and "has the classes anger, joy, but" in done.stderr


def test_deepsentibank_says_what_its_features_are(data, tmp_path, capsys):
    method = ("--method", "deepsentibank", "--data", str(data))
    fitted = (*method, *FITTED, *TRIED["deepsentibank"])
    svm = ("--svm-kernel", "rbf", "--svm-c", "2", "--svm-class-weight", "none")
    run = tmp_path / "run"
    assert mlr.train.main([*fitted, *svm, "--out", str(run)]) == 0
    opened = Run.open(run)
    assert opened.config["features"] == "fc7"
    arrays = read_params(opened.verified("svm.params"))
    assert arrays["mean"].shape == (1024,) and arrays["support_vectors"].dtype == np.float64
    predictor, paths = predictor_of(opened, [mx.cpu()]), sorted((data / "test").glob("*/*.jpg"))
    features = predictor.net.features(
        nd.stack(*[caffe_transform(64)(read_image(path)) for path in paths])
    ).asnumpy()
    expected = SupportVectorMachine.from_arrays(arrays).probabilities(features)
    trained_on = nd.stack(
        *[
            caffe_transform(64)(read_image(path))
            for path in sorted((data / "train").glob("*/*.jpg"))
        ]
    )
    # float32, 12 images
    assert_allclose(
        arrays["mean"],
        predictor.net.features(trained_on).asnumpy().mean(axis=0),
        rtol=1e-4,
        atol=1e-5,
    )
    # float64 of the same float32 features
    assert_allclose(predictor.of_files(paths, ["-"] * 4), expected, rtol=1e-6)
    assert sorted(
        path.name for path in run.iterdir() if path.suffix in (".params", ".png", ".pkl", ".joblib")
    ) == ["confusion.png", "last.params", "optimizer.params", "svm.params"]
    full = tmp_path / "full"
    arguments = ("--out", str(full), "--pretrained", str(run / "last.params"))
    assert mlr.train.main([*fitted, *arguments]) == 0
    # a file with all 2,089 outputs
    assert Run.open(full).config["features"] == "fc8"
    capsys.readouterr()
    assert mlr.train.main([*method, "--out", str(tmp_path / "zoo"), "--pretrained", "zoo"]) == 2
    assert "the Gluon zoo has no CaffeNet: give --pretrained FILE" in capsys.readouterr().err


@pytest.mark.slow
def test_proposals_from_a_file(data, tmp_path, command):
    boxes = np.array([[0, 0, 40, 40, 2], [20, 10, 70, 60, 1]], float)
    names = [f"{label}/{number:02d}.jpg" for label in ("awe", "fear") for number in range(2)]
    np.savez(tmp_path / "boxes.npz", **{name: boxes for name in names})
    run = trained_method(
        command, "ar", data, tmp_path / "run", "--proposals", tmp_path / "boxes.npz"
    )
    assert command("evaluate", "--run", run, "--ctx", "cpu").returncode == 0
    np.savez(tmp_path / "boxes.npz", **{name: boxes for name in names[1:]})
    done = command("evaluate", "--run", run, "--ctx", "cpu")
    assert done.returncode == 2 and "awe/00.jpg" in done.stderr and "boxes.npz" in done.stderr


@pytest.mark.parametrize(
    "arguments, text",
    [
        (
            ("--method", "vgg16", "--taps", "released"),
            "--taps is not for --method vgg16, only for l_cil, shallow",
        ),
        (
            ("--method", "alexnet", "--rounds", "2"),
            "--rounds is not for --method alexnet, only for pcnn",
        ),
        (
            ("--method", "deepsentibank", "--optimizer", "adam"),
            "--optimizer is not for --method deepsentibank, only for alexnet",
        ),
        (
            ("--method", "l_cil", "--svm-c", "2"),
            "--svm-c is not for --method l_cil, only for deepsentibank",
        ),
        (
            ("--method", "vgg16", "--backbone", "alexnet"),
            "--backbone alexnet is not for --method vgg16: choose one of vgg16, vgg16_slim",
        ),
        (
            (
                "--method",
                "l_cil",
                "--fusion",
                "add",
                "--style-width",
                "8",
                "--backbone",
                "resnet18_v2",
                "--pretrained",
                "none",
            ),
            "give style_width 512, not 8",
        ),
        (
            ("--method", "deepsentibank", "--checkpoint-every", "1"),
            "--checkpoint-every has no effect on --method deepsentibank, which is trained in one "
            "step",
        ),
        (
            ("--method", "resnet50", "--proposals", "boxes.npz"),
            "--proposals is not for --method resnet50, only for ar",
        ),
        (
            ("--method", "shallow", "--fusion", "add"),
            "--fusion is not for --method shallow, only for l_cil",
        ),
        (
            ("--method", "vgg16", "--target", "somewhere"),
            "--target is not for --method vgg16, only for pcnn",
        ),
        (
            ("--taps", "pool", "--method", "deepsentibank"),
            "--taps is not for --method deepsentibank, only for l_cil, shallow",
        ),
        (
            ("--backbone", "pcnn_small"),
            "--backbone pcnn_small is not for --method l_cil: choose one of resnet18_v2",
        ),
        (
            ("--method", "vgg16", "--backbone", "vgg16_slim", "--pretrained", "zoo"),
            "no zoo has ImageNet weights for vgg16_slim",
        ),
        (
            (
                "--method",
                "resnet52",
            ),
            "there is no method resnet52: choose one of alexnet, vgg16, resnet50",
        ),
    ],
)
def test_options_that_do_not_fit_the_method(data, tmp_path, capsys, arguments, text):
    try:
        code = mlr.train.main(["--data", str(data), "--out", str(tmp_path / "run"), *arguments])
    except SystemExit as stop:  # of argparse
        code = stop.code
    errors = capsys.readouterr().err
    assert code == 2 and text in errors
    assert len(errors.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_every_backbone_of_a_method_is_known():
    for method in METHODS.values():
        assert {method.released.backbone, method.demo.backbone} <= set(method.backbones)


@pytest.mark.parametrize(
    "content, message",
    [
        ("no boxes", "boxes.npz is not a .npz file"),
        ("too few", "boxes.npz has no proposals for the image awe/00.jpg; it has them for 3 other"),
    ],
)
def test_wrong_proposals_are_found_before_training(data, tmp_path, command_here, content, message):
    (tmp_path / "boxes.npz").write_bytes(b"no boxes")
    if content == "too few":
        boxes_of(["awe/01.jpg", "fear/00.jpg", "fear/01.jpg"], tmp_path / "boxes.npz")
    done = command_here(
        "train",
        "--method",
        "ar",
        "--data",
        data,
        "--out",
        tmp_path / "run",
        *SMALL,
        *TRIED["ar"],
        "--proposals",
        tmp_path / "boxes.npz",
    )
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "run").exists()


def in_process(module, *arguments):
    return module.main([*map(str, arguments)])


def boxes_of(names, path):
    np.savez(path, **{name: np.array([[0, 0, 40, 40, 2]], float) for name in names})


def test_a_run_with_proposals_is_used_from_anywhere_and_by_every_command(
    data, tmp_path, monkeypatch, capsys
):
    """They are found by class and file, or by file alone; an image without any does not cost the
    others their answers.
    """
    monkeypatch.chdir(tmp_path)
    names = [f"{label}/{number:02d}.jpg" for label in ("awe", "fear") for number in range(2)]
    boxes_of(names, "boxes.npz")
    run = tmp_path / "run"
    assert (
        in_process(
            mlr.train,
            "--method",
            "ar",
            "--data",
            data,
            "--out",
            run,
            *SMALL,
            *TRIED["ar"],
            "--proposals",
            "boxes.npz",
        )
        == 0
    )
    monkeypatch.chdir("/")
    assert in_process(mlr.evaluate, "--run", run, "--ctx", "cpu") == 0
    capsys.readouterr()
    assert in_process(mlr.predict, "--run", run, "--ctx", "cpu", "--json", data / "test") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    temperature = "--split", "valid", "--fit-temperature", "--ctx", "cpu"
    assert in_process(mlr.evaluate, "--run", run, *temperature) == 2
    assert "--fit-temperature is not for --method ar, whose" in capsys.readouterr().err
    boxes_of(names[1:], tmp_path / "boxes.npz")
    assert in_process(mlr.predict, "--run", run, "--ctx", "cpu", "--json", data / "test") == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and "awe/00.jpg" in said.err
    boxes_of(["00.jpg", "01.jpg"], tmp_path / "boxes.npz")
    assert in_process(mlr.evaluate, "--run", run, "--ctx", "cpu") == 0


def test_the_report_of_a_method_without_epochs(data, tmp_path, command, capsys):
    run = trained_method(command, "deepsentibank", data, tmp_path / "run")
    assert in_process(mlr.evaluate, "--run", run, "--report", "--ctx", "cpu") == 0
    assert (
        "This system is fitted in one step, without epochs."
        in (run / "report_test.html").read_text()
    )
    temperature = "--split", "valid", "--fit-temperature", "--ctx", "cpu"
    assert in_process(mlr.evaluate, "--run", run, *temperature) == 2
    assert "--fit-temperature is not for --method deepsentibank, whose" in capsys.readouterr().err
    shipped = tmp_path / "shipped"
    RunWriter.open(run).ship(shipped)
    assert in_process(mlr.predict, "--run", shipped, "--ctx", "cpu", data / "test") == 0


@pytest.mark.slow
def test_the_best_epoch_of_a_transfer_is_one_of_the_targets(data, tmp_path):
    """The target's labels are swapped, so that its balanced accuracy on valid stays below the
    source's.
    """
    write_images(tmp_path / "target", classes=("fear", "awe"), train=4, valid=2, test=2)
    run = tmp_path / "run"
    assert (
        in_process(
            mlr.train,
            "--method",
            "pcnn",
            "--data",
            data,
            "--target",
            tmp_path / "target",
            "--out",
            run,
            *SMALL,
            "--backbone",
            "vgg16_slim",
            "--epochs",
            6,
            "--learning-rate",
            "0.003",
        )
        == 0
    )
    lines = Run.open(run).metrics
    assert [line.get("target", False) for line in lines] == [False] * 8 + [True] * 2
    assert (
        max(line["valid_balanced_accuracy"] for line in lines[8:])
        < 1
        == max(line["valid_balanced_accuracy"] for line in lines[:8])
    )
    assert (
        in_process(
            mlr.evaluate, "--run", run, "--split", "valid", "--parameters", "best", "--ctx", "cpu"
        )
        == 0
    )
    best = json.loads((run / "evaluation_valid-best.json").read_text())["balanced_accuracy"]
    assert best == max(line["valid_balanced_accuracy"] for line in lines[8:])


@pytest.mark.slow
@pytest.mark.parametrize("splits", [("train", "test"), ("1", "2")])
def test_a_target_without_valid_and_one_in_folds(data, tmp_path, splits):
    write_images(tmp_path / "target", train=4, valid=0, test=3)
    name = dict(zip(("train", "test"), splits))
    entries = [
        Entry(
            str(path.relative_to(tmp_path / "target")),
            path.parts[-2],
            "",
            name[path.parts[-3]],
            80,
            64,
            sha256_of(path),
        )
        for path in sorted((tmp_path / "target").glob("*/*/*.jpg"))
    ]
    write_prepared(
        tmp_path / "prepared", {"root": str(tmp_path / "target"), "dataset": "csv"}, entries, []
    )
    run = tmp_path / "run"
    assert (
        in_process(
            mlr.train,
            "--method",
            "pcnn",
            "--data",
            data,
            "--target",
            tmp_path / "prepared",
            "--out",
            run,
            *SMALL,
            "--backbone",
            "vgg16_slim",
            "--learning-rate",
            "0.001",
            *(("--fold", 2) if splits == ("1", "2") else ()),
        )
        == 0
    )
    assert "test_accuracy" in Run.open(run).metrics[-1]
    assert in_process(mlr.evaluate, "--run", run, "--ctx", "cpu") == 0
    assert json.loads((run / "evaluation_test.json").read_text())["images"] == 6
