# make run        sets up and runs all seven notebooks on the phantom; RELEASE=<folder or URL or nih> for other films,
#                 OUT=<folder> to write elsewhere than under runs/, FROM=200 to start later, PARAMS="EPOCHS=5" for notebooks
# make test       sets up and passes the tests
# make gpu        adds what TensorFlow needs to use an NVIDIA GPU
# make lab        opens JupyterLab
# make kernel     offers this environment as the kernel "Chest X-ray" in a JupyterLab that is already there
# make notebooks  runs the committed notebooks as they stand on the phantom and renews their outputs and docs/

PYTHON ?= $(shell command -v python3.11 || command -v python3)
RELEASE ?= phantom
FROM ?= 000
VENV := .venv
BIN := $(VENV)/bin
SHOWN := $(CURDIR)/runs/notebooks

.PHONY: run test gpu lab kernel notebooks

run: $(VENV)/installed
	$(BIN)/python -m cxr_utils.run --release "$(RELEASE)" --from $(FROM) $(if $(OUT),--home "$(OUT)") $(PARAMS)

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

gpu: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check "tensorflow[and-cuda]>=2.21,<2.22"

# The classic Notebook, there for the tests, would greet with an advertisement.
lab: $(VENV)/installed
	$(BIN)/jupyter lab --ServerApp.jpserver_extensions='{"nbclassic": False}'

kernel: $(VENV)/installed
	$(BIN)/python -m ipykernel install --user --name cxr --display-name "Chest X-ray"

notebooks: $(VENV)/installed
	rm -rf "$(SHOWN)"
	CXR_HOME="$(SHOWN)" CXR_RELEASE=phantom CXR_RANDOM_START=1 $(BIN)/jupyter execute --inplace \
	  --NotebookClient.record_timing=False --NotebookClient.coalesce_streams=True [0-9]*.ipynb
	mkdir -p docs/figs && cp "$(SHOWN)"/figs/*.png docs/figs/ && cp "$(SHOWN)"/presentation/slides.html docs/

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@
