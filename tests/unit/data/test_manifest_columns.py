"""Further columns of a manifest: those that a data set has, and none of any other."""

import pytest

from mlr.data.manifest import MANIFEST, Entry, read_entries, write_prepared
from mlr.errors import InputError

PLAIN = Entry("a.jpg", "awe", "positive", "train", 8, 6, "0" * 64)
HEAD = "path,emotion,sentiment,split,width,height,sha256"


def written(folder, *entries):
    write_prepared(folder, {"root": "."}, entries, [])
    return (folder / MANIFEST).read_text()


def test_a_data_set_without_further_columns(tmp_path):
    assert written(tmp_path, PLAIN) == f"{HEAD}\na.jpg,awe,positive,train,8,6,{'0' * 64}\n"


def test_further_columns_come_back(tmp_path):
    columns = {"scene": 'a, "b"', "brightness": "0.5", "human_action": ""}
    other = {"scene": "", "brightness": "", "human_action": ""}
    entries = [PLAIN._replace(attributes=columns), PLAIN._replace(path="b.jpg", attributes=other)]
    text = written(tmp_path, *entries)
    assert text.splitlines()[0] == HEAD + ",scene,brightness,human_action"
    assert [entry.attributes for entry in read_entries(tmp_path / MANIFEST)] == [columns, other]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(",1\n", "\n"),  # a row without its last field
        lambda text: text.replace(",1\n", ",1,2\n"),
        lambda text: text.replace("votes_awe", "path"),  # a column twice
        lambda text: text.replace("sha256,votes_awe", "votes_awe,sha256"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path, damage):
    text = written(tmp_path, PLAIN._replace(attributes={"votes_awe": "1"}))
    (tmp_path / MANIFEST).write_text(damage(text))
    with pytest.raises(InputError, match="manifest.csv is damaged: prepare the data set again"):
        read_entries(tmp_path / MANIFEST)
