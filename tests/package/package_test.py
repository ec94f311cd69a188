"""Builds and runs a user's program against the library, in one of the two ways users have.

Usage: package_test.py install|subdirectory BUILD_FOLDER SCRATCH_FOLDER [cmake options...]
  install       installs BUILD_FOLDER below SCRATCH_FOLDER; the program uses find_package(lightning)
  subdirectory  the program's project adds this repository with add_subdirectory()
"""

import os
import pathlib
import shutil
import subprocess
import sys

from support import ROOT

CONSUMER = ROOT / "tests/package/consumer"


def run(*command, quiet=False) -> str:
    print("+", *command, flush=True)
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    if not quiet or result.returncode != 0:
        print(result.stdout, flush=True)
    if result.returncode != 0:
        sys.exit(f"FAILED with status {result.returncode}")
    return result.stdout


def check_installed(prefix: pathlib.Path) -> None:
    """Public headers are all there, internal ones and the fmt folder are not."""
    include = prefix / "include/lightning"
    wanted = {h.relative_to(ROOT / "lightning") for h in (ROOT / "lightning").rglob("*.h")
              if "detail" not in h.parts}
    found = {h.relative_to(include) for h in include.rglob("*") if h.is_file()}
    if wanted != found:
        sys.exit(f"FAILED: installed headers differ: {sorted(map(str, wanted ^ found))}")
    for file in prefix.rglob("*.cmake"):
        text = file.read_text(encoding="utf-8")
        for word in ("third_party", "fmt", "spdlog", "yaml-cpp", "nlohmann"):
            if word in text:
                sys.exit(f"FAILED: {file} mentions {word}")
    size = sum(f.stat().st_size for f in prefix.rglob("*") if f.is_file())
    print(f"installed: {len(found)} headers, {size / 2**20:.1f} MiB in all")
    if size > 64 * 2**20:
        sys.exit("FAILED: expected less than 64 MiB")


def main(mode: str, build: str, scratch: str, *options: str) -> None:
    folder = pathlib.Path(scratch)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    configure = ["cmake", "-S", CONSUMER, "-B", folder / "build", "-G", "Ninja", *options]
    if mode == "install":
        prefix = folder / "prefix"
        run("cmake", "--install", build, "--prefix", prefix)
        check_installed(prefix)
        configure.append(f"-DCMAKE_PREFIX_PATH={prefix}")
    else:
        configure.append(f"-DLIGHTNING_SOURCE_DIR={ROOT}")
    run(*configure)
    run("cmake", "--build", folder / "build", "-j", os.cpu_count())
    targets = run("ninja", "-C", folder / "build", "-t", "targets", "all", quiet=True)
    if "lightning_test_main" in targets or "bert_squad" in targets:
        sys.exit("FAILED: the project's tests or examples became targets of the user's project")
    run(folder / "build/consumer")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
