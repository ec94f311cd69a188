"""A user's program builds and runs against the library, in each of the two ways users have:
find_package(lightning) of an installed library, and add_subdirectory() of this repository."""

import concurrent.futures
import os
import re

import ports
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
    check_doors(folder)
    check_torch_first(folder)


KINDS = ("strategy", "precision", "cluster", "logger", "callback", "optimizer", "lr_scheduler",
         "profiler")


def run_ranks(folder, size, *arguments, expect=0):
    """The program as `size` ranks, started one by one; returns their results, rank 0's first."""
    port = ports.free_port()
    with concurrent.futures.ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: support.run(
            folder / "consumer", *arguments, cwd=folder, expect=expect, timeout=120,
            env=os.environ | {"PAIR_RANK": str(rank), "PAIR_SIZE": str(size),
                              "PAIR_PORT": str(port), "OMP_NUM_THREADS": "1"}), range(size)))


def check_doors(folder):
    """The user's class of each kind, named in one file, trains and resumes; so do objects given
    from C++. The program itself fails when one of the classes had no part in the run."""
    config = ("--config", CONSUMER / "consumer.yaml")
    for size in (1, 2):
        root = f"--trainer.default_root_dir={folder / f'runs_{size}'}"
        for epochs, more in ((5, ()), (10, ("--ckpt_path", "last"))):
            results = run_ranks(folder, size, "fit", *config, root,
                                f"--trainer.max_epochs={epochs}", *more)
            # Over both sessions: 16 batches of an epoch, shared by the ranks.
            assert f"batches: {epochs * 16 // size}" in results[0].text
        values = list((folder / f"runs_{size}").rglob("values.txt"))
        assert values and all("train_loss" in path.read_text() for path in values)
    without = ("--trainer.strategy=auto", "--trainer.precision=32-true", "--trainer.cluster=local",
               "--trainer.logger=false", "--trainer.callbacks=[]", "--trainer.profiler=null",
               "--optimizer=SGD", "--optimizer.init_args.lr=0.1", "--lr_scheduler=ConstantLR")
    unused, = run_ranks(folder, 1, "fit", *config, *without, expect=3)
    assert [kind for kind in KINDS if f"not used: {kind}" in unused.text] == list(KINDS)
    run_ranks(folder, 2, "fit_with_objects")


def check_torch_first(folder):
    """std::filesystem of LibTorch, which such a program gets, has no part in it."""
    needed = re.findall(r"NEEDED.*\[(\S+)\]", run("readelf", "--dynamic", folder / "torch_first"))
    first = [name for name in needed if name.startswith(("libtorch", "liblightning", "libstdc++"))]
    assert first[0].startswith("libtorch"), needed
    run(folder / "torch_first", folder / "torch_first_runs")


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
        text = file.read_text(encoding="utf-8").replace("spdlog_sink.h", "")  # a header of ours
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


def reached_from(header, seen):
    """Adds to `seen` all that a header of the library includes, through others, too."""
    if header not in seen:
        seen.add(header)
        if (ROOT / header).is_file():
            for included in re.findall(r"#include <([^>]+)>", (ROOT / header).read_text()):
                reached_from(included, seen)
    return seen


def takes_long(header):
    """Layers make it ten times the work; lightning_module.h stands for all that have them."""
    torch = {"torch/torch.h", "torch/nn/module.h", "torch/nn/cloneable.h", "torch/data/example.h"}
    return (header != "lightning/core/lightning_module.h"
            and not torch.isdisjoint(reached_from(header, set())))


def test_headers():
    """Every public header compiles alone: the rooms' file sets, by CMake's own check."""
    objects = re.findall(r"^(\S+/lightning_verify_interface_header_sets/(lightning/\S+\.h)\S*\.o):",
                         run("ninja", "-C", support.build_dir(), "-t", "targets", "all"),
                         re.MULTILINE)
    assert {header for _, header in objects} == {f"lightning/{path}" for path in public_headers()}
    chosen = [file for file, header in objects if support.EXHAUSTIVE or not takes_long(header)]
    run("ninja", "-C", support.build_dir(), *chosen)
    print(f"{len(chosen)} of {len(objects)} headers compile alone")
