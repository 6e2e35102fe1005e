# Two commands: `make sim` (set up, then the main job) and `make test` (set up, then everything that checks).
# The set-up is scripts/bootstrap.py; it stamps each step, so a second call starts in seconds.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# A hung ROS call survives SIGTERM: every long command has a hard end.
LIMIT ?= 2400
HARD := timeout -k 20 $(LIMIT)

# The same answer in every shell: nothing of another Python or ROS leaks in.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH CMAKE_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE

.DEFAULT_GOAL := help
.PHONY: help setup sim test lint pytest colcon-test faults clean

help:
	@echo 'make sim     set up, then fine-tune a quadrotor over ROS 2: table, curve and animation in runs/'
	@echo 'make test    set up, then style, types, all tests'
	@echo 'make faults  set up, then break everything that docs/faults.md promises to survive, N=3 times'
	@echo 'make setup   only set up .venv'
	@echo 'make lint    style and types'
	@echo 'make clean   remove .venv and build outputs; runs/ stays'

setup:
	@command -v $(PYTHON) >/dev/null || { echo 'setup: $(PYTHON) is missing: install Python 3.11, or name one: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) scripts/bootstrap.py

# exec: make's shell is replaced, so Ctrl-C reaches the job once and its exit code is ours.
sim: setup
	@exec $(BIN)/deepilc sim $(ARGS)

test: lint pytest colcon-test

lint: setup
	$(BIN)/ruff check .
	$(HARD) $(BIN)/mypy

# Tests with nodes run one after the other: they want the machine for themselves. What a busy machine makes
# late is tried once more; the last line counts it ("1 rerun"), and RERUNS=0 forbids it.
RERUNS ?= 1
pytest: setup
	$(HARD) $(BIN)/pytest -n 2 -m 'not ros' $(ARGS)
	$(HARD) $(BIN)/pytest -m ros --reruns $(RERUNS) $(ARGS)

# Only the tests of the ten promises, each random point N times; a table of faults ends either part.
N ?= 3
faults: setup
	$(HARD) $(BIN)/pytest -n 2 -m 'promise and not ros' --faults $(N) $(ARGS)
	$(HARD) $(BIN)/pytest -m 'promise and ros' --faults $(N) $(ARGS)

colcon-test: setup
	$(HARD) $(BIN)/python scripts/colcon_test.py

clean:
	rm -rf $(VENV) build dist *.egg-info ros2_ws/build ros2_ws/install ros2_ws/log ros2_ws/src/*/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache
