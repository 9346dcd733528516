"""The files of ImageNet weights for `--pretrained zoo`: their names, sizes and hashes, and how to
download them.
"""

import fcntl
import os
import shutil
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import mxnet as mx
from mxnet.gluon.model_zoo import model_store

from mlr.errors import InputError
from mlr.runtime.download import MOST_BYTES, TIMEOUT, DownloadError, download
from mlr.runtime.files import remove, write_file
from mlr.runtime.hashing import digest_of
from mlr.runtime.output import warn

PARTIAL = ".part"  # appended to a file's name during its download
LOCK = "mlr.lock"  # in the cache

# The ONNX model zoo's files moved there in 2025.
HUB = "https://huggingface.co"
ONNX_FOLDER = "onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"

# The ONNX model zoo's files that came from Gluon, with its names: {network: (path there, bytes, the
# SHA-256 values that are right)}, from onnx/models, commit b1eeaa1a. A ResNet's second SHA-256 is
# that of its older file with a fixed batch size. The zoo's AlexNet, DenseNet and SqueezeNet 1.0 are
# not listed, as they came from Caffe.
ONNX_FILES: Dict[str, Tuple[str, int, Tuple[str, ...]]] = {
    "resnet18_v1": (
        "resnet/model/resnet18-v1-7.onnx",
        46820737,
        (
            "4e8f8653e7a2222b3904cc3fe8e304cd8b339ce1d05fd24688162f86fb6df52c",
            "433c77f0a2e1394ca452f86b097f50d78e4888a9d4860348688d1b0bb9acc292",
        ),
    ),
    "resnet34_v1": (
        "resnet/model/resnet34-v1-7.onnx",
        87302588,
        (
            "883a41b2e30ddc2e422c108b091b5e70b92d37dc5c345a2c563dcae27971e2cc",
            "495e37f161ef24920b3e1883faa22eb87907829ac05120acca07cd7e9e383e7c",
        ),
    ),
    "resnet50_v1": (
        "resnet/model/resnet50-v1-7.onnx",
        102583340,
        (
            "af16a04a6ec48ac494065d4439fe9dea590d337b9ca6dc328160ccf04a217b9c",
            "3efe394824ceb1bc354bc08c4fa477f60a4505cf4259e42bda3ac90ad2aa6af6",
        ),
    ),
    "resnet101_v1": (
        "resnet/model/resnet101-v1-7.onnx",
        178914043,
        (
            "760702f6ec0138f71ebac66f4e95d1c72dc9267a8544f4d4667a53075fd0497c",
            "faafaf3aea406a105e26805cf3e8e591549e1c06feb60a8e60d85bcf94f8d8c5",
        ),
    ),
    "resnet152_v1": (
        "resnet/model/resnet152-v1-7.onnx",
        241816206,
        (
            "b0ec92437bf8c9d0739bf9bafdea9638e13f9e3c1e2fb766ad546cc182fd3f6d",
            "a1c165290f7ac03128a24d9e34e8497d27630498d503c80b762a41169b64c112",
        ),
    ),
    "resnet18_v2": (
        "resnet/model/resnet18-v2-7.onnx",
        46806737,
        (
            "3b4d048057854022232aa20bf68262e31718ab7119a17f920b8a2dc1433f824b",
            "bd75e414be9d14d50c8c067121e90a7bec0531a4793fe21e5dcb6bc66f2addcb",
        ),
    ),
    "resnet34_v2": (
        "resnet/model/resnet34-v2-7.onnx",
        87288587,
        (
            "3d3815e25f4b1ea967e2a526a3b27ef2a03af1725bdc199a63a271c26862d914",
            "17f9350e613339ffd46314bb905998f1adaaa6cf983a8c058efbb3cbc6046ca5",
        ),
    ),
    "resnet50_v2": (
        "resnet/model/resnet50-v2-7.onnx",
        102442452,
        (
            "79102261eb6e5fd7af5d27f41316293e388c5cb691e5d25bfb035c4f64fefe31",
            "1e80e8a7c8eec8e8b20c440d7dd7f2f8590779c7c2859dc4514870dc463845d3",
        ),
    ),
    "resnet101_v2": (
        "resnet/model/resnet101-v2-7.onnx",
        178682301,
        (
            "3a0a819ea0953fb4700b0d98e43540aeee253e5b4c503c552b0c7979fc67767d",
            "b610c141f3b26bf8324dcbd13532779cceedffac5213dbcc3ad0047b489ce304",
        ),
    ),
    "resnet152_v2": (
        "resnet/model/resnet152-v2-7.onnx",
        241503848,
        (
            "40fb3f6dd313ba786a2c8077a0ef7d7b4afeda5d037365400d3a7fbc2b1bee64",
            "12ee6c5da7ec0437b5405d51ab459a4980ed91d51b0cd7e3c0a0b276ad0b1caa",
        ),
    ),
    "squeezenet1.1": (
        "squeezenet/model/squeezenet1.1-7.onnx",
        4956208,
        ("1eeff551a67ae8d565ca33b572fc4b66e3ef357b0eb2863bb9ff47a918cc4088",),
    ),
    "mobilenetv2_1.0": (
        "mobilenet/model/mobilenetv2-7.onnx",
        14246826,
        ("c1c513582d56afceff8516c73804e484c81c6a830712ab6d682253f4a3cd042f",),
    ),
    "vgg16": (
        "vgg/model/vgg16-7.onnx",
        553437328,
        ("f20805a3ecccaa88647bbab4ad011ff2412a9838485ea844de0fcbce349820b9",),
    ),
}


class ZooFile(NamedTuple):
    """A file of a zoo.

    name: the file's name in the cache. address: its URL; if that ends with .zip, the file is
    inside. size: in bytes, None if unknown. hash: hashlib's name of the hash. digests: the hash
    values that are right, the newest first.
    """

    name: str
    address: str
    size: Optional[int]
    hash: str
    digests: Tuple[str, ...]

    @property
    def digest(self) -> str:
        """The newest digest, after the name of the hash."""
        return f"{self.hash.upper().replace('SHA', 'SHA-')} {self.digests[0]}"

    def is_right(self, path: Path) -> bool:
        """Tell whether the file exists and has a right hash."""
        return path.is_file() and digest_of(path, self.hash) in self.digests


def zoo_files(network: str) -> List[ZooFile]:
    """Return the files with a network's weights: the Gluon zoo's first, then the ONNX model zoo's,
    if they exist.

    Hash and address of the Gluon zoo's file come from the installed MXNet.
    """
    files = []
    if network in model_store._model_sha1:
        sha1 = model_store._model_sha1[network]
        host = os.environ.get("MXNET_GLUON_REPO") or model_store.apache_repo_url
        name = f"{network}-{sha1[:8]}"
        address = f"{host.rstrip('/')}/gluon/models/{name}.zip"
        files.append(ZooFile(f"{name}.params", address, None, "sha1", (sha1,)))
    if network in ONNX_FILES:
        place, size, digests = ONNX_FILES[network]
        host = os.environ.get("HF_ENDPOINT") or HUB
        address = f"{host.rstrip('/')}/{ONNX_FOLDER}/{place}"
        files.append(ZooFile(Path(place).name, address, size, "sha256", digests))
    return files


def cache_folder() -> Path:
    """Return MXNet's folder of weights. Raises InputError if there is no home folder to put it
    in.
    """
    cache = Path(mx.base.data_dir()) / "models"
    if cache.parts[0] == "~":
        raise InputError(
            "the ImageNet weights have no folder, as the user has no home folder: set MXNET_HOME "
            "to a folder, or give --pretrained FILE.params or none"
        )
    return cache


def cached_file(network: str) -> Optional[Path]:
    """Return the path of a network's weights in the cache, None if they are not in it.

    Versions of MXNet have different files of the Gluon zoo, so any <network>-<hash>.params counts
    whose SHA-1 starts with that hash.
    """
    cache, files = cache_folder(), zoo_files(network)
    own = [cache / file.name for file in files if file.hash == "sha1"]
    for path in (*own, *sorted(cache.glob(network + "-????????.params"))):
        if path.is_file() and digest_of(path, "sha1").startswith(path.stem[-8:]):
            return path
    return next((cache / file.name for file in files if file.is_right(cache / file.name)), None)


def zoo_file(network: str, timeout: float = TIMEOUT) -> Path:
    """Return the path of a network's ImageNet weights in MXNet's cache. If they are not in it, they
    are downloaded from the Gluon zoo or, if that fails, from the ONNX model zoo, with a warning, as
    its weights come from another training.

    timeout: as for `mlr.runtime.download.download`. Raises InputError if no zoo has weights for the
    network, or if the download fails; the error then says how to get them by hand.
    """
    files = zoo_files(network)
    if not files:
        raise InputError(
            f"no zoo has ImageNet weights for {network}: train it from scratch with --pretrained "
            "none, or give --pretrained FILE"
        )
    path = cached_file(network) or _fetched(network, files, timeout)
    if path.suffix == ".onnx":
        warn(
            f"using {path.name} from the ONNX model zoo in place of the Gluon zoo's "
            f"{files[0].name}: the same network, but weights from another training"
        )
    return path


def _fetched(network: str, files: List[ZooFile], timeout: float) -> Path:
    """Download the first of the files that can be downloaded; return its path."""
    cache, failures = cache_folder(), []
    cache.mkdir(parents=True, exist_ok=True)
    with _alone_in(cache):
        path = cached_file(network)  # another process may have downloaded it
        for file in files:
            if path:
                break
            try:
                path = _fetch(file, cache, timeout)
            except DownloadError as error:
                failures.append(f"{file.address}: {error}")
    if path:
        return path
    by_hand = " or ".join(f"{file.name} ({file.digest})" for file in files)
    raise InputError(
        f"the ImageNet weights of {network} can't be downloaded ({'; '.join(failures)}): try "
        "again, which continues the download; or download the file on another machine and put "
        f"{by_hand}, unzipped, into {cache}; or give --pretrained FILE; or train from scratch "
        "with --pretrained none"
    )


def _fetch(file: ZooFile, cache: Path, timeout: float) -> Path:
    """Download a file into the cache and return its path; the file gets its name only after its
    hash was checked.

    Raises DownloadError. An incomplete download is kept, to continue it; a wrong file is deleted.
    """
    path = cache / file.name
    zipped = file.address.endswith(".zip")
    partial = path.with_name((path.stem + ".zip" if zipped else path.name) + PARTIAL)
    download(file.address, partial, timeout)
    try:
        if zipped:
            write_file(path, lambda staged: _unpack(partial, file, Path(staged)))
        elif not file.is_right(partial):
            raise _another(file, partial)
        else:
            os.replace(partial, path)
    except DownloadError:
        remove(partial)
        raise
    remove(partial)
    return path


def _unpack(archive: Path, file: ZooFile, path: Path) -> None:
    """Extract a file from an archive to `path`. Raises DownloadError if it is not there, or
    damaged.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            member = members.getinfo(file.name)
            if member.file_size > MOST_BYTES:
                raise zipfile.BadZipFile
            with members.open(member) as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError):
        raise DownloadError(
            f"the answer is not a .zip file with {file.name}, likely an error page or a login page"
        ) from None
    if not file.is_right(path):
        raise _another(file, path)


def _another(file: ZooFile, path: Path) -> DownloadError:
    return DownloadError(
        f"the answer is not {file.name}, or was damaged on the way: its hash is not "
        f"{file.digest}, but {digest_of(path, file.hash)}"
    )


@contextmanager
def _alone_in(cache: Path) -> Iterator[None]:
    """Return a context that only one process at a time can enter."""
    with open(cache / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
