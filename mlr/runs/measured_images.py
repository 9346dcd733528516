"""The images that a run is measured on: those of its training, or those of another folder."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

from mlr.data.drawn import DRAWN, data_folder
from mlr.data.emotions import SENTIMENTS, emotion_named, sentiment_of
from mlr.data.joined import join, read_sets
from mlr.data.labelled import LabelledImages
from mlr.data.manifest import folds_of
from mlr.data.splits import fingerprint, labels_in, manifest_sha256, read_split
from mlr.data.walk import words_on
from mlr.errors import InputError
from mlr.options.option import each_of, in_words
from mlr.runs.exported import ExportedRun
from mlr.runs.folder import Run
from mlr.runs.results import folders_of, measured_on
from mlr.runtime.output import warn


class Images(NamedTuple):
    """One split of a data set, to measure a run on."""

    split: LabelledImages
    described: Dict[str, Any]  # what the evaluation says of it
    # {class of the run: sentiment} where the images have sentiments alone, else {}
    mapped: Dict[str, str]

    @property
    def classes(self) -> List[str]:
        """The names of the images' classes."""
        return self.split.classes


def training_folders(config: Dict[str, Any], name: str) -> List[Path]:
    """Return the folders that a run's training had its images from; a drawn data set is drawn if
    it is not there.

    config: of the run. name: "data" or "target". The folders may be missing.
    """
    texts, recorded = each_of(config["options"][name]), folders_of(config[name])
    return [data_folder(text) if text in DRAWN else folder for text, folder in zip(texts, recorded)]


def measured_folders(config: Dict[str, Any], data: Optional[str] = None) -> List[Path]:
    """Return the folders of the images to measure a run on: `data`, or those of its training.

    Raises InputError if a folder of the training is missing.
    """
    if data:
        return [data_folder(data)]
    folders = training_folders(config, measured_on(config))
    for folder in folders:
        if not folder.is_dir():
            remedy = (
                "give --data, the folder where they are now"
                if len(folders) == 1
                else "say for each data set where it is now, by mlr train --resume and --data"
            )
            raise InputError(
                f"{folder}, the folder of the images of the training, is not there: {remedy}"
            )
    return folders


def read_images(
    run: Union[Run, ExportedRun], data: Optional[str], split: str, fold: Optional[int] = None
) -> List[Images]:
    """Return the images to measure a run on. If the run has several data sets, the first item is
    all of them together, and each follows by itself.

    data: a folder or the name of a drawn data set, None for the images of the training. split:
    "train", "valid" or "test". fold: of the data, None for the fold that the run was trained for.
    Raises InputError if the images do not have the run's classes, and can't be mapped to them.
    """
    trained, folders = run.config["options"], measured_folders(run.config, data)
    warn_if_trained_on(run, folders, fold)
    fold = fold or (trained["fold"] if any(map(folds_of, folders)) else None)
    if len(folders) > 1:
        sets = read_sets(folders, trained["labels"], fold)
        together = join(sets)
        if split not in together:
            raise InputError(f"none of {in_words(folders)} has a split {split}")
        apart = [
            _described(run, splits[split], split, folder, fold)
            for folder, splits in zip(folders, sets)
            if split in splits
        ]
        of_all = _described(run, together[split], split, None, fold)
        of_all.described["folder"] = run.config["data"]["folder"]
        _print_left_out(of_all)
        return [of_all, *apart]
    labels = labels_in(folders[0], trained["labels"])
    images = _described(run, read_split(folders[0], split, labels, fold), split, folders[0], fold)
    _print_left_out(images)
    return [images]


def warn_if_trained_on(
    run: Union[Run, ExportedRun], folders: Sequence[Path], fold: Optional[int]
) -> None:
    """Warn if a fold of the run's own data is not the one that it tests on, as the other folds are
    its training images.
    """
    own, data = run.config["options"]["fold"], run.config[measured_on(run.config)]
    same = data["manifest"] in map(manifest_sha256, folders)
    if fold and own and fold != own and same:
        warn(
            f"{run.folder} tests on fold {own}, and was trained on fold {fold}: this does not tell "
            "how good it is on new images"
        )


def _described(
    run: Union[Run, ExportedRun],
    images: LabelledImages,
    split: str,
    folder: Optional[Path],
    fold: Optional[int],
) -> Images:
    """folder: None for several data sets together."""
    mapped = fitted_classes(run.classes, images)
    if mapped:
        sums = "; ".join(
            f"{name} of {', '.join(each for each in mapped if mapped[each] == name)}"
            for name in images.classes
        )
        print(
            f"{images.source} has only the classes {in_words(images.classes)}: the probabilities "
            f"of the run's {len(run.classes)} classes are summed, {sums}"
        )
    described: Dict[str, Any] = {
        "data": images.source,
        "folder": str(folder.resolve()) if folder else "",
        "split": split,
        "sha256": fingerprint({split: images}),
        "manifest": manifest_sha256(folder) if folder else None,
        "fold": fold,
    }
    if mapped:
        described["mapped"] = mapped
    return Images(images, described, mapped)


def _print_left_out(images: Images) -> None:
    if images.split.left_out:
        print(words_on(images.split.left_out))


def fitted_classes(classes: List[str], split: LabelledImages) -> Dict[str, str]:
    """Give the classes of a split the names and the order of a run's; return {class: sentiment}
    where the split has sentiments, and each class of the run one.

    classes: of the run. Raises InputError where neither can be.
    """
    if split.classes == classes:
        return {}
    names = {emotion_named(name) or name: name for name in classes}
    own = [names.get(emotion_named(name) or name, "") for name in split.classes]
    if sorted(own) == sorted(classes) == classes:
        split.rename(own)
        return {}
    sentiments = ["" if emotion_named(name) else sentiment_of(name) for name in split.classes]
    mapped = {name: sentiment_of(name) for name in classes}
    if sorted(sentiments) != list(SENTIMENTS) or set(mapped.values()) != set(SENTIMENTS):
        raise InputError(
            f"{split.source} has the classes {', '.join(split.classes)}, but the run was trained "
            f"on {', '.join(classes)}: give the folder of the same classes"
        )
    split.rename(sentiments)
    return mapped
