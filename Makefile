# make run        sets up and runs all seven notebooks on the phantom; RELEASE=<folder or URL or nih> for other images,
#                 OUT=<folder> to write elsewhere than under runs/, FROM=200 to start later, PARAMS="EPOCHS=5" for notebooks
# make test       sets up and runs all tests
# make test-fast  sets up and runs the tests that are not marked as slow: 75 seconds on 2 cores
# make gpu        adds what TensorFlow needs to use an NVIDIA GPU
# make lab        opens JupyterLab
# make kernel     offers this environment as the kernel "Chest X-ray" in a JupyterLab that is already there
# make format     formats code and notebooks
# make notebooks  runs the committed notebooks as they stand on the phantom and renews their outputs and docs/

PYTHON ?= $(shell command -v python3.11 || command -v python3)
RELEASE ?= phantom
FROM ?= 000
VENV := .venv
BIN := $(VENV)/bin
COMMITTED := $(CURDIR)/runs/notebooks

.PHONY: run test test-fast gpu lab kernel format notebooks

run: $(VENV)/installed
	$(BIN)/cxr run --release "$(RELEASE)" --from $(FROM) $(if $(OUT),--home "$(OUT)") $(PARAMS)

# Files stay together, as many share what took long to prepare, and in order: the last ones are short.
test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not real"

gpu: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[gpu]"

# The classic Notebook, there for the tests, would greet with an advertisement.
lab: $(VENV)/installed
	$(BIN)/jupyter lab --ServerApp.jpserver_extensions='{"nbclassic": False}'

kernel: $(VENV)/installed
	$(BIN)/python -m ipykernel install --user --name cxr --display-name "Chest X-ray"

# Notebook code has shorter lines: nbviewer and GitHub cut off what is longer.
format: $(VENV)/installed
	$(BIN)/ruff check --fix cxr_utils tests benchmarks && $(BIN)/ruff format cxr_utils tests benchmarks
	$(BIN)/ruff check --line-length 88 --fix [0-9]*.ipynb && $(BIN)/ruff format --line-length 88 [0-9]*.ipynb

notebooks: $(VENV)/installed
	rm -rf "$(COMMITTED)"
	CXR_HOME="$(COMMITTED)" CXR_RELEASE=phantom CXR_RANDOM_START=1 $(BIN)/jupyter execute --inplace \
	  --NotebookClient.record_timing=False --NotebookClient.coalesce_streams=True [0-9]*.ipynb
	mkdir -p docs/figs && cp "$(COMMITTED)"/figs/*.png docs/figs/ && cp "$(COMMITTED)"/presentation/slides.html docs/

$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@
