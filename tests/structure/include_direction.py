"""Checks who includes whom below lightning/.

Includes between rooms point down only, headers form no cycle, public headers are free of
third-party libraries and of heavy torch headers. Headers in a folder named detail are internal:
they are not installed, so no public header may need one.

Usage: include_direction.py [ROOT]. Without ROOT also checks itself against planted violations.
"""

import pathlib
import re
import sys
import tempfile

# Lowest first. Rooms on one line are neighbours that know nothing of one another.
LEVELS = [
    ["util"],
    ["config"],
    ["data", "optim", "ops", "cluster", "accelerators", "checkpoint", "loggers", "metrics"],
    ["launch", "core"],
    ["control", "precision", "callbacks", "profilers"],
    ["collectives"],
    ["distributed", "nn", "cuda"],
    ["strategies"],
    ["run"],
    ["loops"],
    ["trainer", "fabric"],
    ["tuner"],
    ["cli"],
]
# Install nothing: all of their headers are the library's own.
INTERNAL = {"launch", "loops", "cuda"}
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

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
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path: str) -> str:
    """`lightning/util/error.h` -> `util`; the umbrella header is in no room."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def is_public(path: str) -> bool:
    return path.endswith(".h") and "/detail/" not in path and room_of(path) not in INTERNAL


def check_include(path: str, quote: str, target: str) -> str:
    if quote == '"':
        return f'includes "{target}", expected <lightning/room/file.h>'
    if is_public(path) and THIRD_PARTY.match(target):
        return f"is a public header and includes <{target}>"
    if path.endswith(".h") and path not in HEAVY_TORCH.get(target, {path}):
        return f"is a header and includes <{target}>; a lighter header or the .cpp should do"
    if target == GLOO and path != GLOO_FILE:
        return f"includes <{target}>, which is for {GLOO_FILE} alone"
    if not target.startswith("lightning/"):
        return ""
    if is_public(path) and "/detail/" in target:
        return f"is a public header and includes the internal <{target}>"
    room, target_room = room_of(path), room_of(target)
    if not room or room == target_room:
        return ""
    if not target_room:
        return f"includes the umbrella header <{target}>"
    if target_room not in LEVEL_OF:
        return f"includes <{target}>, which is in no known room"
    if LEVEL_OF[target_room] >= LEVEL_OF[room]:
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


def violations(root: pathlib.Path) -> list:
    found, headers = [], {}
    for file in sorted((root / "lightning").rglob("*")):
        if file.suffix not in (".h", ".cpp", ".cu", ".cuh"):
            continue
        path = file.relative_to(root).as_posix()
        if room_of(path) not in LEVEL_OF and path != "lightning/lightning.h":
            found.append(f"{path} is in no known room")
            continue
        text = file.read_text(encoding="utf-8")
        if "GlooStore" in text:
            found.append(f"{path} names GlooStore, whose layout is LibTorch's own")
        includes = INCLUDE.findall(text)
        found += [f"{path} {fault}" for fault in (check_include(path, *i) for i in includes) if fault]
        for _, target in includes:
            if target.startswith("lightning/") and not (root / target).is_file():
                found.append(f"{path} includes <{target}>, which doesn't exist")
        if file.suffix == ".h":
            headers[path] = [target for _, target in includes]
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
    ("lightning/distributed/a.cpp", f"#include <{GLOO}>", "alone"),
    (GLOO_FILE, "c10d::ProcessGroupGloo::GlooStore store;", "GlooStore"),
    ("lightning/kitchen/a.cpp", "", "no known room"),
    ("lightning/core/b.h", "#include <lightning/core/b.h>", "include one another"),
]
CLEAN = {
    "lightning/core/b.h": "#include <vector>\n",
    "lightning/core/detail/d.h": "#include <nlohmann/json.hpp>\n",
    "lightning/trainer/c.h": "#include <lightning/core/b.h>\n",
    "lightning/trainer/c.cpp": "#include <torch/torch.h>\n#include <fmt/format.h>\n"
    "#include <lightning/core/detail/d.h>\n",
    "lightning/lightning.h": "#include <torch/torch.h>\n#include <lightning/trainer/c.h>\n",
}


def violations_of(files: dict) -> list:
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return violations(root)


def check_itself() -> list:
    found = [f"self-check: clean tree: {text}" for text in violations_of(CLEAN)]
    for path, line, expected in PLANTED:
        texts = violations_of({**CLEAN, path: line + "\n"})
        if not any(expected in text for text in texts):
            found.append(f"self-check: `{line}` in {path} was not found, only {texts}")
    return found


def main() -> int:
    if len(sys.argv) > 1:
        found = violations(pathlib.Path(sys.argv[1]))
    else:
        found = check_itself() + violations(pathlib.Path(__file__).resolve().parents[2])
    print("\n".join(found) or "no violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
