"""The data sets of the field, a file each, as they lie on disk."""

from typing import Callable, NamedTuple

from mlr.data.layouts.abstract import read_abstract
from mlr.data.layouts.artphoto import read_artphoto
from mlr.data.layouts.csv import read_csv
from mlr.data.layouts.emotion6 import read_emotion6
from mlr.data.layouts.emotionroi import read_emotionroi
from mlr.data.layouts.fi import read_fi
from mlr.data.layouts.folders import read_folders
from mlr.data.layouts.iapsa import read_iapsa
from mlr.data.layouts.twitter1 import read_twitter1
from mlr.data.layouts.twitter2 import read_twitter2
from mlr.data.partition import FIVE_FOLDS, SHARES, SHARES_WITHOUT_VALID


class DataSet(NamedTuple):
    """How a data set is read, and what it is split into where its layout has no lists: shares, or
    five folds.
    """

    read: Callable
    shares: dict


DATASETS = {
    "fi": DataSet(read_fi, SHARES),
    "emotionroi": DataSet(read_emotionroi, SHARES_WITHOUT_VALID),
    "emotion6": DataSet(read_emotion6, SHARES_WITHOUT_VALID),
    "twitter1": DataSet(read_twitter1, FIVE_FOLDS),
    "twitter2": DataSet(read_twitter2, FIVE_FOLDS),
    "artphoto": DataSet(read_artphoto, FIVE_FOLDS),
    "abstract": DataSet(read_abstract, FIVE_FOLDS),
    "iapsa": DataSet(read_iapsa, FIVE_FOLDS),
    "csv": DataSet(read_csv, SHARES),
    "folders": DataSet(read_folders, SHARES),
}
