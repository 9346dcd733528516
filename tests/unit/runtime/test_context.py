import mxnet as mx
import pytest

import mlr
from mlr.errors import InputError


@pytest.mark.parametrize(
    "text, contexts",
    [
        ("cpu", [mx.cpu(0)]),
        ("cpu(0)", [mx.cpu(0)]),
        ("cpu0", [mx.cpu(0)]),
        ("cpu:1", [mx.cpu(1)]),
        ("cpu(0),cpu(1)", [mx.cpu(0), mx.cpu(1)]),
        ("cpu(0), cpu(1)", [mx.cpu(0), mx.cpu(1)]),
    ],
)
def test_accepted_forms(text, contexts):
    assert mlr.parse_context(text) == contexts


@pytest.mark.parametrize("text", ["gpu(0)", "gpu", "gpu0", "gpu:0"])
def test_every_form_of_a_gpu_is_understood(text, monkeypatch):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 2)
    assert mlr.parse_context(text) == [mx.gpu(0)]
    assert mlr.parse_context("gpu(0),gpu(1)") == [mx.gpu(0), mx.gpu(1)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tpu",
        "gpu(",
        "gpu(0",
        "gpu0)",
        "gpu(-1)",
        "gpu(0)gpu(1)",
        "cpu(0),",
        "mx.gpu(0)",
        "gpu(0);cpu",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match="unknown context"):
        mlr.parse_context(text)


def test_a_device_named_twice():
    with pytest.raises(InputError, match="named twice"):
        mlr.parse_context("cpu,cpu(0)")


def no_driver():
    raise mx.MXNetError("CUDA driver version is insufficient")


@pytest.mark.parametrize("num_gpus", [lambda: 0, no_driver])
def test_without_gpus_the_error_names_the_extra(monkeypatch, num_gpus):
    monkeypatch.setattr(mx.context, "num_gpus", num_gpus)
    with pytest.raises(
        InputError, match=r"gpu\(0\) is not there: MXNet .* sees no GPU.*mlr\[cu101\]"
    ):
        mlr.parse_context("gpu(0)")
    assert mlr.parse_context() == [mx.cpu(0)]


def test_a_gpu_beyond_the_last(monkeypatch):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 1)
    with pytest.raises(InputError, match=r"gpu\(1\) is not there: MXNet sees 1 GPU"):
        mlr.parse_context("gpu(0),gpu(1)")


@pytest.mark.parametrize("gpus, context", [(0, mx.cpu(0)), (2, mx.gpu(0))])
def test_default_is_the_first_gpu_else_the_cpu(monkeypatch, gpus, context):
    monkeypatch.setattr(mx.context, "num_gpus", lambda: gpus)
    assert mlr.parse_context() == [context]
