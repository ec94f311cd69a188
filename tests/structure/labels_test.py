"""The label of a test is its kind, by which the presets and scripts choose."""

import json
import subprocess

import support

LABELS = {"unit", "structure", "parity", "integration", "faults", "slurm", "examples", "package"}


def entries(*options):
    shown = subprocess.run(["ctest", "--show-only=json-v1", *options], cwd=support.ROOT,
                           capture_output=True, text=True, check=True).stdout
    return {test["name"]: {entry["name"]: entry["value"] for entry in test["properties"]}
            for test in json.loads(shown)["tests"]}


def test_each_entry_has_exactly_one_label():
    found = {name: properties.get("LABELS", [])
             for name, properties in entries("--test-dir", support.build_dir()).items()}
    assert found
    wrong = {name: labels for name, labels in found.items()
             if len(labels) != 1 or not set(labels) <= LABELS}
    assert not wrong
    assert {label for labels in found.values() for label in labels} >= {"unit", "structure"}


def test_quick_is_the_unit_and_structure_tests():
    presets = {preset["name"]: preset for preset in
               json.loads((support.ROOT / "CMakePresets.json").read_text())["testPresets"]}
    assert presets["quick"]["filter"] == {"include": {"label": "^(unit|structure)$"}}
    assert "filter" not in presets["all"]
    # The script can't name the preset: that would fix the build folder.
    assert "--label-regex '^(unit|structure)$'" in (support.ROOT / "scripts/test.sh").read_text()
