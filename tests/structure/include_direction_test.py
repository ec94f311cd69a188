"""Checks who includes whom below lightning/, by the table of rooms in docs/design.md.

The table names every room, and only rooms that exist. Includes between rooms point down only,
headers form no cycle, public headers are free of third-party libraries and of heavy torch headers.
Public are the headers outside detail/ of rooms that aren't internal: each room's CMakeLists.txt
lists exactly these in its file set, so they are what gets installed.
"""

import pathlib
import re

import pytest
from support import ROOT

MAX_PUBLIC_HEADERS = 122

THIRD_PARTY = re.compile(r"(fmt/|spdlog/|yaml-cpp/|nlohmann/|nccl|gloo/|zlib\.h|catch2/)")
# Each costs every user about ten seconds of compile time per file.
HEAVY_TORCH = {
    "torch/torch.h": {"lightning/lightning.h"},
    "torch/all.h": set(),
    "torch/types.h": set(),
    "torch/nn.h": set(),
    "torch/extension.h": set(),
    "torch/nn/module.h": {"lightning/core/lightning_module.h"},
}
# Gloo's headers come from another place than LibTorch's binary: what of them is used is in one file,
# and classes with virtual functions (GlooStore) are made by the library only.
GLOO = "torch/csrc/distributed/c10d/ProcessGroupGloo.hpp"
GLOO_FILE = "lightning/collectives/detail/gloo.cpp"
# What formats and logs stays behind util's format.h and log.h. Public headers don't mention spdlog but
# for one, which programs include to add a sink: it includes nothing of spdlog.
ONLY_IN = [(re.compile("fmt/"), {"lightning/util/format.cpp"}),
           (re.compile("spdlog/"), {"lightning/util/log.cpp"})]
SPDLOG_HEADER = "lightning/util/spdlog_sink.h"
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


ROW = re.compile(r"^\| (\d+) \| `(\w+)`( \(internal\))? \|", re.MULTILINE)


class Rooms:
    """The table of docs/design.md: the line of each room, and which rooms are internal."""

    def __init__(self, root: pathlib.Path):
        rows = ROW.findall((root / "docs/design.md").read_text(encoding="utf-8"))
        self.line_of = {room: int(line) for line, room, _ in rows}
        self.internal = {room for _, room, internal in rows if internal}

    def is_public(self, path: str) -> bool:
        return (path.endswith(".h") and "/detail/" not in path
                and room_of(path) not in self.internal)


def room_of(path: str) -> str:
    """`lightning/util/error.h` -> `util`; the umbrella header is in no room."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def check_include(rooms: Rooms, path: str, quote: str, target: str) -> str:
    if quote == '"':
        return f'includes "{target}", expected <lightning/room/file.h>'
    if rooms.is_public(path) and THIRD_PARTY.match(target):
        return f"is a public header and includes <{target}>"
    if path.endswith(".h") and path not in HEAVY_TORCH.get(target, {path}):
        return f"is a header and includes <{target}>; a lighter header or the .cpp should do"
    if target == GLOO and path != GLOO_FILE:
        return f"includes <{target}>, which is for {GLOO_FILE} alone"
    for pattern, files in ONLY_IN:
        if pattern.match(target) and path not in files:
            return f"includes <{target}>, which is for {' and '.join(files)} alone"
    if not target.startswith("lightning/"):
        return ""
    if rooms.is_public(path) and "/detail/" in target:
        return f"is a public header and includes the internal <{target}>"
    room, target_room = room_of(path), room_of(target)
    if not room or room == target_room:
        return ""
    if not target_room:
        return f"includes the umbrella header <{target}>"
    if target_room not in rooms.line_of:
        return f"includes <{target}>, which is in no known room"
    if rooms.line_of[target_room] >= rooms.line_of[room]:
        return f"is in {room} and includes <{target}>, which is not below it"
    return ""


def find_cycle(graph: dict) -> list:
    """One cycle of a graph {node: [nodes]} as a list of nodes, else an empty list."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return []
        path.append(node)
        for target in graph.get(node, []):
            cycle = visit(target)
            if cycle:
                return cycle
        path.pop()
        done.add(node)
        return []

    for node in graph:
        cycle = visit(node)
        if cycle:
            return cycle
    return []


def file_set_faults(root: pathlib.Path, room: str, public: list) -> list:
    """Compares the public headers of a room with the file set in its CMakeLists.txt."""
    text = (root / "lightning" / room / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"FILE_SET HEADERS[^\n]*FILES\n((?:\s+[\w/-]+\.h\n)*)", text)
    listed = set(listed.group(1).split()) if listed else set()
    public = {path.split("/", 2)[2] for path in public}
    return ([f"lightning/{room}/CMakeLists.txt lists {name}, which is not a public header"
             for name in sorted(listed - public)]
            + [f"lightning/{room}/{name} is a public header that no file set lists"
               for name in sorted(public - listed)])


def violations(root: pathlib.Path) -> list:
    rooms = Rooms(root)
    found, headers = [], {}
    folders = {folder.name for folder in (root / "lightning").iterdir() if folder.is_dir()}
    found += [f"docs/design.md has a room {room}, but lightning/{room} doesn't exist"
              for room in sorted(rooms.line_of.keys() - folders)]
    for file in sorted((root / "lightning").rglob("*")):
        if file.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        path = file.relative_to(root).as_posix()
        if room_of(path) not in rooms.line_of and path != "lightning/lightning.h":
            found.append(f"{path} is in no known room")
            continue
        text = file.read_text(encoding="utf-8")
        if "GlooStore" in text:
            found.append(f"{path} names GlooStore, whose layout is LibTorch's own")
        if "spdlog::" in text and rooms.is_public(path) and path != SPDLOG_HEADER:
            found.append(f"{path} is a public header and names spdlog, which is for {SPDLOG_HEADER} alone")
        includes = INCLUDE.findall(text)
        found += [f"{path} {fault}"
                  for fault in (check_include(rooms, path, *i) for i in includes) if fault]
        for _, target in includes:
            if target.startswith("lightning/") and not (root / target).is_file():
                found.append(f"{path} includes <{target}>, which doesn't exist")
        if file.suffix == ".h":
            headers[path] = [target for _, target in includes]
    public = [path for path in headers if rooms.is_public(path)]
    for room in sorted(rooms.line_of.keys() & folders):
        found += file_set_faults(root, room, [path for path in public if room_of(path) == room])
    if len(public) > MAX_PUBLIC_HEADERS:
        found.append(f"{len(public)} public headers, expected at most {MAX_PUBLIC_HEADERS}")
    cycle = find_cycle(headers)
    if cycle:
        found.append("headers include one another: " + " -> ".join(cycle))
    return found


# Each plants one violation into a tree that is clean without it.
PLANTED = [
    ("lightning/util/a.h", "#include <lightning/core/b.h>", "not below it"),
    ("lightning/util/a.cpp", "#include <lightning/trainer/c.h>", "not below it"),
    ("lightning/ops/a.h", "#include <lightning/core/b.h>", "not below it"),
    ("lightning/trainer/a.h", "#include <spdlog/spdlog.h>", "is a public header"),
    ("lightning/trainer/a.h", "#  include <nlohmann/json.hpp>", "is a public header"),
    ("lightning/trainer/a.h", "#include <lightning/core/detail/d.h>", "internal"),
    ("lightning/trainer/a.h", "#include <torch/torch.h>", "lighter header"),
    ("lightning/trainer/detail/a.h", "#include <torch/torch.h>", "lighter header"),
    ("lightning/trainer/a.cpp", '#include "c.h"', "expected <lightning/room/file.h>"),
    ("lightning/trainer/a.cpp", "#include <lightning/core/none.h>", "doesn't exist"),
    ("lightning/collectives/a.cpp", f"#include <{GLOO}>", "alone"),
    ("lightning/trainer/a.cpp", "#include <fmt/format.h>", "alone"),
    ("lightning/trainer/a.cpp", "#include <spdlog/logger.h>", "alone"),
    ("lightning/trainer/a.h", "namespace spdlog::sinks { class sink; }", "names spdlog"),
    (GLOO_FILE, "c10d::ProcessGroupGloo::GlooStore store;", "GlooStore"),
    ("lightning/kitchen/a.cpp", "", "no known room"),
    ("lightning/trainer/a.h", "", "no file set lists"),
    ("lightning/core/CMakeLists.txt", "", "no file set lists"),
    ("lightning/util/CMakeLists.txt", "FILE_SET HEADERS FILES\n  a.h", "not a public header"),
    ("docs/design.md", "| 1 | `util` | |\n| 2 | `none` | |", "but lightning/none doesn't exist"),
    ("lightning/core/b.h", "#include <lightning/core/b.h>", "include one another"),
]
CLEAN = {
    "docs/design.md": "| 1 | `util` | |\n| 2 | `collectives` | |\n| 2 | `core` | |\n"
    "| 2 | `ops` | |\n| 3 | `launch` (internal) | |\n| 4 | `trainer` | |\n",
    "lightning/collectives/CMakeLists.txt": "\n",
    "lightning/core/CMakeLists.txt": "PUBLIC FILE_SET HEADERS BASE_DIRS X FILES\n  b.h\n",
    "lightning/core/b.h": "#include <vector>\n",
    "lightning/core/detail/d.h": "#include <nlohmann/json.hpp>\n",
    "lightning/launch/CMakeLists.txt": "\n",
    "lightning/launch/e.h": "#include <lightning/core/detail/d.h>\n",
    "lightning/ops/CMakeLists.txt": "\n",
    "lightning/trainer/CMakeLists.txt": "PUBLIC FILE_SET HEADERS BASE_DIRS X FILES\n  c.h\n",
    "lightning/trainer/c.h": "#include <lightning/core/b.h>\n",
    "lightning/trainer/c.cpp": "#include <torch/torch.h>\n#include <zlib.h>\n"
    "#include <lightning/core/detail/d.h>\n",
    "lightning/util/CMakeLists.txt": "\n",
    "lightning/lightning.h": "#include <torch/torch.h>\n#include <lightning/trainer/c.h>\n",
}


def violations_of(root: pathlib.Path, files: dict) -> list:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return violations(root)


def test_a_clean_tree(tmp_path):
    assert violations_of(tmp_path, CLEAN) == []


@pytest.mark.parametrize(("path", "line", "expected"), PLANTED)
def test_a_violation_is_found(path, line, expected, tmp_path):
    found = violations_of(tmp_path, {**CLEAN, path: line + "\n"})
    assert any(expected in text for text in found), found


def test_this_tree():
    found = violations(ROOT)
    assert not found, "\n" + "\n".join(found)
