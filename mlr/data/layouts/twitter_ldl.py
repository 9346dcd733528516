"""Twitter_LDL: J. Yang, M. Sun, X. Sun, "Learning visual sentiment distributions via augmented
conditional probability neural network", AAAI 2017. About 10,030 images of tweets; eight people
voted for one of Mikels' eight emotions each.

Its forms are those of Flickr_LDL, see `mlr.data.layouts.flickr_ldl` (inferred).
"""

from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet
from mlr.data.layouts.flickr_ldl import LAYOUT, OPTIONS, read_votes

TWITTER_LDL = DataSet(
    name="twitter_ldl",
    title="Twitter_LDL",
    layout=LAYOUT,
    read=read_votes,
    fractions=FIVE_FOLDS,
    offered="its authors, Nankai University",
    options=OPTIONS,
)
