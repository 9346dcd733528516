# make demo     environment, demo data, training, evaluation, prediction
# make install  environment alone
# make figures  redraws imgs/, with the runs in checkpoints/
# make checkpoint  trains that run anew; checkpoints/demo must not exist
# make results  the table of results on the demo, into docs/results
# make benchmark  the speed against the released style on three builds, PyTorch and ONNX Runtime, half an hour; make scale: with more images
# make benchmark-quick  the speed against the released style on this build, 5 minutes; BENCHMARK="--compare OLD.json" says what changed
# make soak     memory over 2,000 training steps with either pipeline and 20,000 predictions, minutes
# make notebooks  opens them;  make notebooks-run: executes them and stores what they print and draw
# make test     environment with the test extra, quick tests;  make test-all: the slow ones too
# make docs     the web site of the documents, into site/, with every warning an error (Python 3.11)
# make test-portable  what works without MXNet, on the newest Python from 3.8 to 3.13 that there is
# make lint     ruff's rules and format, mypy's types, proselint's prose, hadolint's rules for docker/;  make coverage: what the quick tests run of the code, at least 92 % of its lines
# make mutants  faults put into model, loss, metrics, methods, augmentation and splits, and which the tests find; an hour or more, goes on where it was
# make fuzz     12,000 damaged and hostile files, shared among all readers, which read or refuse them; make test has some hundreds. FUZZ=... says how many
# make release  checks, builds and tags a release; RELEASE=--no-tag rehearses it
# make test-builds  the fidelity tests on three builds of MXNet, and on Python 3.8 where there is one; prints what they saw
# PYTHON=... chooses the interpreter, EXTRA=cu101|modern|modern-cu112|modern-cu117 the MXNet build instead of cpu.
# modern-cu117 brings CUDA's libraries, 2.0 GB to download, 3.5 GB installed: the machine needs NVIDIA's driver alone.

PYTHON ?= $(shell for p in python3.11 python3.10 python3.9 python3.8 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null && echo $$p && break; done)
EXTRA ?= cpu
VENV := .venv
BIN := $(VENV)/bin
COMMA := ,
STAMPS := $(VENV)/installed-$(EXTRA) $(addprefix $(VENV)/installed-$(EXTRA)$(COMMA),test notebooks lint docs release test$(COMMA)coverage test$(COMMA)mutants)
SHELL := bash
START := $(shell date +%s)
# The first demo run is runs/demo; later ones get the time in their name, as nothing is ever overwritten.
RUN := $(if $(wildcard runs/demo),runs/demo-$(shell date +%Y%m%d-%H%M%S),runs/demo)

# The builds of test-builds, as name:extra:interpreter.
PYTHON38 ?= $(shell for p in python3.8 $(HOME)/.pyenv/versions/3.8.*/bin/python; do $$p -c '' 2>/dev/null && echo $$p && break; done)
BUILDS := mxnet-mkl-1.5.1:cpu:$(PYTHON) mxnet-1.5.1:plain:$(PYTHON) mxnet-1.9.1:modern:$(PYTHON) \
	$(if $(PYTHON38),mxnet-mkl-1.5.1-python3.8:cpu:$(PYTHON38))
FIDELITY := .builds/fidelity

SHOWN := $(addprefix imgs/photos/,flower.jpg rocket.jpg cat.jpg)
DRAWN := $(addprefix data/demo/test/,excitement/0005.jpg awe/0005.jpg fear/0007.jpg)

# The newest Python that this package runs on, with or without MXNet.
NEWEST ?= $(shell for p in python3.13 $(HOME)/.pyenv/versions/3.13.*/bin/python python3.12 $(HOME)/.pyenv/versions/3.12.*/bin/python \
	$(PYTHON); do $$p -c 'import venv' 2>/dev/null && echo $$p && break; done)
PORTABLE := .venv-portable

.PHONY: demo install figures checkpoint results benchmark benchmark-quick scale soak notebooks notebooks-run docs lint release test test-all test-portable coverage mutants fuzz test-builds fidelity
.DELETE_ON_ERROR:

demo: $(VENV)/installed-$(EXTRA)
	$(BIN)/mlr prepare --dataset demo --out data/demo
	$(BIN)/mlr train --data demo --out $(RUN)
	$(BIN)/mlr evaluate --run $(RUN)
	$(BIN)/mlr predict --run $(RUN) data/demo/test/awe/0000.jpg data/demo/test/anger/0000.jpg
	@echo "pictures: imgs/demo.png $(RUN)/curves.png $(RUN)/confusion.png $(RUN)/confusion_test.png"
	@$(BIN)/python -c 'import json, time; r = json.load(open("$(RUN)/evaluation_test.json")); print("demo: balanced accuracy \
	%.2f on %d test images in %.1f min" % (r["balanced_accuracy"], r["images"], (time.time() - $(START)) / 60))'

install: $(VENV)/installed-$(EXTRA)

figures: $(VENV)/installed-$(EXTRA)
	$(BIN)/mlr prepare --dataset demo --out data/demo --sheet imgs/demo.png
	$(BIN)/python -c 'import mlr, mxnet as mx; from mlr.model.parameters import materialize; \
	from mlr.viz.diagram import structure_figure; from mlr.viz.figures import save_figure; net = mlr.MultiLevelNet(8); \
	materialize(net, mx.cpu(), mx.init.Zero()); save_figure(structure_figure(net, 224), "imgs/structure.png")'
	cp imgs/photos/flower.jpg imgs/example.jpg
	$(BIN)/python -c 'import mlr; from mlr.data.images import read_image; from mlr.viz.figures import new_figure, plot_image, save_figure; \
	answers = list(mlr.load().folder("imgs/photos")); figure, panels = new_figure(10, 1.75, len(answers)); \
	[plot_image(read_image(path).asnumpy(), f"{answer.label} {answer.probabilities[answer.label]:.2f}", panel) \
	for panel, (path, answer) in zip(panels, answers)]; save_figure(figure, "imgs/predictions.png")'
	$(BIN)/mlr visualize --image $(SHOWN) --out imgs/visualization.png
	$(BIN)/mlr visualize --image $(SHOWN) --out imgs/grad-cam.png --view grad-cam
	$(BIN)/mlr visualize --run checkpoints/demo --image $(DRAWN) --out imgs/visualization-demo.png
	$(BIN)/mlr visualize --image imgs/example.jpg --out imgs/gram.png --view gram

# Ends with what is in checkpoints/demo, within rounding: the parameters are the same to the bit on one build, kind of processor, number of
# threads and choice of MKL's kernels alone. Those there are of mxnet-mkl 1.5.1, an AMD EPYC, two threads and the kernels for AVX2.
checkpoint: $(VENV)/installed-$(EXTRA)
	$(BIN)/mlr train --data demo --pipeline released --out runs/checkpoint
	$(BIN)/python -c 'from mlr.runs.writing import RunWriter; RunWriter.open("runs/checkpoint").ship("checkpoints/demo")'
	$(BIN)/mlr evaluate --run runs/checkpoint

# What docs/results.md and a notebook show: all methods, ablations and losses with three seeds, most of an hour on two cores.
results: $(VENV)/installed-$(EXTRA)
	$(BIN)/mlr reproduce --data demo --methods all --seeds 3 --out runs/reproduce-demo
	mkdir -p docs/results && cp runs/reproduce-demo/RESULTS.md runs/reproduce-demo/results.csv runs/reproduce-demo/results.png docs/results/

# Leave the machine alone meanwhile. BENCHMARK=... gives options of mlr benchmark.
benchmark: $(VENV)/installed-$(EXTRA),test .builds/torch/installed
	$(MAKE) --no-print-directory VENV=.builds/mxnet-1.5.1 EXTRA=plain install
	$(MAKE) --no-print-directory VENV=.builds/mxnet-1.9.1 EXTRA=modern install
	$(BIN)/mlr benchmark --out benchmark-$(shell date +%Y%m%d-%H%M%S).json $(BENCHMARK)

benchmark-quick: $(VENV)/installed-$(EXTRA),test
	$(BIN)/mlr benchmark --quick --out benchmark-quick-$(shell date +%Y%m%d-%H%M%S).json $(BENCHMARK)

.builds/torch/installed: Makefile
	$(PYTHON) -m venv .builds/torch
	.builds/torch/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 onnxruntime==1.32.0 safetensors==0.5.3 'numpy<2.3'
	touch $@

scale: $(VENV)/installed-$(EXTRA)
	$(BIN)/python benchmarks/scale.py --out docs/scale.png

soak: $(VENV)/installed-$(EXTRA)
	$(BIN)/python benchmarks/soak.py

notebooks: $(VENV)/installed-$(EXTRA),notebooks
	$(BIN)/jupyter notebook --notebook-dir notebooks

# Executes them anew and stores them with their outputs.
notebooks-run: $(VENV)/installed-$(EXTRA),notebooks
	cd notebooks && for name in *.ipynb; do ../$(BIN)/jupyter execute --inplace $$name || exit 1; done

lint: $(VENV)/installed-$(EXTRA),lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/proselint check --config proselint.json README.md CONTRIBUTING.md $(wildcard docs/*.md docs/results/*.md)

# Reads the code, and imports nothing of it. What fails: a link, an anchor, a page that the navigation has not, a fetch from another host.
docs: $(VENV)/installed-$(EXTRA),docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # --quiet would silence the warnings, and let them pass

# Builds from a clone of the commit. With RELEASE='--no-tag --quick' the tests of the sdist are those of tests/unit.
release: $(VENV)/installed-$(EXTRA),test $(VENV)/installed-$(EXTRA),lint $(VENV)/installed-$(EXTRA),release
	$(BIN)/python .ci/release.py $(RELEASE)

test: $(VENV)/installed-$(EXTRA),test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal  # a process a core is faster than threads

test-all: $(VENV)/installed-$(EXTRA),test
	$(BIN)/python -m pytest

# The other environment, without MXNet and without what tests/conftest.py needs of it.
test-portable: $(PORTABLE)/installed
	OMP_NUM_THREADS=1 $(PORTABLE)/bin/python -m pytest --confcutdir tests/portable tests/portable

$(PORTABLE)/installed: setup.py
	test -x $(PORTABLE)/bin/python || $(NEWEST) -m venv $(PORTABLE)
	$(PORTABLE)/bin/pip install --quiet --disable-pip-version-check --editable '.[onnxruntime,web]' 'pytest>=8,<10'
	touch '$@'

# Commands that the tests start count too; a process that is killed leaves nothing to count.
coverage: $(VENV)/installed-$(EXTRA),test,coverage
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -m "not slow" -n auto --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@set -o pipefail; $(BIN)/coverage json --quiet -o - | $(BIN)/python tests/scores.py coverage

# The results lie in mutants/: remove it to begin anew. `mutmut results` names those that live, `mutmut show NAME` shows one.
mutants: $(VENV)/installed-$(EXTRA),test,mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut export-cicd-stats
	@$(BIN)/python tests/scores.py mutants < mutants/mutmut-cicd-stats.json

FUZZ ?= 12000

fuzz: $(VENV)/installed-$(EXTRA),test
	MLR_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability/test_fuzz.py

test-builds:
	rm -rf $(FIDELITY) && mkdir -p $(FIDELITY)
	for build in $(BUILDS); do IFS=: read -r name extra python <<< "$$build"; \
		$(MAKE) --no-print-directory VENV=.builds/$$name EXTRA=$$extra PYTHON=$$python SEEN=$(FIDELITY)/$$name fidelity || exit 1; done
	@$(PYTHON) tests/fidelity/fidelity_table.py $(foreach build,$(BUILDS),$(firstword $(subst :, ,$(build)))=$(FIDELITY)/$(firstword $(subst :, ,$(build))))

fidelity: $(VENV)/installed-$(EXTRA),test
	$(BIN)/python -m pytest --fidelity $(SEEN) tests/fidelity/test_fidelity.py tests/fidelity/test_fidelity_images.py tests/unit/model/test_released_weights.py tests/unit/training/test_loss.py

$(VENV)/installed-%: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.8 to 3.11 found: install one, or name it, make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -z "$(filter-out $(STAMPS),$(wildcard $(VENV)/installed-*))" || { \
		echo "$(VENV) holds another MXNet build, and two can't live in one: rm -rf $(VENV) first" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==24.3.1  # the venv's own may be too old for the wheels
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --use-pep517 --disable-pip-version-check --editable '.[$*]'
	touch '$@'
