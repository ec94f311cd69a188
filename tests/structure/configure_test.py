"""The project can be configured where something differs from the machine that it is built on."""

import os
import pathlib
import subprocess

import pytest
import support
from support import ROOT


def configure(build, *options, before=(), **variables):
    """The output of CMake and the build file."""
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("Torch_DIR", "CMAKE_PREFIX_PATH") and not k.startswith("CUDA")}
    done = support.run(*before, "cmake", "-S", ROOT, "-B", build, "-G", "Ninja", *options,
                       env=environment | variables, timeout=300)
    return done.text + (build / "build.ninja").read_text()


@pytest.fixture(scope="module")
def libtorch():
    """The one that this build uses."""
    return pathlib.Path(support.cmake_cache()["Torch_DIR"]).parents[2]


WAYS = {
    "option CMAKE_PREFIX_PATH": (["-DCMAKE_PREFIX_PATH={}"], {}),
    "option Torch_DIR": (["-DTorch_DIR={}/share/cmake/Torch"], {}),
    "variable CMAKE_PREFIX_PATH": ([], {"CMAKE_PREFIX_PATH": "{}"}),
    "variable Torch_DIR": ([], {"Torch_DIR": "{}/share/cmake/Torch"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_given_libtorch(way, libtorch, tmp_path):
    """A LibTorch that the user names, laid out as its zip file is, is taken, and the wheel in .venv
    isn't, whichever way it is named."""
    folder = tmp_path / "libtorch"
    folder.mkdir()
    for part in ("include", "lib", "share"):
        (folder / part).symlink_to(libtorch / part)
    options, variables = WAYS[way]
    text = configure(tmp_path / "build", *(option.format(folder) for option in options),
                     **{name: value.format(folder) for name, value in variables.items()})
    assert f" in {folder}," in text, "another LibTorch was taken"
    wrong = [line for line in text.splitlines() if f"{libtorch}/" in line]
    assert not wrong, f"{libtorch} is used, too: {wrong[0][:400]}"


@pytest.fixture
def hidden_toolkit():
    """What to put before a command that is to see no CUDA toolkit: its folder is covered by an
    empty file system."""
    folder = support.cmake_cache().get("CUDAToolkit_BIN_DIR")
    if not folder:
        support.skip("there is no CUDA toolkit here, so the ordinary build has shown it already")
    folder = pathlib.Path(folder).parent.resolve()
    if folder in (pathlib.Path("/"), pathlib.Path("/usr")):
        support.skip(f"the CUDA toolkit is a part of {folder}, which can't be hidden")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        support.skip("unshare -m is not permitted here")
    return ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(folder)]


def test_without_toolkit(hidden_toolkit, tmp_path):
    text = configure(tmp_path / "build", before=hidden_toolkit)
    assert "CUDA toolkit: FALSE" in text, "a CUDA toolkit was found, so this test showed nothing"
    assert "liblightning.so" in text and "liblightning_cuda.so:" not in text
