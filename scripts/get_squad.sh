#!/usr/bin/env bash
# Downloads SQuAD v2 (Rajpurkar, Jia and Liang 2018, CC BY-SA 4.0; 46 MB) into data/squad.
#
# Usage: scripts/get_squad.sh
# SQUAD_URL names another server with the same files. A second run checks the files that are
# there and continues what was interrupted.
#
# The authors publish no checksums. These are the values that public projects such as ParlAI pin
# for the files at this address.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/fetch_lib.sh

url="${SQUAD_URL:-https://rajpurkar.github.io/SQuAD-explorer/dataset}"
folder=data/squad

without_internet() {
  cat <<TEXT
SQuAD v2 needs internet. Without it:
  - the data set in examples/bert_squad/data has the same format and is part of the repository;
  - or copy train-v2.0.json and dev-v2.0.json by hand into ${PWD}/${folder}
    and run this script again: it then only checks them.
TEXT
}

need_commands
fetch_file "${url}/train-v2.0.json" "${folder}/train-v2.0.json" 42123633 \
  68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002
fetch_file "${url}/dev-v2.0.json" "${folder}/dev-v2.0.json" 4370528 \
  80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8
