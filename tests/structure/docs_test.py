"""What the documents show is what the project has."""

from support import ROOT


def test_the_program_of_the_readme():
    """It is examples/sample_li/sample_li.cpp, to the letter."""
    readme = (ROOT / "README.md").read_text()
    block = readme.split("```cpp\n", 1)[1].split("```", 1)[0]
    assert block == (ROOT / "examples/sample_li/sample_li.cpp").read_text()
