"""Writes a C++ file that compiles several sources of a test program at once.

Usage: join_sources.py OUTPUT SOURCE...

The compiler spends ten seconds at the end of each file that includes LibTorch's headers; of a joined
file it spends them once. Each source is included in a namespace of its own, so that names can't
clash; before them all come their #include lines, whose headers are then done at global scope.
"""

import pathlib
import re
import sys


def includes(source):
    for line in re.findall(r"^#include .*$", source.read_text(), re.MULTILINE):
        beside = source.parent / line.split()[1].strip('"')
        yield f'#include "{beside}"' if beside.is_file() else line


def joined(sources):
    lines = ["// Written by join_sources.py."]
    for source in sources:
        lines += includes(source)
    lines = list(dict.fromkeys(lines))
    for number, source in enumerate(sources):
        lines += [f"namespace source_{number} {{", f'#include "{source}"', "}"]
    return "\n".join(lines) + "\n"


def main(output, *sources):
    text = joined([pathlib.Path(source) for source in sources])
    file = pathlib.Path(output)
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
