# `make demo` makes a lab and runs its experiments; `make test` is what CI runs. `make test-cluster`
# takes the cluster that KUBECONFIG names and CLUSTER_IMAGE, an image that its nodes have.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
LAB := demo/demo-lab
# A lab's first commit needs an author. Where git knows none, the demo brings one.
AUTHOR := $(shell git config user.email > /dev/null || echo \
	GIT_AUTHOR_NAME=Demo GIT_AUTHOR_EMAIL=demo@localhost \
	GIT_COMMITTER_NAME=Demo GIT_COMMITTER_EMAIL=demo@localhost)

.PHONY: demo test coverage check docs pictures test-cluster benchmarks

demo: $(LAB)
	@cd $(LAB) && test -d .git && tag=run-examples-v$$(($$(git tag --list 'run-examples-v*' | wc -l) + 1)) && \
	echo "$$ git tag $$tag && git push origin $$tag" && git tag $$tag && git push origin $$tag
	@echo "The lab is in $(LAB). To see the results in a browser, type:"
	@echo "  python3 $(LAB)/vendor/taglab ui"
	@echo "Does a tag still give the same, what changed since, and a page to hand on:"
	@echo "  python3 $(LAB)/vendor/taglab verify run-examples-v1"
	@echo "  python3 $(LAB)/vendor/taglab diff run-examples-v1 run-examples-v2  # after make demo again"
	@echo "  python3 $(LAB)/vendor/taglab report run-examples-v1"

$(LAB): | $(VENV)/cookiecutter
	$(AUTHOR) $(VENV)/bin/cookiecutter . --no-input --output-dir demo project_name="Demo Lab"

test: check
	$(VENV)/bin/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations 10 tests

# The lines of the package that no test reaches, in any process. A part: make coverage TESTS=tests/cli
# Not counted are steps, which run in the environment of their lab.
TESTS ?= tests
coverage: $(VENV)/ready
	$(VENV)/bin/python -m coverage erase
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m coverage run -m pytest -q -n 3 --dist loadgroup --no-loadscope-reorder $(TESTS); \
	failed=$$?; $(VENV)/bin/python -m coverage combine --quiet && $(VENV)/bin/python -m coverage report && exit $$failed

# Style, types, and which way imports may point.
check: $(VENV)/ready
	$(VENV)/bin/python -m flake8
	$(VENV)/bin/python -m mypy
	PYTHONPATH=src $(VENV)/bin/lint-imports

# The documentation, in site/index.html. `--strict`: a broken link is an error.
docs: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet

# docs/terminal.svg, from what a push prints.
pictures: $(VENV)/cookiecutter
	$(MAKE) --no-print-directory demo 2>&1 | $(VENV)/bin/python docs/terminal.py

test-cluster: $(VENV)/ready
	$(VENV)/bin/python -m pytest -rs tests/cluster

benchmarks: $(VENV)/ready
	for name in bake environments push commands bytecode overhead runner search order training data; do $(VENV)/bin/python benchmarks/$$name.py || exit 1; done

# What the demo needs.
$(VENV)/cookiecutter: requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --constraint requirements.txt cookiecutter
	touch $@

# What the tests need: tools, and the packages of a lab, which are those of the labs' environment.
$(VENV)/ready: $(VENV)/cookiecutter {{cookiecutter.project_slug}}/requirements.txt
	$(PIP) --requirement requirements.txt
	$(VENV)/bin/python -m tests.lab_packages
	touch $@
