# Everything a fresh machine needs is Python 3.10+ and make.
#   make demo    train a limited policy with four divergences; ends with a table, a verdict and runs/demo/report.html
#   make bench   speed and memory against plain PyTorch; prints a table of ratios, writes bench/results/*.json
#   make test    export drift, every notebook, the README's own code blocks
#   make test-latest, make test-lowest    the same with the newest releases of everything, with the oldest that settings.ini allows
#   make faults  kills, full disks, damaged files, signals, races, wrong and random inputs: 25 minutes on two cores; make soak  half an hour of one run
#   make lint    ruff, and pyright where it is installed
#   make docs    the site: pages, API, notebooks in docs/_build/html (needs npm for MathJax), checked for broken maths and dead links
PYTHON ?= python3
VENV   ?= .venv
# the build of torch to install; e.g. `make test TORCH="torch --index-url ..."` for a particular CUDA
TORCH  ?= torch
PIP    := $(VENV)/bin/python -m pip --disable-pip-version-check -q install --no-compile

# compiled modules are kept, whatever the environment says: dozens of processes import the same libraries
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test faults soak test-latest test-lowest lint bench docs wheel clean
# the model is small: a second thread gains little on an idle machine, and on a busy one the two wait for each other
demo: $(VENV)/.package
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/bin/fdiv demo --output_dir runs/demo --overwrite

test: $(VENV)/.dev
	$(VENV)/bin/python .ci/test.py

# one process on each core; the counts go to build/
faults: $(VENV)/.dev
	mkdir -p build
	$(VENV)/bin/python .ci/faults/run.py --jobs 2 --out build/faults.json

soak: $(VENV)/.dev
	$(VENV)/bin/python .ci/faults/soak.py 1800

test-latest:
	test -x $(VENV)-latest/bin/python || $(PYTHON) -m venv $(VENV)-latest
	$(VENV)-latest/bin/python -m pip --disable-pip-version-check -q install $(TORCH) -e '.[peft,dev,parity,harness]'
	$(VENV)-latest/bin/python .ci/test.py

test-lowest:
	test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) .ci/lowest.py > $(VENV)-lowest/requirements.txt
	$(VENV)-lowest/bin/python -m pip --disable-pip-version-check -q install -r $(VENV)-lowest/requirements.txt -e .
	$(VENV)-lowest/bin/python .ci/test.py

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .ci bench docs fdiv_nb nbs setup.py
	$(VENV)/bin/python .ci/typecheck.py

bench: $(VENV)/.dev
	$(VENV)/bin/python bench/run.py

docs:
	test -x docs/_build/venv/bin/python || $(PYTHON) -m venv docs/_build/venv
	docs/_build/venv/bin/python -m pip --disable-pip-version-check -q install -r docs/requirements.txt
	npm ci --silent --prefix docs
	docs/_build/venv/bin/sphinx-build -q -W --keep-going -j auto -b html docs docs/_build/html
	docs/_build/venv/bin/python .ci/site.py docs/_build/html

wheel: $(VENV)/.dev
	$(VENV)/bin/python .ci/wheel.py

$(VENV)/.package: settings.ini setup.py pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt $(TORCH)
	$(PIP) -c constraints.txt -e .
	touch $@

# constraints.txt names every package of the known-good set, so nothing is left to resolve
$(VENV)/.dev: settings.ini setup.py pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt $(TORCH)
	$(PIP) --no-deps -r constraints.txt
	$(PIP) --no-deps -e .
	touch $(VENV)/.package $@

clean:
	rm -rf $(VENV) $(VENV)-latest $(VENV)-lowest build dist *.egg-info runs
