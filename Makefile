# Everything is run from here; `make` alone lists the targets. Each target sees to the environment that it needs.

DATA ?= data/sample
PORT ?= 5000
BPIC2012 ?= ../shared/data/bpic2012
OLIST ?= ../shared/data/olist_funnel
# The first Python that is new enough; `make PYTHON=/path/to/python3` names another.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One word for the shell, whatever is in it; and an option with its value, or nothing where it has none.
quoted = '$(subst ','\'',$(1))'
option = $(if $(2),$(1) $(call quoted,$(2)))
READING := $(call quoted,$(DATA)) $(if $(QUARANTINE),--quarantine) $(call option,--known-until,$(KNOWN_UNTIL))

export MLFLOW_DISABLE_TELEMETRY := true
# MLflow looks for its server programs on the path.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo sample train rank evaluate recalibrate tune promote rollback ingest score serve keys mlflow bpic2012 olist test test-fast test-slow check bench-features bench-scale bench-outcome bench-honesty bench-drift bench-reasons bench-api clean

help: ## list the targets
	@echo "make <target>, where a target is one of"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18
	@echo "and may be followed by"
	@echo "  DATA=<folder>       the data set (default $(DATA)), or DATA=store for what the database holds;"
	@echo "                      QUARANTINE=1 sets bad rows of a folder aside;"
	@echo "  WHOLE=1             for ingest: DATA is an export of everything, so take out what it has not;"
	@echo "                      CONFIRM=1 where that is more than 5 % of a table;"
	@echo "  KNOWN_UNTIL=<time>  end of its recorded history, where its funnel.toml does not say it;"
	@echo "  MINUTES=<n>         and TRIALS=<n> for tune (default 30 minutes);"
	@echo "  VERSION=<n>         for promote; FORCE=<reason> puts it in service though the gate holds it back;"
	@echo "  CREATE=<scopes>     for keys, with NOTE=<whose>; or REVOKE=<id>;"
	@echo "  OUT=<file>.csv or .parquet and AS_OF=<time> for rank; AS_OF and KEEP_DAYS=<n> for score; REPORT=<file>.html for train; PORT=<n> for mlflow;"
	@echo "  BPIC2012=<folder>   with the log, for bpic2012 and bench-outcome (default $(BPIC2012));"
	@echo "  OLIST=<folder>      with the tables, for olist (default $(OLIST));"
	@echo "  PYTHON=<program>    to make .venv with; ARGS='...' for pytest"

demo: .venv/.installed ## sample if it is missing, train, rank: ends with the top leads
	@test -e $(call quoted,$(DATA)/funnel.toml) || test $(call quoted,$(DATA)) != data/sample || $(MAKE) --no-print-directory sample
	$(PY) pipelines/train.py $(READING)
	$(PY) pipelines/rank.py $(READING)

sample: .venv/.installed ## write data/sample again, byte for byte
	$(PY) pipelines/simulate.py data/sample

train: .venv/.installed ## learn from DATA; write a report, log the run, register the model as a candidate
	$(PY) pipelines/train.py $(READING) $(call option,--report,$(REPORT))

rank: .venv/.installed ## every open lead of DATA, likeliest first, to ranked/ or OUT
	$(PY) pipelines/rank.py $(READING) $(call option,--out,$(OUT)) $(call option,--as-of,$(AS_OF))

evaluate: .venv/.installed ## judge the recipe on later time of DATA; ends with a line of JSON
	$(PY) pipelines/evaluate.py $(READING)

recalibrate: .venv/.installed ## fit the champion's calibration anew on recent outcomes; register a candidate
	$(PY) pipelines/recalibrate.py $(READING)

tune: .venv/.installed ## search settings inside the training time of DATA for MINUTES or TRIALS; go on where it stopped
	$(PY) pipelines/tune.py $(READING) $(call option,--minutes,$(MINUTES)) $(call option,--trials,$(TRIALS))

promote: .venv/.installed ## hold the newest version, or VERSION, against the champion on DATA; put it in service
	$(PY) pipelines/promote.py $(READING) $(call option,--version,$(VERSION)) $(call option,--force,$(FORCE))

rollback: .venv/.installed ## make the former champion the champion again
	$(PY) pipelines/rollback.py

ingest: .venv/.installed ## store DATA in the database; a second time changes nothing
	$(PY) pipelines/ingest.py $(READING) $(if $(WHOLE),--whole) $(if $(CONFIRM),--confirm)

score: .venv/.installed ## score every open lead in the database, and publish the list
	$(PY) pipelines/score.py $(call option,--as-of,$(AS_OF)) $(call option,--keep-days,$(KEEP_DAYS))

serve: .venv/.installed ## answer the CRM over HTTP; settings are variables that begin with LEADSCORE_
	$(PY) pipelines/serve.py

keys: .venv/.installed ## list the keys of the API, or CREATE=<scopes> NOTE=<whose>, or REVOKE=<id>
	$(PY) pipelines/keys.py $(if $(CREATE),--create $(call quoted,$(CREATE)) --note $(call quoted,$(NOTE))) $(call option,--revoke,$(REVOKE))

mlflow: .venv/.installed ## MLflow's own pages on http://127.0.0.1:PORT
	@mkdir -p models
	$(PY) -m mlflow ui --backend-store-uri $(call quoted,$(or $(MLFLOW_TRACKING_URI),sqlite:///$(CURDIR)/models/mlflow.db)) \
		--host 127.0.0.1 --port $(call quoted,$(PORT)) --workers 1

bpic2012: .venv/.installed ## BPI Challenge 2012 in folder BPIC2012: prepare, train, judge
	$(PY) data/bpic2012/prepare.py $(call quoted,$(BPIC2012)) build/bpic2012
	$(PY) -m benchmarks.bench_bpic2012 build/bpic2012

olist: .venv/.installed ## Olist's marketing funnel in folder OLIST: prepare, train, judge
	$(PY) data/olist/prepare.py $(call quoted,$(OLIST)) build/olist
	$(PY) -m benchmarks.bench_olist build/olist

# Dozens of processes would each compile the whole package.
test test-fast test-slow: export PYTHONDONTWRITEBYTECODE :=

test: .venv/.dev ## every test that does not take minutes
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

test-fast: .venv/.dev ## within a minute: no MLflow, no service, no PostgreSQL, no processes, no long fitting
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow and not integration" $(ARGS)

test-slow: .venv/.dev ## the tests that take minutes
	$(PY) -m pytest -n 2 -m slow $(ARGS)

check: .venv/.dev ## style, format, types, and who may import whom
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports

bench-features: .venv/.dev ## features against Polars, DuckDB and pandas
	$(PY) -m benchmarks.bench_features

bench-scale: .venv/.dev ## a million leads, from reading to ranking
	$(PY) -m benchmarks.bench_scale

bench-outcome: .venv/.dev ## the published protocol for the log in folder BPIC2012
	$(PY) -m benchmarks.bench_outcome $(call quoted,$(BPIC2012))

bench-honesty: .venv/.dev ## whether "no signal" and "leak?" are said when they are true, for 20 companies
	$(PY) -m benchmarks.bench_honesty

bench-drift: .venv/.dev ## what is said and what the gate does when the world moves, in 360 companies, and BANK=<folder>'s months; goes on where it stopped
	$(PY) -m benchmarks.bench_drift $(call option,--bank,$(BANK))

bench-reasons: .venv/.dev ## the reasons for a page of 50 leads
	$(PY) -m benchmarks.bench_reasons

bench-api: .venv/.dev ## the service under load against a bare endpoint and MLflow's, and a batch of a million leads
	$(PY) -m benchmarks.bench_api

clean: ## remove environment, caches and build; data, models and ranked lists stay
	rm -rf .venv build dist .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find src tests pipelines benchmarks data -name __pycache__ -prune -exec rm -rf {} +

$(PY):
	@test -n $(call quoted,$(PYTHON)) || { echo "no Python >= 3.11 found; install one, or name it: make PYTHON=<program>" >&2; exit 1; }
	$(call quoted,$(PYTHON)) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.installed: pyproject.toml constraints.txt | $(PY)
	$(INSTALL) --editable .
	@$(PY) -c 'import lightgbm' || { echo "LightGBM cannot be loaded: where libgomp is missing, apt-get install libgomp1" >&2; exit 1; }
	@touch $@

.venv/.dev: .venv/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@
