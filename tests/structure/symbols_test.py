"""What the libraries take from the C++ library may not depend on the order in which a program links
its libraries: libtorch_cpu.so exports functions of another libstdc++, std::filesystem among them,
and a program that names LibTorch first gets those."""

import re
import subprocess

import pytest
import support

# The same in all versions: members of path, whose layout is part of the ABI, and what only counts
# references or throws.
SAME = re.compile(r"std::filesystem::__cxx11::path::|std::__exception_ptr::exception_ptr::"
                  r"|std::__throw_|std::__glibcxx_assert_fail")


def symbols(library, *options):
    """Names and types of dynamic symbols, without versions."""
    lines = subprocess.run(["nm", "--dynamic", *options, library], check=True, text=True,
                           capture_output=True).stdout.splitlines()
    return {line.split()[-1].partition("@")[0]: line.split()[-2] for line in lines}


def demangled(names):
    return subprocess.run(["c++filt"], input="\n".join(names), check=True, text=True,
                          capture_output=True).stdout.splitlines()


def torch_folder():
    cache = support.cmake_cache()
    return support.pathlib.Path(cache["Torch_DIR"]).parents[2] / "lib"


def cxx_library(library):
    listed = subprocess.run(["ldd", library], check=True, text=True, capture_output=True).stdout
    return re.search(r"libstdc\+\+\S* => (\S+)", listed)[1]


@pytest.mark.parametrize("name", ["liblightning.so", "liblightning_cuda.so"])
def test_link_order(name):
    library = support.build_dir() / "lib" / name
    if not library.exists():
        pytest.skip(f"{name} isn't built")
    # Templates and inline functions (W, V) come from the library that has them first, everywhere.
    exported = {symbol for torch in ("libtorch.so", "libtorch_cpu.so", "libc10.so")
                for symbol, kind in symbols(torch_folder() / torch, "--defined-only").items()
                if kind in "TDBR"}
    assert any("filesystem" in symbol for symbol in exported), "LibTorch exports none any more"
    of_cxx = symbols(cxx_library(library), "--defined-only")
    taken = symbols(library, "--undefined-only").keys() & exported & of_cxx.keys()
    wrong = [text for text in demangled(sorted(taken)) if not SAME.match(text)]
    assert not wrong, f"{name} takes from LibTorch or from the C++ library, as the order has it"
