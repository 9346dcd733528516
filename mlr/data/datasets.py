"""The data sets of the field, as their authors and those who pass them on lay them out on disk.

Every reader takes the folder that the user has and returns a Listing. What is marked inferred was seen in the code of others or
follows from counts, and is not documented by a data set's authors.
"""

import math
import os
import re
from pathlib import Path
from typing import Callable, NamedTuple

from mlr.data.layout import SPLIT_NAMES, beside, folder_of_classes, read_classes, split_folders
from mlr.data.listing import Listing, csv_rows, text_lines
from mlr.data.partition import FIVE_FOLDS, SHARES, SHARES_WITHOUT_VALID
from mlr.data.walk import folders_below, is_hidden, subfolders
from mlr.emotions import EKMAN, MIKELS, SENTIMENTS, emotion_named
from mlr.errors import InputError

LABEL_FILE = "label.csv"
NUMBER = re.compile("[0-9]{1,9}")
# A word of a file's name: fi_trainimg, ValImages, test2016.
WORD = re.compile("[A-Z]*[a-z]+|[A-Z]+")
SPLIT_WORD = re.compile("(%s)(set|lists?|img|images?|data|labels?|split)?" % "|".join(SPLIT_NAMES))


def read_csv(root):
    """label.csv of rows `id,label` without a header, images <id>.<extension> anywhere below (released model/DataPrepare.py).

    An id may be given with its extension, and as a path below the folder. The labels are taken as they stand.
    """
    listing = Listing(root)
    labels = {}
    for row in csv_rows(root / LABEL_FILE):
        if len(row) != 2 or not all(row):
            listing.leave_out(",".join(row), "not id,label")
        else:
            labels.setdefault(_plain(row[0]), []).append(row[1])
    images = {}
    for path in listing.walk(used=[root / LABEL_FILE]):
        plain = _plain(path)
        ids = [plain, os.path.splitext(plain)[0], Path(path).name, Path(path).stem]
        images.setdefault(next((name for name in ids if name in labels), ids[-1]), []).append(path)
    for name, paths in images.items():
        for path in paths:
            if name not in labels:
                listing.leave_out(path, "no row in %s" % LABEL_FILE)
            elif len(paths) > 1:
                listing.leave_out(path, "several images of one id")
            else:
                for label in labels[name]:
                    listing.add(path, label, listed="%s,%s" % (name, label))
    for name in labels:
        if name not in images:
            listing.leave_out("%s,%s" % (name, labels[name][0]), "no image")
    return listing


def read_folders(root):
    """{train,val,test}/<class>/<image> or, to be split, <class>/<image>, with any names of classes, also in subfolders of a class."""
    listing = Listing(root)
    splits = split_folders(root) or {"": folder_of_classes(root)}
    for split, folder in splits.items():
        if folder is None:
            raise InputError("there are no two folders of images below %s: expected <class>/<image> or {train,val,test}/<class>/<image>" % root)
        _add_folders(listing, folder, split, lambda name: name)
    if "" not in splits:
        listing.leave_out_all(beside(splits.values()))
    return listing


def read_fi(root):
    """Flickr and Instagram (You, Luo, Jin, Yang, AAAI 2016), in whichever of these layouts is found first:

    - fi_{train,val,test}img_label.txt with lines `<path> <number>`, emotions in alphabetical order (inferred); where there are only
      the binary lists fi_{train,val,test}img_label_c2.txt, 0 is negative and 1 positive
    - Images/<name> and {Train,Val,Test}Images.txt with lines `<label>/<name>`
    - {train,val,test}/<emotion>/<image>, emotions also by the short names amuse, content, excit, sad
    - <emotion>/<image>, the release of its authors, also inside of emotion_dataset/, or as EmoSet's image/ beside its annotation/
    - label.csv with rows `id,label`, as of the released code
    - a CSV file of rows `name,emotion,sentiment` without a header, one for each split where their names say so
    """
    for read in (_fi_number_lists, _fi_name_lists, _fi_split_folders, _fi_folders, _fi_label_csv, _fi_tables):
        listing = read(Path(root))
        if listing:
            return listing
    raise InputError("none of the layouts of FI is below %s: expected one of\n%s" % (root, read_fi.__doc__.split("\n\n")[1]))


def _fi_number_lists(root):
    for pattern, two in (("fi_%simg_label.txt", False), ("fi_%simg_label_c2.txt", True)):
        lists = {split: _find(root, pattern % name) for name, split in (("train", "train"), ("val", "valid"), ("test", "test"))}
        lists = {split: path for split, path in lists.items() if path}
        if not lists:
            continue
        listing = Listing(root)
        for split, path in lists.items():
            base = _base(root, path.parent, (_name_and_number(line)[0] for line in text_lines(path)))
            for line in text_lines(path):
                name, number = _name_and_number(line)
                names = SENTIMENTS if two else MIKELS
                if not NUMBER.fullmatch(number) or int(number) >= len(names):
                    listing.leave_out(line, "not <path> <0 to %d>" % (len(names) - 1))
                elif two:
                    listing.add(base + name, sentiment=names[int(number)], split=split, listed=line)
                else:
                    listing.add(base + name, names[int(number)], split=split, listed=line)
        return listing
    return None


def _fi_name_lists(root):
    lists = {split: _find(root, "%sImages.txt" % name) for name, split in (("Train", "train"), ("Val", "valid"), ("Test", "test"))}
    lists = {split: path for split, path in lists.items() if path}
    if not lists:
        return None
    listing = Listing(root)
    for split, path in lists.items():
        base = _below(root, path.parent / "Images")
        for line in text_lines(path):
            label, _, name = line.strip().partition("/")
            emotion = _emotion(label)
            if emotion and name:
                listing.add(base + name, emotion, split=split, listed=line)
            else:
                listing.leave_out(line, "not <emotion>/<name>")
    _leave_out_unlisted(listing, path.parent / "Images")
    return listing


def _fi_split_folders(root):
    splits = split_folders(root)
    if not splits or not all(any(emotion_named(path.name) for path in subfolders(folder)) for folder in splits.values()):
        return None
    listing = Listing(root)
    for split, folder in splits.items():
        _add_folders(listing, folder, split)
    listing.leave_out_all(beside(splits.values()))
    return listing


def _fi_folders(root):
    top = folder_of_classes(root, emotion_named)
    if not top:
        return None
    listing = Listing(root)
    _add_folders(listing, top)
    return listing


def _fi_label_csv(root):
    path = _find(root, LABEL_FILE)
    if not path:
        return None
    listing = Listing(root)
    raw = read_csv(path.parent)
    for row in raw.rows:
        emotion = _emotion(row.emotion)
        if emotion:
            listing.add(_below(root, path.parent) + row.path, emotion)
        else:
            listing.leave_out("%s,%s" % (row.path, row.emotion), "no emotion of FI")
    listing.left_out += raw.left_out
    return listing


def _fi_tables(root):
    listing = Listing(root)
    for path in _tables(root):
        split, base = _split_named(path.stem), None
        for row in csv_rows(path):
            emotion = _emotion(row[1]) if len(row) == 3 else ""
            if not emotion:
                listing.leave_out(",".join(row), "not name,emotion,sentiment")
                continue
            if base is None:
                base = _base(root, path.parent, [row[0]])
            listing.add(base + row[0], emotion, split=split, listed=",".join(row))
    return listing if listing.rows else None


def read_emotionroi(root):
    """EmotionROI (Peng, Sadovnik, Gallagher, Chen, ICIP 2016): images/<emotion>/<n>.jpg, six emotions of Ekman.

    training_testing_split/{training,testing}.txt with lines `<emotion>/<file>` are its split, where they are there.
    """
    top = _top(root, "images", "images/<emotion>/<n>.jpg")
    listing = Listing(root)
    lists = {split: top / "training_testing_split" / name for split, name in (("train", "training.txt"), ("test", "testing.txt"))}
    if not any(path.is_file() for path in lists.values()):
        _add_folders(listing, top / "images")
        return listing
    for split, path in lists.items():
        for line in text_lines(path):
            name = line.strip()
            emotion = emotion_named(name.partition("/")[0])
            if emotion in EKMAN:
                listing.add(_below(root, top / "images") + name, emotion, split=split, listed=line)
            else:
                listing.leave_out(line, "not <emotion>/<file>")
    _leave_out_unlisted(listing, top / "images")
    return listing


def read_emotion6(root):
    """Emotion6 (Peng, Chen, Sadovnik, Gallagher, CVPR 2015): images/<keyword>/<file>, and ground_truth.txt.

    Its columns: file, valence, arousal, and the shares of votes for Ekman's six and neutral. The emotion is the one with the most
    votes; ties and neutral images are left out.
    """
    top = _top(root, "ground_truth.txt", "images/<emotion>/<file> and ground_truth.txt")
    listing = Listing(root)
    names = [*EKMAN, "neutral"]
    for row in csv_rows(top / "ground_truth.txt", delimiter="\t"):
        text = "\t".join(row)
        try:
            votes = [float(field) for field in row[3:]]
        except ValueError:
            votes = []
        if len(votes) != len(names) or not all(map(math.isfinite, votes)):
            listing.leave_out(text, "not a file with valence, arousal and seven shares")
        elif _elected(names, votes) in ("tie", "neutral"):
            listing.leave_out(text, _elected(names, votes))
        else:
            listing.add(_below(root, top / "images") + row[0].lstrip("/"), _elected(names, votes), listed=text)
    return listing


def read_twitter1(root, agree="three"):
    """Twitter I (You, Luo, Jin, Yang, AAAI 2015): Agg_AMT_Candidates/<file>, and twitter_<agree>_agrees.txt with lines `<file> <0|1>`.

    agree: three, four or five of the five who labelled an image; 1 is positive. Five-fold lists <agree>_agrees/test<k>/test.txt, as
    of github.com/imatge-upc/sentiment-2017-imavis, are used where they are there.
    """
    top = _top(root, "Agg_AMT_Candidates", "Agg_AMT_Candidates/ and twitter_%s_agrees.txt" % agree)
    names = ["twitter_%s_agrees.txt" % agree, "%s_agree.txt" % agree, "%s_agrees.txt" % agree]
    path = next((top / name for name in names if (top / name).is_file()), None)
    if not path:
        raise InputError("%s has none of %s" % (top, ", ".join(names)))
    folds = {}
    for fold in FIVE_FOLDS:
        of_fold = _find(root, "%s_agrees/test%s/test.txt" % (agree, fold)) or _find(root, "%s_agrees/test%s.txt" % (agree, fold))
        for line in text_lines(of_fold) if of_fold else ():
            folds[_name_and_number(line)[0].rpartition("/")[2]] = fold
    listing = Listing(root)
    for line in text_lines(path):
        name, number = _name_and_number(line)
        if number not in ("0", "1"):
            listing.leave_out(line, "not <file> <0|1>")
        elif folds and name not in folds:
            listing.leave_out(line, "in none of the fold lists")
        else:
            listing.add(_below(root, top / "Agg_AMT_Candidates") + name, sentiment=SENTIMENTS[int(number)],
                        split=folds.get(name, ""), listed=line)
    return listing


def read_twitter2(root):
    """Twitter II (Borth, Ji, Chen, Breuel, Chang, ACM MM 2013), as repackaged: groundTruthLabel.txt and partition{1..5}/<n>.jpg.

    Columns Image and Sentiment, with a header. Most rows have no image in the copies that are about.
    """
    top = _top(root, "groundTruthLabel.txt", "groundTruthLabel.txt and partition1/ to partition5/")
    listing = Listing(root)
    images = {}
    for path in listing.walk(top, used=[top / "groundTruthLabel.txt"]):
        images.setdefault(Path(path).name, []).append(path)
    for row in csv_rows(top / "groundTruthLabel.txt", delimiter="\t"):
        text = "\t".join(row)
        if row == ["Image", "Sentiment"]:
            continue
        if len(row) != 2 or row[1].lower() not in SENTIMENTS:
            listing.leave_out(text, "not a file and positive or negative")
        elif len(images.get(row[0], ())) > 1:
            listing.leave_out(text, "several images of one name")
        else:
            listing.add(images.get(row[0], [row[0]])[0], sentiment=row[1].lower(), listed=text)
    return listing


def read_artphoto(root):
    """ArtPhoto (Machajdik, Hanbury, ACM MM 2010): testImages_artphoto/<emotion>_<anything>.jpg, sadness as sad."""
    top = _top(root, "testImages_artphoto", "testImages_artphoto/<emotion>_<name>.jpg")
    listing = Listing(root)
    for path in listing.walk(top / "testImages_artphoto"):
        emotion = emotion_named(Path(path).name.partition("_")[0])
        if emotion in MIKELS:
            listing.add(path, emotion)
        else:
            listing.leave_out(path, "no emotion in its name")
    return listing


def read_abstract(root):
    """Abstract (Machajdik, Hanbury, ACM MM 2010): testImages_abstract/ and ABSTRACT_groundTruth.csv, votes for eight emotions.

    Every name in the file stands in single quotes. The emotion is the one with the most votes; ties are left out, 280 -> 228.
    """
    path = _find(root, "ABSTRACT_groundTruth.csv")
    images = path and _find(root, "testImages_abstract")
    if not images:
        raise InputError("%s is no folder of Abstract: expected testImages_abstract/ and ABSTRACT_groundTruth.csv" % root)
    listing = Listing(root)
    rows = csv_rows(path, quotechar="'")
    emotions = [emotion_named(name) for name in next(rows, [])[1:]]
    if sorted(emotions) != sorted(MIKELS):
        raise InputError("the first line of %s does not name the eight emotions" % path)
    for row in rows:
        text = ",".join(row)
        if len(row) != 1 + len(MIKELS) or not all(re.fullmatch(r"\d+(\.\d*)?", field) for field in row[1:]):
            listing.leave_out(text, "not a file and eight counts")
            continue
        emotion = _elected(emotions, [float(field) for field in row[1:]])
        if emotion == "tie":
            listing.leave_out(text, emotion)
        else:
            listing.add(_below(root, images) + row[0], emotion, listed=text)
    return listing


def read_iapsa(root):
    """IAPSa (Mikels et al. 2005), which is given out on request only: a CSV file of rows `file,emotion`, files below its folder."""
    tables = _tables(root)
    if len(tables) != 1:
        raise InputError("%s has %d CSV files: expected one, of rows file,emotion" % (root, len(tables)))
    listing = Listing(root)
    base = None
    for number, row in enumerate(csv_rows(tables[0])):
        emotion = emotion_named(row[1]) if len(row) == 2 else ""
        if emotion in MIKELS:
            if base is None:
                base = _base(root, tables[0].parent, [row[0]])
            listing.add(base + row[0], emotion, listed=",".join(row))
        elif number or [field.lower() for field in row] not in (["file", "label"], ["file", "emotion"]):
            listing.leave_out(",".join(row), "not file,emotion")
    return listing


class DataSet(NamedTuple):
    """How a data set is read, and what it is split into where its layout has no lists: shares, or five folds."""

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


def _emotion(text):
    """Return the emotion of Mikels that a label names, or counts in alphabetical order from 0 (inferred), "" for none."""
    text = text.strip()
    if NUMBER.fullmatch(text):
        return MIKELS[int(text)] if int(text) < len(MIKELS) else ""
    emotion = emotion_named(text)
    return emotion if emotion in MIKELS else ""


def _elected(names, votes):
    """Return the name with the most votes, or "tie"."""
    most = max(votes)
    return "tie" if votes.count(most) > 1 else names[votes.index(most)]


def _plain(name):
    """Return an image's path as label files may have it, with slashes and without ./ before it."""
    name = name.replace("\\", "/")
    return name[2:] if name.startswith("./") else name


def _name_and_number(line):
    """Return the two of a line `<name> <number>`, between which there are blanks or tabs; the name may have blanks, too."""
    name, *number = line.strip().rsplit(None, 1)
    return name, "".join(number)


def _split_named(stem):
    """Return the split that the words of a file's name tell, "" where they tell none or several."""
    words = [SPLIT_WORD.fullmatch(word.lower()) for word in WORD.findall(stem)]
    splits = {SPLIT_NAMES[word.group(1)] for word in words if word}
    return splits.pop() if len(splits) == 1 else ""


def _folders(root):
    """Yield a folder and those below it, the nearest first, as far down as a layout may lie."""
    for level in folders_below(root):
        yield from level


def _tables(root):
    """Return the CSV files as far down as a layout may lie."""
    return sorted(path for folder in _folders(root) for path in folder.iterdir() if path.suffix.lower() == ".csv" and not is_hidden(path.name))


def _find(root, name):
    """Return where a file or folder of that name lies, nearest to the root first, or None."""
    return next((folder / name for folder in _folders(root) if (folder / name).exists()), None)


def _top(root, name, expected):
    found = _find(root, name)
    if not found:
        raise InputError("there is no %s below %s: expected %s" % (name, root, expected))
    return found.parent


def _below(root, folder):
    """Return a folder's path below the root with a slash at its end, "" for the root itself."""
    path = folder.relative_to(root).as_posix()
    return "" if path == "." else path + "/"


def _base(root, folder, names):
    """Return below which folder, relative to the root, the first of the names that exists anywhere lies; `folder` where none does."""
    candidates = [folder, *(path for path in _folders(root) if path != folder)]
    for _, name in zip(range(20), names):
        for candidate in candidates:
            if not Path(name).is_absolute() and os.path.isfile(candidate / name.strip()):  # False of a name that is too long, too
                return _below(root, candidate)
    return _below(root, folder)


def _add_folders(listing, top, split="", name_of=emotion_named):
    """Add the images in and below <top>/<class>/. name_of: makes the label of a folder's name, "" where it is to be left out."""
    classes = read_classes(top)
    for folder in classes.folders:
        for path in map(listing.below, folder.images + folder.below):
            if name_of(folder.path.name):
                listing.add(path, name_of(folder.path.name), split=split)
            else:
                listing.leave_out(path, "its folder names no emotion")
    listing.leave_out_all(classes.left_out)


def _leave_out_unlisted(listing, folder):
    listed = {row.path for row in listing.rows} | {row.what for row in listing.left_out}
    if folder.is_dir():
        for path in listing.walk(folder):
            if path not in listed:
                listing.leave_out(path, "in no list")
