# `make demo` and `make test` need python3 (3.10 or newer, with venv) and git, nothing else.
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
COMPILE := $(UV) pip compile --quiet --generate-hashes --universal --custom-compile-command 'make locks'
LOCKS := wrapper/nuwrap_runtime/host/locks

.PHONY: demo test lint test-wrapper test-toolkit bench bench-service bench-transfer bench-nuclio bench-build bench-kubernetes build-images docs schemas locks clean

demo: $(VENV)/.run
	@$(PY) examples/demo.py

test: lint docs test-toolkit test-wrapper

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --python-version 3.9 wrapper/nuwrap_runtime

test-toolkit: $(VENV)/.dev .venvs/digitalhub/stamp .venvs/nuclio/stamp
	$(PY) -m pytest -n 3 tests/builder tests/test_*.py

test-wrapper: $(VENV)/.dev
	$(PY) tests/each_python.py

bench: $(VENV)/.dev
	$(PY) benchmarks/run.py --demo

bench-service: $(VENV)/.dev .venvs/bench/stamp
	$(PY) benchmarks/service.py

bench-transfer: $(VENV)/.dev
	$(PY) benchmarks/transfer.py

bench-nuclio: $(VENV)/.dev
	$(PY) benchmarks/nuclio.py

bench-build: $(VENV)/.dev
	$(PY) benchmarks/build.py

bench-kubernetes: $(VENV)/.dev
	$(PY) benchmarks/cluster.py

# PYTHONS="3.10 3.11" REGISTRY=host/team PUSH=1 PULL=1 BASE=mirror/library/python PROCESSOR_IMAGE=image KANIKO_IMAGE=image
build-images: $(VENV)/.run
	@$(PY) images/build.py --pythons "$(PYTHONS)" --registry "$(REGISTRY)" --engine "$(ENGINE)" --base "$(BASE)" \
	    --processor-image "$(PROCESSOR_IMAGE)" --kaniko-image "$(KANIKO_IMAGE)" $(if $(PUSH),--push) $(if $(PULL),--pull)

docs: .venvs/docs/stamp
	.venvs/docs/bin/mkdocs build --strict

schemas: $(VENV)/.dev
	$(PY) docs/schemas/write.py
	$(PY) docs/write_fields.py

$(VENV)/.uv: requirements/uv.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10) and "python3 is %d.%d; 3.10 or newer is needed" % sys.version_info[:2])'
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements/run.txt pyproject.toml wrapper/pyproject.toml
	@$(UV) pip install --quiet --python $(PY) --require-hashes -r requirements/run.txt
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e wrapper -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@$(UV) pip install --quiet --python $(PY) --require-hashes -r requirements/dev.txt
	@touch $@

.venvs/%/stamp: requirements/%.txt $(VENV)/.uv
	@$(UV) venv --quiet --clear --python $(PY) .venvs/$*
	@$(UV) pip install --quiet --python .venvs/$*/bin/python --require-hashes -r requirements/$*.txt
	@touch $@

locks:
	cd requirements && for name in uv run dev bench docs digitalhub; do ../$(COMPILE) --python-version 3.10 --override ../$(LOCKS)/overrides.txt $(UPGRADE) $$name.in -o $$name.txt || exit 1; done
	cd requirements && for name in wrapper nuclio; do ../$(COMPILE) --python-version 3.9 --override ../$(LOCKS)/overrides.txt $(UPGRADE) $$name.in -o $$name.txt || exit 1; done
	cd $(LOCKS) && for name in host sdk abi; do $(CURDIR)/$(UV) pip compile --quiet --generate-hashes --custom-compile-command 'make locks' --python-version 3.9 --override overrides.txt $(UPGRADE) $$name.in -o $$name.lock || exit 1; done

clean:
	rm -rf $(VENV) .venvs .demo .nuwrap build dist .mypy_cache .ruff_cache .pytest_cache
