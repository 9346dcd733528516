# mlr in the environment of the released code: mxnet-cu101 1.5.1, CUDA 10.1. For GPUs up to compute
# capability 7.5 (Turing); the machine needs NVIDIA's driver and its container toolkit.
#
#     docker build -f docker/cuda101.Dockerfile -t mlr-cuda101 .
#     docker run --rm --gpus all -v "$PWD:/work" mlr-cuda101 train --data data/mine --ctx "gpu(0)"
#
# Not built here: no registry of images, none of Ubuntu's packages, no GPU. The steps of pip were run
# on Python 3.8; the libraries that MXNet needs were read off its wheel.
FROM nvidia/cuda:10.1-cudnn7-runtime-ubuntu18.04

# NVIDIA has changed the key of its packages since the image was made, so apt would refuse them; all
# that is needed of them is in the image. libgl1 and libglib2.0-0 are OpenCV's, libgomp1 is MXNet's.
# Ubuntu keeps no older versions that could be pinned.
# hadolint ignore=DL3008
RUN rm -f /etc/apt/sources.list.d/cuda.list /etc/apt/sources.list.d/nvidia-ml.list \
    && apt-get update \
    && apt-get install --yes --no-install-recommends \
        libgl1 libglib2.0-0 libgomp1 python3.8 python3.8-venv \
    && rm -rf /var/lib/apt/lists/*

COPY LICENSE README.md constraints.txt pyproject.toml setup.py /opt/mlr/
COPY checkpoints /opt/mlr/checkpoints
COPY mlr /opt/mlr/mlr
WORKDIR /opt/mlr
RUN python3.8 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir pip==24.3.1 \
    && PIP_CONSTRAINT=constraints.txt /opt/venv/bin/pip install --no-cache-dir --use-pep517 '.[cu101]'

ENV PATH=/opt/venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["mlr"]
CMD ["--help"]
