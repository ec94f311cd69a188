#!/usr/bin/env python3
"""Every config key of the examples, and every init_arg of the classes they may name, with its type:
what --help of `fit` lists. Writes config_keys.txt anew:

    tests/golden/record_config_keys.py [BIN_DIR]     # default: build/release/bin
"""

import pathlib
import re
import subprocess
import sys

GOLDEN = pathlib.Path(__file__).with_name("config_keys.txt")
PROGRAMS = ("sample_li", "bert_squad")


def rows(lines):
    """Rows of a table of --help: a cell that is too wide pushes the rest to the next line."""
    joined = []
    for line in lines:
        if line.startswith(" " * 8):
            joined[-1] += "  " + line.strip()
        else:
            joined.append(line)
    return joined


def listed(help_text):
    """The lines of the golden file for one program's --help."""
    found = []
    for block in help_text.split("\n\n"):
        title, *lines = block.splitlines()
        if not re.match(r"Keys |Classes for ", title):
            continue
        if title.startswith("Classes"):
            found.append(title[:title.index(" (")])
        for row in rows(line for line in lines if not line.startswith("  (")):
            indent = row[:len(row) - len(row.lstrip())]
            if title.startswith("Classes") and indent == "  ":
                found.append(indent + row.strip().partition(": ")[0])
            else:
                key, kind = re.split(r" {2,}", row.strip())[:2]
                found.append(f"{indent}{key.removeprefix('--')}: {kind}")
    return found


def current(bin_dir):
    """What config_keys.txt should be."""
    parts = []
    for name in PROGRAMS:
        result = subprocess.run([bin_dir / name, "fit", "--help"], capture_output=True, text=True,
                                check=True)
        parts.append("\n".join([f"{name} fit", *listed(result.stdout)]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parents[2]
    GOLDEN.write_text(current(pathlib.Path((sys.argv[1:] or [root / "build/release/bin"])[0])))
