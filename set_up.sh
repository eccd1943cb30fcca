#!/bin/sh
# Sets up the environment .venv in this folder, as make does:
#
#   sh set_up.sh                    what the notebooks and the tests need
#   sh set_up.sh gpu                also the CUDA libraries of both backends, for an NVIDIA GPU
#   LOCKED=1 sh set_up.sh [gpu]     the versions of requirements.lock
#
# It takes uv if that is installed, else pip. The Python of the system, and the packages in it, stay as they are.
set -eu
cd "$(dirname "$0")"
# Cloud notebooks and clusters set these variables for a Python of their own.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
# setuptools warns of every editable installation.
export PYTHONWARNINGS=ignore

python=${PYTHON:-}
for name in python3 python3.13 python3.12 python3.11; do
  [ -n "$python" ] || ! "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null ||
    python=$(command -v "$name")
done
uv=$(command -v uv || true)
if [ -z "$python$uv" ]; then
  echo "set_up.sh: no Python 3.11, 3.12 or 3.13 found: install one, or uv, which brings its own." >&2
  exit 1
fi

# Once the libraries for a GPU are there, they stay.
extras=test
if [ "${1:-}" = gpu ] || grep -qs gpu .venv/installed*; then extras=test,gpu; fi
set -- ${LOCKED:+--constraint requirements.lock} --editable ".[$extras]"
rm -f .venv/installed*
echo "Setting up .venv with ${uv:-pip}, which takes minutes the first time"
if [ -n "$uv" ]; then
  # uv does not read pip's configuration, where a company names its own package index.
  index=${PIP_INDEX_URL:-$("${python:-false}" -m pip config get global.index-url 2>/dev/null || true)}
  [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
  "$uv" venv --quiet --seed --allow-existing --python "${python:->=3.11,<3.14}" .venv
  "$uv" pip install --quiet --python .venv/bin/python "$@"
else
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv .venv
  elif ! { "$python" -m venv --without-pip .venv && "$python" -m pip --python .venv/bin/python install --quiet pip; }; then
    echo "set_up.sh: $python has neither ensurepip nor a pip of version 22.3 or newer: install uv, or Debian's python3-venv." >&2
    exit 1
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
fi
echo "$extras" >".venv/installed${LOCKED:+-locked}"
