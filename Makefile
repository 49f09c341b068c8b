# Every task that a person or CI runs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
# VENV=folder runs notebooks in an environment that is there already, as a cluster's central one.
VENV := .venv
RUN := PYTHONNOUSERSITE=1 $(VENV)/bin/python -m
SPHINX := PYTHONNOUSERSITE=1 .venv/bin/python -m sphinx --fail-on-warning --keep-going -q

# Tests wait more than they work: several files at a time, each worker with a small Triton of its own.
WORKERS ?= -n 4 --dist loadfile --no-loadscope-reorder
# What failed, for a second try without other tests beside it: a busy machine is no fault of the guide.
FAILED := _build/failed.txt
# Arguments of pytest, as a shell reads them.
TESTS := tests

# What the small Triton needs is made where it can run. RELEASE is the Debian of its hosts; TRITON_DIR takes the place of .triton.
export RELEASE ?= bookworm
MADE := $(or $(TRITON_DIR),.triton)/$(RELEASE)
$(if $(word 2,$(MADE)),$(error TRITON_DIR must have no space: $(TRITON_DIR)))
TRITON := $(shell $(PYTHON) -m tools.cluster.cluster obstacle >/dev/null 2>&1 && echo .triton)
# What starts a small Triton has the rights of root, in a namespace where the user has them not.
AS_ROOT := $(if $(TRITON),$(PYTHON) -m tools.cluster.privileges)

# A network that reads along, as of a company, has a certificate of its own: uv and npm take those of the system too.
export UV_SYSTEM_CERTS ?= 1
export NODE_USE_SYSTEM_CA ?= 1

# In a hook of git these name the repository that is committed to, whatever folder git is called in.
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_PREFIX GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES

.PHONY: help html lite test tests lint format check stage preview books serve notebooks sync refresh class pictures cluster cluster-down page-quality adopt adopted bench mutate anchors linkcheck dependencies audit release release-files drift clean system requirements

help:  ## list these tasks
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 14

# A page that was read with a warning is not read, nor warned of, again: what a failed build read is thrown away.
html: .venv  ## build the site into _build/html
	@$(PYTHON) triton/lib/clusterfacts.py triton/facts.toml
	@[ -e _build/doctrees/.good ] || rm -rf _build/doctrees
	@rm -rf _build/html.new _build/doctrees/.good
	@$(SPHINX) -b html -d _build/doctrees . _build/html.new
	@touch _build/doctrees/.good
	@rm -rf _build/html && mv _build/html.new _build/html
	@echo "The site is in _build/html; open _build/html/index.html"
	@[ -e .lite/.made ] || echo "It is without the button Run in the browser. To have it: make lite html"

lite: .lite  ## make what the button Run in the browser needs, once

test:  ## lint, then run every test; SINCE=main only what changed pages can affect
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory tests $(if $(SINCE),SINCE=$(SINCE))

lint: .venv .lint  ## check the form, the types and the faults of all code; ONLY=ruff for one of ruff, mypy, shellcheck, biome, codespell, grammar, words
	@$(RUN) tools.lint $(ONLY)

format: .venv .lint  ## format Python, JavaScript and CSS
	@$(RUN) tools.lint --format

tests: .venv .venv-nbdime $(TRITON)
	@$(MAKE) --no-print-directory lite || echo "So the button Run in the browser is not tested." >&2
	@rm -f $(FAILED)
	@$(AS_ROOT) env $(RUN) pytest $(WORKERS) $(TESTS) || { [ -s $(FAILED) ] && \
	    echo "What failed runs once more, alone:" && $(AS_ROOT) env $(RUN) pytest --maxfail=5 @$(FAILED); }

check: .venv $(TRITON)  ## test one page: PAGE=triton/tut/storage.rst
	@$(if $(filter %.rst,$(PAGE)),,echo 'Which page? make check PAGE=triton/tut/storage.rst; for a notebook: make notebooks NB=05-git' >&2; exit 2)
	@test -f "$(PAGE)" || { echo 'There is no page $(PAGE)' >&2; exit 2; }
	@$(AS_ROOT) env $(RUN) pytest -q tests/guide/test_facts.py tests/guide/test_roles.py tests/guide/test_console_blocks.py tests/site/test_site.py -k "$(patsubst ./%,%,$(PAGE)) or every_link"

stage: .venv $(TRITON)  ## a shell where the reader of PAGE=triton/tut/storage.rst stands; BLOCK=line types all before it first
	@$(AS_ROOT) env $(RUN) tools.proof.stage $(if $(BLOCK),--block "$(BLOCK)") "$(PAGE)"

preview: html  ## pictures of each page that differs from SINCE=main, before and after, in _build/preview
	@$(RUN) tools.preview $(or $(SINCE),main)

books: .venv  ## make the guide as EPUB and PDF too, which its pages then offer
	@$(RUN) tools.books _build/books
	@$(MAKE) --no-print-directory html

serve: .venv  ## show on http://localhost:8000, and build each change within seconds; PORT=8000
	@PYTHONNOUSERSITE=1 .venv/bin/python -m tools.serve $(or $(PORT),8000)

notebooks: $(if $(filter .venv,$(VENV)),.venv .venv-nbdime)  ## validate the notebooks that something changed for; NB="name ..." for some, ALL=1 for all, EXPLAIN=1 says why, ON=slurm in jobs
	@$(RUN) tools.validate.runner validate $(if $(ALL),,--changed) $(if $(EXPLAIN),--explain) $(if $(ON),--on $(ON)) $(if $(RESUME),--resume) $${NB:+--nb "$$NB"}

sync: .venv  ## bring the halves of each pair together; NB=name, FROM=md|ipynb
	@$(RUN) tools.course.pairs sync $${NB:+--nb "$$NB"} $${FROM:+--from "$$FROM"} notebooks

refresh: $(if $(filter .venv,$(VENV)),.venv .venv-nbdime)  ## execute NB="name ..." anew, or what failed in the last run, show what changed, and keep the outputs that you accept
	@$(RUN) tools.validate.runner refresh $${NB:+--nb "$$NB"}

class: .venv  ## make the editions of the course in _build/class: for students, with solutions, for the instructor
	@$(PYTHON) triton/lib/clusterfacts.py triton/facts.toml
	@$(RUN) tools.course.pairs published
	@$(RUN) tools.course.editions _build/class

pictures: .venv $(TRITON)  ## make the guide's pictures anew, from real runs
	@$(AS_ROOT) env $(RUN) tools.pictures.take

cluster: .triton  ## start a small Triton on this machine; tools/cluster/on login:alice is a shell there
	@$(PYTHON) -m tools.cluster.cluster up

cluster-down:  ## end it and remove all that it made
	@$(PYTHON) -m tools.cluster.cluster down

page-quality: html .node  ## measure each type of page in Chromium: axe, Lighthouse, bytes, search, valid HTML
	@$(RUN) pytest -q tests/site/test_page_quality.py tests/site/test_search.py tests/site/test_browser.py
	@$(RUN) tools.page_quality

adopted: .venv .venv-nbdime .triton  ## make this the guide of an invented cluster, and test it on a small one of that name
	@$(AS_ROOT) env $(RUN) tools.adopted

adopt: .venv  ## for another centre: name what you changed in files of the guide that you follow; UPSTREAM=upstream/main
	@$(RUN) tools.adopt $(UPSTREAM)

bench: .venv .venv-nbdime $(TRITON)  ## compare our speed with that of the plain tools; ONLY=name for one, NUMPY_TUTORIALS=a clone of numpy's tutorials
	@$(if $(NUMPY_TUTORIALS),NUMPY_TUTORIALS=$(NUMPY_TUTORIALS)) $(AS_ROOT) env $(RUN) tools.bench $(ONLY)

mutate: .venv .venv-nbdime $(TRITON)  ## change the guide in N=20 places, and print what no test noticed; SEED=1, PAGE=file
	@$(AS_ROOT) env $(RUN) tools.mutate -n $(or $(N),20) --seed $(or $(SEED),1) $(if $(PAGE),--page $(PAGE))

anchors: html  ## add the addresses of new sections to the list that keeps them alive
	@$(RUN) tools.anchors

linkcheck: .venv  ## check the external links, and propose an archived copy for a dead one; needs the internet
	@$(SPHINX) -b linkcheck -d _build/doctrees . _build/linkcheck >/dev/null || true
	@$(RUN) tools.links

dependencies: .venv .lint  ## list what the guide is made with, how old that is and its licence, in _build/dependencies.md; needs the network
	@$(RUN) tools.dependencies table

audit: .venv .lint  ## ask the registries whether any of it has a known vulnerability; needs the network
	@$(RUN) tools.dependencies audit

release: .venv  ## make today's release of this commit: changelog, CITATION.cff, tag; only where make test was green
	@$(RUN) tools.release

release-files: .lint class lite html  ## the site, the editions and the lists of packages of a release, in _build/release
	@$(RUN) tools.release files

drift: .lint  ## take the newest release of each package, test all, and write into _build/drift.md what no longer holds
	@$(MAKE) --no-print-directory requirements UPGRADE=--upgrade
	@for folder in tools/node tools/lint tools/lite triton/jupyterhub; do (cd $$folder && PATH="$(CURDIR)/.lint/bin:$$PATH" && \
	    npm install --package-lock-only --save-exact --ignore-scripts --no-audit --no-fund --loglevel=error \
	        $$(node -p 'Object.keys(require("./package.json").dependencies).map(name => name + "@latest").join(" ")') >/dev/null); done
	@$(MAKE) --no-print-directory test && good=0 || good=$$?; $(RUN) tools.drift; exit $$good

# Files on the small Triton belong to its users, whose numbers are an ordinary user's only in a namespace.
clean: cluster-down  ## remove what these tasks made
	@$(AS_ROOT) rm -rf _build .venv .venv-nbdime .node .lint .triton .lite

system:  ## print the command that installs the packages that the tests find on the machine
	@tools/system

requirements: .venv  ## compile the pinned requirements anew; UPGRADE=--upgrade takes the newest releases
	@for file in requirements tools/requirements-nbdime tools/cluster/requirements triton/jupyterhub/requirements tools/lite/requirements tools/lint/requirements tools/node/requirements; do \
	    .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE) $$file.in -o $$file.txt; \
	done
	@.venv/bin/uv pip compile -q --python-platform wasm32-pyodide2025 --python-version 3.14 --generate-hashes --no-header $(UPGRADE) tools/lite/wheels.in -o tools/lite/wheels.txt

# An environment counts as made when its .made names this folder: not after a kill, a move or a new system Python.
made = $(shell $1/bin/python -c 'print(open("$1/.made").read(), end="")' 2>/dev/null)
ifneq ($(call made,.venv),$(CURDIR))
.PHONY: .venv/.made
endif
ifneq ($(call made,.venv-nbdime),$(CURDIR))
.PHONY: .venv-nbdime/.made
endif
ifneq ($(call made,.node),$(CURDIR))
.PHONY: .node/.made
endif
ifneq ($(call made,.lint),$(CURDIR))
.PHONY: .lint/.made
endif
.PHONY: .venv .venv-nbdime .node .lint .triton .lite
.venv: .venv/.made
.venv-nbdime: .venv-nbdime/.made
.node: .node/.made
.lint: .lint/.made
.triton: $(MADE)/.made
.lite: .lite/.made

.venv/.made: requirements.txt tools/make-venv
	@tools/make-venv .venv requirements.txt $(PYTHON)
	@.venv/bin/python -m bash_kernel.install --sys-prefix >/dev/null
	@# Paid once, since notebooks run where nothing can be written: the list of fonts, and the bytecode of what kernels and builds import.
	@MPLCONFIGDIR=.venv/share/matplotlib-cache PYTHONDONTWRITEBYTECODE= .venv/bin/python -W ignore -c 'import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]' \
	    jupyter_client.manager bash_kernel.kernel nbclient nbval.plugin psutil PIL.Image PIL.ImageChops matplotlib.pyplot pandas jupytext pytest \
	    myst_nb.sphinx_ext nbconvert sphinx.cmd.build sphinx.writers.html5 sphinx_design sphinx_revealjs snowballstemmer html_to_markdown bs4 2>/dev/null || true
	@echo 1 | IPYTHONDIR=.venv/first JUPYTER_RUNTIME_DIR=.venv/first PYTHONDONTWRITEBYTECODE= .venv/bin/jupyter-run --kernel=python3 >/dev/null 2>&1 || true; rm -rf .venv/first
	@printf %s "$(CURDIR)" > $@

.venv-nbdime/.made: tools/requirements-nbdime.txt tools/make-venv
	@tools/make-venv .venv-nbdime tools/requirements-nbdime.txt $(PYTHON)
	@printf %s "$(CURDIR)" > $@

# Node from PyPI, the same everywhere; Lighthouse would bring a browser of its own.
.node/.made: tools/node/requirements.txt tools/node/package-lock.json tools/make-venv
	@tools/make-venv .node tools/node/requirements.txt $(PYTHON)
	@cp tools/node/package.json tools/node/package-lock.json .node
	@PUPPETEER_SKIP_DOWNLOAD=1 PATH="$(CURDIR)/.node/bin:$$PATH" npm ci --prefix .node --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@printf %s "$(CURDIR)" > $@

# biome is a program for each platform, of which npm takes the right one.
.lint/.made: tools/lint/requirements.txt tools/lint/package-lock.json tools/make-venv
	@tools/make-venv .lint tools/lint/requirements.txt $(PYTHON)
	@cp tools/lint/package.json tools/lint/package-lock.json .lint
	@PATH="$(CURDIR)/.lint/bin:$$PATH" npm ci --prefix .lint --ignore-scripts --no-audit --no-fund --loglevel=silent >/dev/null || \
	    { echo "npm could not install biome and harper.js into .lint. Is the network there, and space on the disk? Then: make lint" >&2; exit 1; }
	@printf %s "$(CURDIR)" > $@

# What the small Triton has as /share/apps; its programs are at home there, so it may move with the checkout.
$(MADE)/.made: $(MADE)/.image tools/cluster/requirements.txt tools/cluster/machine_room.py triton/facts.toml | .venv
$(MADE)/.made: triton/jupyterhub/requirements.txt triton/jupyterhub/package-lock.json $(shell find triton/jupyterhub/labextension -type f)
	@$(PYTHON) -m tools.cluster.cluster apps $(MADE)
	@touch $@
$(MADE)/.image: tools/cluster/packages.txt tools/cluster/make-image
	@$(PYTHON) -m tools.cluster.cluster image
	@touch $@

# A site is built with what is there, or without it.
.lite/.made: $(shell find tools/lite -type f) | .venv
	@mkdir -p .lite
	@tools/make-venv .lite/env tools/lite/requirements.txt $(PYTHON)
	@.lite/env/bin/python tools/lite/make.py .lite
	@touch $@
