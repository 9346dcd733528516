"""What the tables of results are made of: each system and ablation as options over the preset of
its row.
"""

from dataclasses import dataclass, replace

from mlr import paper
from mlr.options.presets import DEMO, RELEASED

RESNET = "resnet50"


@dataclass(frozen=True)
class Experiment:
    """A system that is trained with each seed. options: of `mlr.options.presets.Preset`, the row
    among them.
    """

    title: str
    options: dict

    def run(self, presets, settings):
        """Return the name of the experiment's run, which tells it from others of its row, and its
        arguments of mlr train.

        presets: {row: Preset}, what mlr train takes by itself. settings: options that all
        experiments of the row have beside it.
        """
        row = self.options["row"]
        options = list(presets[row].options())
        usual = replace(presets[row], **settings)
        own = replace(usual, **self.options)
        special = [
            str(getattr(own, name))
            for name in options
            if getattr(own, name) != getattr(usual, name)
        ]
        arguments = ["--row", row]
        for name in options:
            if name != "row" and getattr(own, name) != getattr(presets[row], name):
                arguments += ["--" + name.replace("_", "-"), str(getattr(own, name))]
        return "-".join([row, *special]), arguments


L_CIL = Experiment("L_cil", {"row": "l_cil"})
CROSS_ENTROPY = Experiment("with cross entropy", {"row": "l_cil", "loss": "cross_entropy"})


TABLES = ("rows", "ablations", "imbalance")


def tables(presets, rows):
    """Return the tables, {name: {title of the table, experiments}}. rows: those of `mlr.paper.ROWS`
    that are wanted.
    """
    wide = {"resnet50_v2": 2048, paper.SLIM_BACKBONE: paper.SLIM_CHANNELS[-1]}[
        presets["l_cil"].backbone
    ]
    made = {
        "rows": (
            "The rows of the results table",
            [Experiment(paper.ROWS[row][0], {"row": row}) for row in rows],
        )
    }
    if "l_cil" in rows:
        made["ablations"] = (
            "Ablations of L_cil",
            [
                L_CIL,
                CROSS_ENTROPY,
                Experiment("backbone alone", {"row": RESNET, "loss": "class_imbalance"}),
                Experiment("branches alone", {"row": "shallow"}),
                *(
                    Experiment(f"branch of {tap} alone", {"row": "shallow", "taps": tap})
                    for tap in paper.TAPS
                ),
                Experiment("taps as the widths suggest", {"row": "l_cil", "taps": "by-width"}),
                Experiment(
                    "concatenated, style as wide as deep", {"row": "l_cil", "style_width": wide}
                ),
                Experiment("added", {"row": "l_cil", "fusion": "add", "style_width": wide}),
                Experiment(
                    "multiplied", {"row": "l_cil", "fusion": "multiply", "style_width": wide}
                ),
                Experiment("Gram matrices times 100", {"row": "l_cil", "gram_scale": 100.0}),
                Experiment(
                    "new layers learn three times as fast", {"row": "l_cil", "new_layers_rate": 3.0}
                ),
                Experiment("without pretraining", {"row": "l_cil", "pretrained": "none"}),
            ],
        )
        made["imbalance"] = (
            "Class imbalance",
            [
                CROSS_ENTROPY,
                Experiment("the loss as released", {"row": "l_cil", "loss_form": "released"}),
                Experiment("the loss as written", {"row": "l_cil", "loss_form": "written"}),
            ],
        )
    return made


# How much of the demo is done: epochs of pretraining on drawn objects (0: none) and of each row.
SIZES = {"small": (12, 5), "tiny": (0, 1)}

# The pretrained networks of the drawn data: which rows start from them, and the options of their
# own training.
PRETRAINING = {
    "vgg": (("vgg16", "pcnn", "ar"), {"row": "vgg16"}),
    "resnet": (("resnet50", "l_cil", "shallow"), {"row": "resnet50"}),
    "alexnet": (("alexnet",), {"row": "alexnet"}),
    "caffenet": (("deepsentibank",), {"row": "alexnet", "backbone": "caffenet_slim"}),
}


def presets_of(data):
    """Return the presets, {row: Preset}, that mlr train takes for a data set."""
    return DEMO if data == "demo" else RELEASED
