"""Our event files, read by TensorBoard's own reader: values, text, and a resumed run."""

import math
import pathlib
import struct

from support import Program, needs_packages

needs_packages("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

TOOL = Program("tensorboard_tool")
TAGS = {"train/loss", "lr-Adam \u00e9", "epoch", "val_loss", "nan", "inf", "late"}


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def reader(folder: pathlib.Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(events: EventAccumulator, tag: str) -> list:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def loss(step: int, offset: float = 0) -> tuple:
    return step, float32(1 / step + offset)


def check_start(events: EventAccumulator) -> None:
    assert set(events.Tags()["scalars"]) == TAGS, events.Tags()
    assert scalars(events, "train/loss") == [loss(step) for step in range(1, 11)]
    assert scalars(events, "val_loss") == [(5, 5.0), (10, 10.0)]
    assert all(math.isnan(value) for _, value in scalars(events, "nan"))
    assert [value for _, value in scalars(events, "inf")] == [-math.inf, -math.inf]
    assert scalars(events, "late") == [(5, 1.0)]
    assert scalars(events, "epoch")[:3] == [(1, 0.0), (2, 0.0), (3, 0.0)]
    assert events.file_version == 2.0
    times = [event.wall_time for event in events.Scalars("train/loss")]
    assert times == sorted(times) and times[0] > 1.6e9

    assert events.Tags()["tensors"] == ["hyperparameters/text_summary"], events.Tags()
    assert events.PluginTagToContent("text") == {"hyperparameters/text_summary": b""}
    [text] = events.Tensors("hyperparameters/text_summary")
    assert list(text.tensor_proto.tensor_shape.dim)[0].size == 1
    assert text.tensor_proto.string_val[0].decode() == (
        "| name | value |\n| --- | --- |\n"
        "| model.learning_rate | 3e-05 |\n| data.note | a\\|b c |\n")


def check_resumed(events: EventAccumulator) -> None:
    assert set(events.Tags()["scalars"]) == TAGS
    expected = [loss(step) for step in range(1, 6)] + [loss(step, 100) for step in range(6, 13)]
    assert scalars(events, "train/loss") == expected, scalars(events, "train/loss")
    assert scalars(events, "val_loss") == [(5, 5.0), (10, 110.0)]
    assert len(events.Tensors("hyperparameters/text_summary")) == 1


def check_files(folder: pathlib.Path, count: int) -> None:
    """Every record of every file is sound, and each file begins with its version."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    assert len(files) == count, files
    for file in files:
        events = [event_pb2.Event.FromString(record)
                  for record in RawEventFileLoader(str(file)).Load()]
        assert events[0].file_version == "brain.Event:2"
        if file != files[0]:
            assert events[1].session_log.status == event_pb2.SessionLog.START
            assert events[1].step == 6


def test_tensorboard_reads_our_files(tmp_path):
    TOOL("start", tmp_path)
    watching = reader(tmp_path)  # as a TensorBoard that is open all the time
    check_start(watching)
    check_files(tmp_path, 1)

    TOOL("resume", tmp_path)
    check_files(tmp_path, 2)
    fresh = reader(tmp_path)
    check_resumed(fresh)
    assert scalars(fresh, "late") == [(5, 1.0)]
    check_resumed(watching.Reload())

    TOOL("resume", tmp_path)  # the second attempt was killed: again from the same checkpoint
    check_files(tmp_path, 2)
    check_resumed(reader(tmp_path))


def test_a_resume_hides_no_row_with_steps_of_its_own(tmp_path):
    TOOL("axis", tmp_path)
    events = reader(tmp_path)
    assert scalars(events, "val_loss_step") == [(8, 8.0), (12, 12.0)]
    assert scalars(events, "train/loss") == [loss(step) for step in range(1, 4)]
