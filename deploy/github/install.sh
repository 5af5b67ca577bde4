#!/usr/bin/env bash
# Installs senderid from this checkout with its pinned dependencies, isolated from the rest of the job.
set -euo pipefail

source_of=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${INPUT_PYTHON:-python3}
place=$RUNNER_TEMP/senderid

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "senderid: Python 3.11 or newer is needed: name one in the input python")'
if [[ ! -x $place/bin/senderid ]]; then
  "$python" -m venv "$place"
  pip=("$place/bin/python" -m pip install --quiet --disable-pip-version-check --require-virtualenv)
  "${pip[@]}" --require-hashes --no-deps -r "$source_of/deploy/docker/build.lock"
  "${pip[@]}" --require-hashes --no-deps -r "$source_of/deploy/docker/runtime.lock"
  "${pip[@]}" --no-deps --no-build-isolation "$source_of"
fi
