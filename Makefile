# make run        sets up and runs all seven notebooks on the phantom; RELEASE=<folder or URL or nih> for other images,
#                 OUT=<folder> to write elsewhere than under runs/, FROM=200 to start later, PARAMS="EPOCHS=5" for notebooks
# make test       sets up and runs the tests, but for the longest ones: CXR_TEST_ALL=1, which CI sets, adds them
# make test-fast  sets up and runs the tests that are not marked as slow
# make gpu        adds the CUDA libraries that TensorFlow and JAX need for an NVIDIA GPU
# make lab        opens JupyterLab
# make kernel     offers this environment as the kernel "Chest X-ray" in a JupyterLab that is already there
# make format     formats code and notebooks
# make lock       writes the current versions of all packages to requirements.lock; LOCKED=1 installs them
# make notebooks  runs the committed notebooks as they stand on the phantom and renews their outputs and docs/

RELEASE ?= phantom
FROM ?= 000
VENV := .venv
BIN := $(VENV)/bin
# An environment with the versions of the lock file stays as it is.
INSTALLED := $(VENV)/installed$(if $(LOCKED)$(wildcard $(VENV)/installed-locked),-locked)
COMMITTED := $(CURDIR)/runs/notebooks

export LOCKED
# Cloud notebooks set these variables for a Python of their own.
unexport PYTHONPATH PYTHONHOME MPLBACKEND

.PHONY: run test test-fast gpu lab kernel format lock notebooks

run: $(INSTALLED)
	$(BIN)/cxr run --release "$(RELEASE)" --from $(FROM) $(if $(OUT),--home "$(OUT)") $(PARAMS)

# Files stay together, as many share what took long to prepare, and in order: the last ones are short.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not real"

gpu:
	sh set_up.sh gpu

# The classic Notebook, there for the tests, would greet with an advertisement.
lab: $(INSTALLED)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.jpserver_extensions='{"nbclassic": False}'

# The Jupyter server that starts the kernel may have set these variables for a Python of its own.
kernel: $(INSTALLED)
	$(BIN)/python -m ipykernel install --user --name cxr --display-name "Chest X-ray" \
	  --env PYTHONPATH "" --env MPLBACKEND "module://matplotlib_inline.backend_inline"
	@echo 'The kernel "Chest X-ray" starts the environment in $(CURDIR), in place of that of any other clone.'

# Notebook code has shorter lines: nbviewer and GitHub cut off what is longer.
format: $(INSTALLED)
	$(BIN)/ruff check --fix cxr_utils tests benchmarks && $(BIN)/ruff format cxr_utils tests benchmarks
	$(BIN)/ruff check --line-length 88 --fix [0-9]*.ipynb && $(BIN)/ruff format --line-length 88 [0-9]*.ipynb

notebooks: $(INSTALLED)
	rm -rf "$(COMMITTED)"
	CXR_HOME="$(COMMITTED)" CXR_RELEASE=phantom CXR_RANDOM_START=1 CXR_ALLOW_CPU=1 $(BIN)/jupyter execute --inplace \
	  --NotebookClient.record_timing=False --NotebookClient.coalesce_streams=True [0-9]*.ipynb
	mkdir -p docs/figs && cp "$(COMMITTED)"/figs/*.png docs/figs/ && cp "$(COMMITTED)"/presentation/slides.html docs/

lock: $(INSTALLED)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --upgrade \
	  --custom-compile-command "make lock" --extra test --extra gpu pyproject.toml --output-file requirements.lock

$(INSTALLED): pyproject.toml requirements.txt $(if $(LOCKED),requirements.lock)
	sh set_up.sh
