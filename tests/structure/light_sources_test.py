"""A source that reaches no header of LibTorch is compiled without LibTorch's precompiled header, in
two seconds instead of thirteen: it stands under LIGHT or lightning_light_sources()."""

import functools
import json
import pathlib
import re

from support import ROOT, build_dir

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
TORCH = ("torch/", "ATen/", "c10/")


@functools.cache
def includes(file: pathlib.Path) -> list[str]:
    return INCLUDE.findall(file.read_text(encoding="utf-8"))


def resolve(name: str, file: pathlib.Path) -> pathlib.Path | None:
    """The project's file that an #include line of `file` means."""
    folders = (file.parent, ROOT, ROOT / "tests")
    found = (folder / name for folder in folders if (folder / name).is_file())
    return next(found, None)


def reaches_torch(source: pathlib.Path) -> bool:
    seen, left = set(), [source]
    while left:
        file = left.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in includes(file):
            if name.startswith(TORCH):
                return True
            found = resolve(name, file)
            if found is not None:
                left.append(found.resolve())
    return False


def test_only_sources_with_torch_have_its_precompiled_header():
    commands = json.loads((pathlib.Path(build_dir()) / "compile_commands.json").read_text())
    sources = {pathlib.Path(entry["file"]) for entry in commands if "cmake_pch.hxx" in entry["command"]
               and not entry["file"].endswith(("cmake_pch.hxx.cxx", "cmake/pch.cpp"))}
    assert sources
    # Joined sources are written when their program is built.
    wasteful = [str(source) for source in sorted(sources)
                if source.exists() and not reaches_torch(source)]
    assert not wasteful
