"""A process without a GPU loads nothing of CUDA's; where there is a driver, the plug-in
liblightning_cuda brings it, and where no GPU can be used the error says why.

The toolkit's stub of libcuda stands in for the driver: it can be loaded, and CUDA then finds no
device.
"""

import os
import pathlib
import re
import subprocess
import time

import pytest
import support

SAMPLE_LI = support.Program("sample_li")
# libtorch_cpu itself needs the runtime and CUPTI, which are small.
CUDA_LIBRARIES = re.compile(
    r"lib(torch_cuda|c10_cuda|nccl|nvshmem|cublas|cudnn|cufft|cusparse|cusolver|curand)\w*\.so")


def environment(**variables):
    """Without what would choose or hide a plug-in or a GPU."""
    ours = {k: v for k, v in os.environ.items()
            if k not in ("CUDA_VISIBLE_DEVICES", "LIGHTNING_CUDA_PLUGIN")}
    return ours | variables


def fit(work, accelerator, expect=None, **variables):
    return SAMPLE_LI("fit", "--trainer.accelerator", accelerator, "--trainer.max_steps", 1,
                     "--trainer.limit_val_batches", 0, "--trainer.default_root_dir", work,
                     expect=expect, env=environment(**variables))


def plugin():
    return support.build_dir() / "lib/liblightning_cuda.so"


@pytest.fixture(scope="module")
def stub_driver(tmp_path_factory):
    """The environment of a process that finds the stub where a driver would be."""
    toolkit = support.cmake_cache().get("CUDAToolkit_BIN_DIR")
    stubs = sorted(pathlib.Path(toolkit).parent.resolve().glob("**/stubs/libcuda.so")) if toolkit \
        else []
    if not stubs:
        support.skip("there is no CUDA toolkit with a stub of libcuda here")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "libcuda.so.1").symlink_to(stubs[0])
    before = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": f"{folder}:{before}" if before else str(folder)}


@pytest.fixture
def built_plugin():
    if not plugin().exists():
        support.skip("the plug-in is not built here (it needs a CUDA toolkit and nccl.h)")


def version(**variables):
    """The lines of --version by their names."""
    text = SAMPLE_LI("--version", env=environment(**variables)).stdout
    return dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines())


def test_version():
    lines = version(CUDA_VISIBLE_DEVICES="")
    assert list(lines) == ["lightning", "LibTorch", "compiler", "build type", "CPU capability",
                           "collectives", "CUDA"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", lines["lightning"])
    assert re.match(r"2\.\d+\.\d+", lines["LibTorch"])
    assert re.match(r"(g|clang)\+\+ \d+", lines["compiler"])
    assert lines["build type"].startswith(support.cmake_cache()["CMAKE_BUILD_TYPE"])
    assert lines["collectives"] == "shared_memory, gloo"
    assert lines["CUDA"] == 'not loaded, no GPU: CUDA_VISIBLE_DEVICES is ""'
    # The command line of programs without commands has it, too, and --help says so.
    of_options = support.Program("ddp_minimal")
    hidden = environment(CUDA_VISIBLE_DEVICES="")
    assert of_options("--version", env=hidden).stdout == SAMPLE_LI("--version", env=hidden).stdout
    assert "--version" in SAMPLE_LI("--help").stdout and "--version" in of_options("--help").stdout


@pytest.mark.parametrize("name", ["bin/sample_li", "bin/ddp_minimal", "lib/liblightning.so"])
def test_not_linked(name):
    text = support.run("ldd", support.build_dir() / name).stdout
    assert "libtorch_cpu.so" in text and not CUDA_LIBRARIES.search(text), text


def test_not_in_memory(tmp_path):
    """Of a training on the CPU."""
    process = subprocess.Popen(
        [SAMPLE_LI.path, "fit", "--trainer.max_epochs", "-1", "--trainer.log_every_n_steps", "1",
         "--trainer.default_root_dir", tmp_path], env=environment(CUDA_VISIBLE_DEVICES=""),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 120
        # It has made a step when it has logged something.
        while not any(file.stat().st_size for file in tmp_path.glob("**/metrics.csv")):
            assert process.poll() is None and time.monotonic() < end, "it makes no step"
            time.sleep(0.05)
        maps = pathlib.Path(f"/proc/{process.pid}/maps").read_text()
    finally:
        process.kill()
        process.communicate()
    assert "libtorch_cpu.so" in maps and not CUDA_LIBRARIES.search(maps)


def test_stub_driver(stub_driver, built_plugin, work):
    """The plug-in is loaded, LibTorch has its CUDA functions, and CUDA reports what is wrong."""
    lines = version(**stub_driver)
    assert re.search(r"nccl \d+\.\d+", lines["collectives"]), lines
    # Without LibTorch's CUDA functions the reason would be another one.
    assert re.fullmatch(r'\d+\.\d+, no GPU: CUDA reports ".*stub library.*"', lines["CUDA"]), lines
    fit(work, "gpu", **stub_driver).check_error("sees no GPU", "stub library", "HINT", codes=(2,))


def test_hidden_gpus(stub_driver, work):
    """CUDA_VISIBLE_DEVICES keeps the plug-in out."""
    for value in ("", "-1"):
        assert f'CUDA_VISIBLE_DEVICES is "{value}"' in \
            version(**stub_driver, CUDA_VISIBLE_DEVICES=value)["CUDA"]
    result = fit(work, "gpu", **stub_driver, CUDA_VISIBLE_DEVICES="")
    result.check_error('CUDA_VISIBLE_DEVICES is ""', "HINT: unset CUDA_VISIBLE_DEVICES", codes=(2,))


def test_no_plugin(stub_driver, work):
    missing = {**stub_driver, "LIGHTNING_CUDA_PLUGIN": "/nowhere/plugin.so"}
    for accelerator in ("gpu", "cuda"):
        fit(work, accelerator, **missing).check_error(
            f"accelerator is {accelerator}", "there is no CUDA plug-in /nowhere/plugin.so",
            "HINT: build the target lightning_cuda", codes=(2,))
    # `auto` takes the CPU and says so once, for there is a driver.
    automatic = fit(work, "auto", expect=0, **missing)
    assert len(re.findall(r"^warning: .*takes the CPU: there is no CUDA plug-in", automatic.stderr,
                          re.M)) == 1, automatic
    # Where GPUs are hidden on purpose there is nothing to say.
    hidden = fit(work, "auto", expect=0, **missing, CUDA_VISIBLE_DEVICES="")
    assert "CUDA" not in hidden.stderr, hidden


FOREIGN = {
    "another ABI": ('const void* lightning_cuda_plugin(void) { return &table; }', 999, "2.11.0",
                    ["has the ABI 999", "HINT: install liblightning"]),
    "another LibTorch": ('const void* lightning_cuda_plugin(void) { return &table; }', None, "1.13.0",
                         ["was built with LibTorch 1.13.0", "HINT: install liblightning"]),
    "another library": ('int unrelated(void) { return table.abi; }', 0, "",
                        ["is not a CUDA plug-in", "HINT: set LIGHTNING_CUDA_PLUGIN"]),
    "unresolved symbols": ('int missing(void); int call(void) { return missing() + table.abi; }', 0,
                           "", ["can't be loaded", "undefined symbol: missing"]),
}


def our_abi():
    header = support.ROOT / "lightning/accelerators/detail/cuda_plugin.h"
    return re.search(r"kCudaPluginAbi = (\d+)", header.read_text())[1]


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_plugin(case, stub_driver, tmp_path):
    code, abi, libtorch, words = FOREIGN[case]
    source, library = tmp_path / "plugin.c", tmp_path / "plugin.so"
    source.write_text("static const struct { unsigned abi; const char* libtorch; } table = "
                      f'{{{our_abi() if abi is None else abi}, "{libtorch}"}};\n{code}\n')
    support.run(support.cmake_cache()["CMAKE_CXX_COMPILER"], "-x", "c", "-shared", "-fPIC", source,
                "-o", library)
    fit(tmp_path, "gpu", **stub_driver, LIGHTNING_CUDA_PLUGIN=str(library)).check_error(
        *words, codes=(2,))
