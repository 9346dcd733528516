# mlr on CPUs: mxnet-mkl 1.5.1 on Python 3.11.
#
#     docker build -f docker/cpu.Dockerfile -t mlr .
#     docker run --rm -v "$PWD:/work" mlr predict photo.jpg
#
# Not built here: no registry of images. The steps were run in a minimal Debian 12, and `mlr doctor`,
# `mlr predict` and a training after them.
FROM debian:bookworm-slim

# libgl1 and libglib2.0-0 are OpenCV's. Debian keeps no older versions that could be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libgl1 libglib2.0-0 python3.11 python3.11-venv \
    && rm -rf /var/lib/apt/lists/*

COPY LICENSE README.md constraints.txt pyproject.toml setup.py /opt/mlr/
COPY checkpoints /opt/mlr/checkpoints
COPY mlr /opt/mlr/mlr
WORKDIR /opt/mlr
RUN python3.11 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir pip==24.3.1 \
    && PIP_CONSTRAINT=constraints.txt /opt/venv/bin/pip install --no-cache-dir --use-pep517 '.[cpu]'

ENV PATH=/opt/venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["mlr"]
CMD ["--help"]
