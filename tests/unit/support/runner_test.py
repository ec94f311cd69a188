"""What tests/support/main.cpp makes of test cases, however they end."""

import os
import xml.etree.ElementTree

import pytest
import support

FAILED = {
    "fails": ["CHECK( 1 == 2 )", "a <reason>"],
    "crashes": ["SIGSEGV"],
    "is killed": ["ended by Killed"],
    "exits": ["exited with status 0"],
    "hangs": ["no end after 2 s"],
    "is alone and leaves an exit handler that fails (after it)": ["exited with status 5"],
}
PASSED = ['leaves a variable, "quoted" [and more]', "finds no variable", "comes after all that",
          "is alone", "is alone and leaves an exit handler that fails"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    variables = {"LIGHTNING_TEST_RESULTS": str(folder), "LIGHTNING_TEST_CASE_SECONDS": "2"}
    done = support.run(support.bin_dir() / "runner_cases", env=os.environ | variables, expect=1)
    cases = xml.etree.ElementTree.parse(folder / "runner_cases.xml").getroot().iter("testcase")
    return done, {case.get("name"): case for case in cases}


def test_every_case_ran_once(done):
    _, cases = done
    assert sorted(cases) == sorted([*PASSED, *FAILED, "is skipped"])


@pytest.mark.parametrize("name", FAILED)
def test_failure_names_the_case_and_the_reason(done, name):
    message = done[1][name].find("failure").get("message")
    assert all(part in message for part in FAILED[name])


def test_others_pass(done):
    assert all(len(done[1][name]) == 0 for name in PASSED)
    assert done[1]["is skipped"].find("skipped").get("message") == "there is no <device>"


def test_sum(done):
    assert done[0].stdout.splitlines()[-1] == "5 test cases passed, 6 failed, 1 skipped"


@pytest.mark.parametrize("name, code", [("is alone", 0), ("fails", 1), ("is skipped", 77)])
def test_chosen_cases(name, code):
    support.run(support.bin_dir() / "runner_cases", name, expect=code)
