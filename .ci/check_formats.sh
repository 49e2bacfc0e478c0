#!/usr/bin/env bash
# Opens a scene's splats.ply and splats.spz with an independent program, @playcanvas/splat-transform from npm, and compares
# every value it reads with what our readers read.  It also lets that program write .spz and reads that.
#
# Usage: bash .ci/check_formats.sh SCENE_FOLDER
set -euo pipefail
scene=$(cd "${1:?usage: check_formats.sh SCENE_FOLDER}" && pwd)
cd "$(dirname "$0")/.."

version=2.7.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/scenewise-ci/splat-transform-$version
tool=$cache/node_modules/@playcanvas/splat-transform/bin/cli.mjs
python=${PYTHON_WITH_SCENEWISE:-.venv/bin/python}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "check_formats: node and npm are needed to open the files with an independent program; install Node.js 20 or later" >&2
  exit 1
fi
if [ ! -f "$tool" ]; then
  mkdir -p "$cache"
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$cache" "@playcanvas/splat-transform@$version"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
transform() { node "$tool" --quiet --overwrite "$@"; }

transform "$scene/splats.ply" "$work/from_ply.csv"
transform "$scene/splats.ply" "$work/from_ply.ply"
"$python" .ci/compare_splats.py "$scene/splats.ply" "$work/from_ply.csv"
"$python" .ci/compare_splats.py "$scene/splats.ply" "$work/from_ply.ply"
if [ -f "$scene/splats.spz" ]; then
  transform "$scene/splats.spz" "$work/from_spz.csv"
  "$python" .ci/compare_splats.py "$scene/splats.spz" "$work/from_spz.csv"
fi
transform --spz-version 3 "$scene/splats.ply" "$work/theirs.spz"
transform "$work/theirs.spz" "$work/theirs.csv"
"$python" .ci/compare_splats.py "$work/theirs.spz" "$work/theirs.csv"
echo "check_formats: splat-transform $version and our readers agree on $scene"
