"""The report, opened in a browser as a reader does: Debian's Chromium, without network."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import in_chromium, probed
from conftest import run_config, write_images
from numpy.testing import assert_allclose

import mlr.viz.looks
import mlr.viz.report
from mlr.data.drawn.paintings import draw_demo_data
from mlr.errors import InputError
from mlr.evaluate import main
from mlr.methods import METHODS
from mlr.runs.provenance import environment
from mlr.runs.shipped import DEMO_RUN
from mlr.runs.writing import RunWriter
from mlr.training.metrics import (
    calibration_metrics,
    classification_metrics,
    distribution_metrics,
)
from mlr.viz.filters import Ascent
from mlr.viz.images import thumbnail
from mlr.viz.looks import Look, by_level
from mlr.viz.report import (
    DEMO,
    calibration_line,
    class_rows,
    most_confident,
    save_report,
    save_sheet,
)

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

# Put at the top of a copy of the page, the only script that its policy is made to allow; it says
# all that goes wrong from there on.
PROBE = """<script nonce="probe">
const seen = {errors: []};
console.error = console.warn = (...words) => seen.errors.push("console: " + words.join(" "));
const told = event => event.message || event.target.outerHTML.slice(0, 80);
addEventListener("error", event => seen.errors.push("error: " + told(event)), true);
const refused = event => "refused: " + event.violatedDirective + " " + event.blockedURI;
addEventListener("securitypolicyviolation", event => seen.errors.push(refused(event)));
const shows = image => {   // decoded to its last line: what is missing of a picture is transparent
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  if (!canvas.width || !image.getBoundingClientRect().width) return false;
  const drawing = canvas.getContext("2d");
  drawing.drawImage(image, 0, 0);
  const pixels = drawing.getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.every((value, index) => index % 4 < 3 || value === 255);
};
addEventListener("load", () => {
  const images = [...document.images];
  seen.images = images.length;
  seen.shown = images.filter(shows).length;
  const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  seen.requests = loaded.filter(name => !name.startsWith("data:"));
  seen.scripts = document.scripts.length;
  seen.width = document.documentElement.scrollWidth;
  const answer = document.createElement("pre");
  answer.id = "probe";
  answer.textContent = JSON.stringify(seen);
  document.body.append(answer);
});
</script>"""


def opened(html, folder):
    """Open a page, 600 pixels wide, in Chromium; return what PROBE saw, with the lines of the
    browser's own console.
    """
    assert html.count(POLICY) == 1
    copy = folder / "probed.html"
    copy.write_text(
        html.replace(POLICY, POLICY + "; script-src 'nonce-probe'").replace(
            '<meta name="viewport"', PROBE + '<meta name="viewport"'
        )
    )
    seen, said = probed(copy, "--enable-logging=stderr")
    return {**seen, "console": [line for line in said.splitlines() if "CONSOLE" in line]}


def whole(seen, images):
    """Assert that a page loaded without an error or a request, and that all its images show."""
    assert (seen["errors"], seen["console"], seen["requests"]) == ([], [], [])
    assert seen["shown"] == seen["images"] == images
    assert seen["scripts"] == 1  # the probe
    # no need to scroll sideways
    assert seen["width"] <= 600


class Page(HTMLParser):
    """The elements of a page, (tag, attributes), and its text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    @property
    def images(self):
        return [attributes for tag, attributes in self.elements if tag == "img"]


@pytest.fixture(scope="module")
def reported(trained, tmp_path_factory):
    """A run that was evaluated with --report, its filters sought for two steps; and its data."""
    run = shutil.copytree(trained[0], tmp_path_factory.mktemp("reported") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlr.viz.filters, "DEFAULT_ASCENT", Ascent(steps=2))
        assert main(["--run", str(run), "--ctx", "cpu", "--report"]) == 0
    return run, trained[1]


@pytest.fixture
def measured(tmp_path):
    """Make what a report is made of: a run without network and epochs, and a confident answer for
    each image, right or wrong.
    """

    def make(classes, answers, names=()):
        data = write_images(tmp_path / "data", classes, train=0, valid=0, test=2, size=(40, 30))
        paths = [
            data / "test" / name / (f"{number:02d}.jpg") for name in classes for number in range(2)
        ]
        for number, name in enumerate(names):
            paths[number] = paths[number].rename(paths[number].with_name(name))
        run = RunWriter.create(
            tmp_path / "run",
            run_config(METHODS["l_cil"].demo, len(classes), **environment()),
            classes,
        )
        run.save_files({"last.params": "parameters"})
        labels = np.repeat(range(len(classes)), 2)
        probabilities = 0.9 * np.eye(len(classes))[answers] + 0.1 / len(classes)
        evaluation = {
            "data": f"{data}/test",
            "sha256": "0" * 64,
            "fold": None,
            "parameters": "last",
            **classification_metrics(labels, answers, classes),
            **calibration_metrics(labels, probabilities),
        }
        return run, evaluation, *most_confident(probabilities, labels, paths, classes)

    return make


def written(path, run, evaluation, right, wrong):
    save_report(path, run, None, "test", evaluation, right, wrong)
    return path.read_text()


def test_most_confident_by_hand():
    probabilities = np.array(
        [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.55, 0.45]]
    )
    right, wrong = most_confident(
        probabilities,
        [0, 0, 0, 1, 1, 1],
        [f"{number:d}.jpg" for number in range(6)],
        ["awe", "fear"],
        2,
    )
    assert right == [(Path("0.jpg"), "awe", "awe", 0.9), (Path("3.jpg"), "fear", "fear", 0.7)]
    assert wrong == [(Path("4.jpg"), "fear", "awe", 0.9), (Path("1.jpg"), "awe", "fear", 0.8)]


def test_the_rows_of_classes():
    result = classification_metrics([0, 0, 0, 1], [0, 0, 1, 1], ["awe", "fear", "joy"])
    assert class_rows(result) == [
        ("awe", "3", "0.667", "1.000"),
        ("fear", "1", "1.000", "0.500"),
        ("joy", "0", "-", "-"),
    ]


def test_the_line_on_calibration():
    result = {"expected_calibration_error": 0.25, "negative_log_likelihood": 1.5}
    line = "expected calibration error 0.250, negative log-likelihood 1.500"
    assert calibration_line(result) == calibration_line({**result, "temperature": None}) == line
    assert calibration_line({**result, "temperature": 1.3}) == line + ", temperature 1.300"


def test_evaluate_writes_sheet_and_report(reported, trained):
    run, data = reported
    assert cv2.imread(str(run / "predictions_test.png")).shape[1] == 10 * 120
    page = Page((run / "report_test.html").read_text())
    evaluation, config = (
        json.loads((run / name).read_text()) for name in ("evaluation_test.json", "config.json")
    )
    sums = dict(
        reversed(line.split("  ")) for line in (run / "SHA256SUMS").read_text().splitlines()
    )
    for text in (
        "run, test",
        f"{evaluation['accuracy']:.3f}",
        evaluation["sha256"],
        sums["last.params"],
        config["data"]["sha256"],
        f"4 of {data}/test",
        config["versions"]["mxnet"],
        "resnet18_v2_slim",
        "Learning curves",
        "Confusion",
        "Calibration",
        calibration_line(evaluation),
        "Classes",
        "Looks",
        "brightness, mean luma, 0 to 1",
        "colourfulness, by Hasler and Suesstrunk, 2003",
        "edge density, share of the pixels",
        "Predictions",
        "Filters",
    ):
        assert text in page.text, text
    rows = dict(
        re.findall(
            '<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>',
            (run / "report_test.html").read_text(),
        )
    )
    assert (rows["data"], rows["data: folder"], rows["epochs"], rows["network: taps"]) == (
        str(data),
        str(data),
        "8",
        "stem, pool, stage1",
    )
    assert "demo" not in page.text
    wrong = 4 - sum(np.diag(evaluation["confusion"]))
    # curves, confusion, reliability, looks, thumbnails, filters, Grad-CAM
    assert len(page.images) == 2 + 1 + 1 + 3 + 4 + 1 + (wrong > 0)
    assert all(image["alt"] for image in page.images)
    assert ("html", {"lang": "en"}) in page.elements


def test_measures_of_distributions(measured, tmp_path):
    """One row each, beside what is best of it; a page of data without votes has none of it."""
    run, evaluation, *predictions = measured(["awe", "fear"], [0, 1, 1, 1])
    plain = Page(written(tmp_path / "page.html", run, evaluation, *predictions))
    assert "Votes" not in plain.text and "Chebyshev" not in plain.text
    measures = distribution_metrics([[3, 1]], [[0.5, 0.5]])
    evaluation["distribution"] = measures
    html = written(tmp_path / "page.html", run, evaluation, *predictions)
    lower, higher = "\u2193 lower, 0 at best", "\u2191 higher, 1 at best"
    # of the shares 3/4 and 1/4, by hand
    assert re.findall("<tr><th[^>]*>([^<]*)</th><td>([^<]*)</td><td>(. [^<]*best)</td>", html) == [
        ("Chebyshev distance", "0.250", lower),
        ("Clark distance", "0.389", lower),  # root of (1/5)^2 + (1/3)^2
        ("Canberra distance", "0.533", lower),  # 1/5 + 1/3
        ("Kullback-Leibler divergence", "0.131", lower),  # 3/4 ln 3/2 + 1/4 ln 1/2
        ("cosine similarity", "0.894", higher),  # 1/2 over the root of 10/16 * 1/2
        ("intersection", "0.750", higher),
    ]
    assert "Votes" in Page(html).text and len(measures) == 6


def test_only_a_report_looks_at_the_images(trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained[0], tmp_path / "run")
    monkeypatch.setattr(mlr.viz.looks, "looks_of", lambda *_: pytest.fail("looked"))
    assert main(["--run", str(run), "--ctx", "cpu"]) == 0


def test_the_levels_of_a_manifest(measured, tmp_path):
    """All eleven, those without an image, too, and whatever is in a name is text."""
    run, *rest = measured(["awe", "fear"], [0, 1, 1, 1])
    right = np.array([True, False, True, True])
    bins = by_level([0, 0, 10, None], right)
    look = Look("<b>brightness</b> of the manifest", "as it has it, of 3 images", bins)
    save_report(tmp_path / "page.html", run, None, "test", *rest, [look])
    html = (tmp_path / "page.html").read_text()
    page = Page(html)
    assert "<b>" not in html and "<b>brightness</b> of the manifest, as it has it" in page.text
    assert "accuracy from 0.500 for 0.0 to 1.000 for 1.0; 0.750 for all images" in page.text
    rows = re.findall(r'<tr><th scope="row">(\d\.\d)</th><td>(\d+)</td><td>(.*?)</td></tr>', html)
    assert rows[0] == ("0.0", "2", "0.500") and rows[10] == ("1.0", "1", "1.000")
    assert rows[1:10] == [(f"0.{level:d}", "0", "-") for level in range(1, 10)]


def test_the_page_needs_nothing_beside_it(reported):
    page = Page((reported[0] / "report_test.html").read_text())
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.elements
    }
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)


@in_chromium
def test_the_page_opens_in_chromium(reported, tmp_path):
    html = (reported[0] / "report_test.html").read_text()
    whole(opened(html, tmp_path), len(Page(html).images))


@in_chromium
@pytest.mark.parametrize(
    "change, error",
    [
        (
            lambda html: html.replace("data:image/jpeg;base64,", "data:image/jpeg;base64,AAAA", 1),
            "error: <img",
        ),
        # a picture whose rest is missing
        (lambda html: re.sub('(base64,[^"]{2000})[^"]*', r"\1", html, count=1), ""),
        (
            lambda html: html.replace("data:image/jpeg;base64,", "http://127.0.0.1:9/", 1),
            "refused: img-src http://127.0.0.1:9/",
        ),
        (
            lambda html: html.replace("<main>", "<main><script>document.title = 'x'</script>"),
            "refused: script-src-elem inline",
        ),
    ],
)
def test_chromium_would_tell_what_is_wrong(measured, tmp_path, change, error):
    html = written(tmp_path / "page.html", *measured(["awe", "fear"], [0, 1, 0, 1]))
    seen = opened(change(html), tmp_path)
    assert (
        seen["errors"] == []
        if not error
        else any(line.startswith(error) for line in seen["errors"])
    ), seen
    with pytest.raises(AssertionError):
        whole(seen, 5)


HOSTILE = ["<script>alert(1)", '"><img src=x onerror=alert(1)>', r"$\frac{$", "&amp;"]


def test_hostile_names_are_text(measured, tmp_path):
    run, evaluation, right, wrong = measured(
        HOSTILE,
        [1, 0, 3, 2, 2, 2, 0, 3],
        ["<b>'x.jpg", b"\xff.jpg".decode("utf-8", "surrogateescape")],
    )
    save_sheet(right, wrong, "x", tmp_path / "sheet.png")
    page = Page(written(tmp_path / "<i>.html", run, evaluation, right, wrong))
    assert not {"script", "b", "i"} & {tag for tag, _ in page.elements}
    assert len(page.images) == 2 + 8 and all(
        image["src"].startswith("data:") and set(image) == {"src", "alt"} for image in page.images
    )
    for name in HOSTILE:
        assert page.text.count(name) >= 2 and f"Image of the class {name}" in {
            image["alt"] for image in page.images
        }
    assert "/<b>'x.jpg" in page.text and "/?.jpg" in page.text


@in_chromium
def test_hostile_names_run_nothing(measured, tmp_path):
    whole(
        opened(
            written(tmp_path / "page.html", *measured(HOSTILE, [1, 0, 3, 2, 2, 2, 0, 3])), tmp_path
        ),
        10,
    )


def test_the_pictures_are_those_of_their_captions(measured, tmp_path):
    run, evaluation, right, wrong = measured(["awe", "fear", "joy"], [0, 1, 1, 1, 2, 0])
    for path, color in zip(sorted((tmp_path / "data").rglob("*.jpg")), np.random.permutation(6)):
        cv2.imwrite(str(path), np.full((40, 30, 3), (40 * color, 120, 240 - 40 * color), np.uint8))
    html = written(tmp_path / "page.html", run, evaluation, right, wrong)
    figures = re.findall(
        r'<img src="data:image/jpeg;base64,([^"]+)" alt="Image of the class (\w+)">'
        r"<figcaption>(.*?)</figcaption>",
        html,
    )
    lines = [re.findall(">([^<]+)<", caption) for _, _, caption in figures]
    # .9 + .1 / 3 for the class that was answered
    assert lines == [
        ["right: awe 0.933", "awe/00.jpg"],
        ["right: fear 0.933", "fear/00.jpg"],
        ["right: fear 0.933", "fear/01.jpg"],
        ["right: joy 0.933", "joy/00.jpg"],
        ["wrong: fear 0.933", "true: awe", "awe/01.jpg"],
        ["wrong: awe 0.933", "true: joy", "joy/01.jpg"],
    ]
    for (picture, true, _), (*_, file) in zip(figures, lines):
        assert file.startswith(true + "/")
        shown = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
        original = cv2.imread(str(tmp_path / "data" / "test" / file))
        assert shown.shape == original.shape == (40, 30, 3)
        # JPEG twice, of one colour; they are 40 apart
        assert_allclose(shown.astype(int), original, atol=4)


def test_none_wrong_none_right_and_no_network(measured, tmp_path):
    run, evaluation, right, wrong = measured(["awe", "fear"], [0, 0, 1, 1])
    page = Page(written(tmp_path / "a.html", run, evaluation, right, wrong))
    assert (
        "wrong predictionsThere are none."
    ) in page.text and "most frequent confusion: none" in page.text
    assert "No epoch of this run is finished." in page.text and "Filters" not in page.text
    page = Page(written(tmp_path / "b.html", run, evaluation, [], right))
    assert "right predictionsThere are none." in page.text
    for group in ((right, []), ([], right)):
        save_sheet(*group, "x", tmp_path / "sheet.png")
        assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_the_demo_says_what_it_is_not_good_for(measured, tmp_path):
    run, *rest = measured(["awe", "fear"], [0, 0, 1, 1])
    assert DEMO not in Page(written(tmp_path / "a.html", run, *rest)).text
    (tmp_path / "data" / "demo.json").write_text("{}")
    assert DEMO in Page(written(tmp_path / "b.html", run, *rest)).text


def test_thumbnails(tmp_path):
    for name, shape, small in (
        ("wide", (300, 600), (100, 200)),
        ("thin", (1, 1000), (1, 200)),
        ("small", (30, 20), (30, 20)),
    ):
        pixels = np.zeros((*shape, 3), np.uint8)
        # blue, as OpenCV writes it
        pixels[:, :, 0] = 250
        cv2.imwrite(str(tmp_path / (name + ".png")), pixels)
        assert thumbnail(tmp_path / (name + ".png")).shape == small + (3,)
        assert (thumbnail(tmp_path / (name + ".png")) == [0, 0, 250]).all()


def test_an_image_that_is_gone_or_damaged(measured, tmp_path):
    run, evaluation, right, wrong = measured(["awe", "fear"], [0, 1, 1, 1])
    damages = (
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "01.jpg is truncated"),
        (Path.unlink, "can't read image .*01.jpg: No such file"),
    )
    for damage, message in damages:
        damage(wrong[0].path)
        with pytest.raises(InputError, match=message):
            save_report(tmp_path / "page.html", run, None, "test", evaluation, right, wrong)
        with pytest.raises(InputError, match=message):
            save_sheet(right, wrong, "x", tmp_path / "sheet.png")
    assert not (tmp_path / "page.html").exists() and not (tmp_path / "sheet.png").exists()


def test_parameters_that_are_damaged_after_the_evaluation(measured, tmp_path):
    run, *rest = measured(["awe", "fear"], [0, 1, 1, 1])
    (run.folder / "last.params").write_text("other")
    with pytest.raises(InputError, match="last.params is missing, damaged or changed"):
        save_report(tmp_path / "page.html", run, None, "test", *rest)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--report", "page.png"),
            "--report page.png: give the name of a file that ends with .html or .htm",
        ),
        (("--report", "folder.html"), "--report folder.html: give the name of a file"),
        (
            ("--report", "page.html", "--folds", "all"),
            "each fold gets its own: give --report alone",
        ),
        (("--report", "file/new/page.html"), "file is not a folder, or you may not write to it"),
        (
            ("--report", "mine.html"),
            "--report mine.html exists already and is no page of this package",
        ),
    ],
)
def test_where_no_report_can_be_written(trained, tmp_path, monkeypatch, capsys, arguments, message):
    """Said before the evaluation, which may take hours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "mine.html").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in trained[0].iterdir()}
    assert main(["--run", str(trained[0]), "--ctx", "cpu", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in trained[0].iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.html", "mine.html"]
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_a_page_that_can_not_be_replaced_stays(measured, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    # where it would be staged
    (tmp_path / "page.html.new").mkdir()
    with pytest.raises(IsADirectoryError):
        written(page, *measured(["awe", "fear"], [0, 0, 1, 1]))
    assert page.read_text() == "old"


@pytest.mark.slow
@in_chromium
def test_the_report_of_the_shipped_run(command, tmp_path):
    draw_demo_data(tmp_path / "data", train=80)
    run = shutil.copytree(DEMO_RUN, tmp_path / "run")
    done = command(
        "evaluate", "--run", run, "--data", tmp_path / "data", "--report", tmp_path / "page.html"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"written: {tmp_path / 'page.html'}"
    html = (tmp_path / "page.html").read_text()
    assert len(html) < 3 * 10**6
    # curves, confusion, reliability, looks, thumbnails, filters and Grad-CAM
    whole(opened(html, tmp_path), 2 + 1 + 1 + 3 + 20 + 2)
