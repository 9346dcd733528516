"""Twitter_LDL: J. Yang, M. Sun, X. Sun, "Learning visual sentiment distributions via augmented
conditional probability neural network", AAAI 2017. The lists that can be found have 10,032 images
from tweets; each of eight people voted for one of Mikels' eight emotions.

Its forms are those of Flickr_LDL, see `mlr.data.layouts.flickr_ldl`. The lists of the repository
named there have 835 ties. Two images are in none of the five val lists, and are left out.
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
    published=10032,
)
