"""A user's program builds and runs against the library, in each of the two ways users have:
find_package(lightning) of an installed library, and add_subdirectory() of this repository."""

import os
import re

import support
from support import ROOT

CONSUMER = ROOT / "tests/package/consumer"
# Handed on, so that the user's build can take the precompiled header of this one and finds the
# library's object files in ccache.
SETTINGS = ("CMAKE_BUILD_TYPE", "CMAKE_CXX_COMPILER", "LIGHTNING_WERROR", "LIGHTNING_SANITIZE",
            "Torch_DIR")


def run(*command):
    return support.run(*command, timeout=1800).text


def build_and_run(folder, *options):
    cache = support.cmake_cache()
    settings = [f"-D{name}={cache[name]}" for name in SETTINGS if cache.get(name)]
    run("cmake", "-S", CONSUMER, "-B", folder, "-G", "Ninja", *settings, *options)
    run("cmake", "--build", folder, "-j", os.cpu_count())
    targets = run("ninja", "-C", folder, "-t", "targets", "all")
    for ours in ("lightning_test_main", "bert_squad"):
        assert ours not in targets, f"{ours} became a target of the user's project"
    support.run(folder / "consumer", cwd=folder)


def public_headers():
    """Those of the rooms' file sets, and the umbrella header."""
    found = {"lightning.h"} | {path.relative_to(ROOT / "lightning").as_posix()
                               for path in (ROOT / "lightning").rglob("*.h")
                               if "detail" not in path.parts}
    rows = re.findall(r"^\| \d+ \| `(\w+)` \(internal\)", (ROOT / "docs/design.md").read_text(),
                      re.MULTILINE)
    return {path for path in found if path.split("/")[0] not in rows}


def check_plugin(prefix):
    """The CUDA plug-in, where it is built, lies beside the library and finds LibTorch."""
    if not (support.build_dir() / "lib/liblightning_cuda.so").exists():
        return
    library, = prefix.rglob("liblightning.so")
    missing = [line for line in run("ldd", library.with_name("liblightning_cuda.so")).splitlines()
               if "not found" in line and "libcuda.so.1" not in line]
    assert not missing, missing


def test_install(tmp_path):
    """Public headers are all there; internal ones and the libraries that we use ourselves aren't."""
    prefix = tmp_path / "prefix"
    run("cmake", "--install", support.build_dir(), "--prefix", prefix)
    include = prefix / "include/lightning"
    installed = {path.relative_to(include).as_posix() for path in include.rglob("*")
                 if path.is_file()}
    assert installed == public_headers()
    for file in prefix.rglob("*.cmake"):
        text = file.read_text(encoding="utf-8")
        named = {word for word in ("third_party", "fmt", "spdlog", "yaml-cpp", "nlohmann")
                 if word in text}
        # The component is for programs that add sinks.
        if file.name == "lightningConfig.cmake":
            named -= {"spdlog"}
        if file.name == "LightningSpdlog.cmake":
            named -= {"spdlog", "fmt", "third_party"}
        assert not named, f"{file} names {named}"
    size = sum(file.stat().st_size for file in prefix.rglob("*") if file.is_file())
    print(f"installed: {len(installed)} headers, {size / 2**20:.1f} MiB in all")
    assert size < 64 * 2**20
    check_plugin(prefix)
    build_and_run(tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def test_subdirectory(tmp_path):
    build_and_run(tmp_path / "build", f"-DLIGHTNING_SOURCE_DIR={ROOT}",
                  f"-DLIGHTNING_TWIN_BUILD={support.build_dir()}")


def test_headers():
    """Every public header compiles alone: the rooms' file sets, by CMake's own check."""
    run("cmake", "--build", support.build_dir(), "--target", "all_verify_interface_header_sets")
