"""Figures for TensorBoard, written at once: whatever goes wrong is told where it is written, not in a thread."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar

_NAME = "events.out.tfevents"
_OWN = ".fanlight"  # the ending of the files of runs; others are left alone


class Events:
    """A new file of events in a run's folder.

    TensorBoard reads a folder's files in the order of their names, so this one's time is later than theirs. Steps
    after ``step``, which come again, are cut off those that runs have written; one that is running forgets what it
    has read of them.

    Args:
        folder: the run's.
        step: the step that the run goes on from; 0 when it begins.

    Raises:
        OSError: the file cannot be written; so does ``add``.
    """

    def __init__(self, folder: Path, step: int) -> None:
        times = [path.name.removeprefix(f"{_NAME}.").partition(".")[0] for path in folder.glob(f"{_NAME}.*")]
        for path in folder.glob(f"{_NAME}.*{_OWN}"):
            _cut(path, step)
        now = max([int(time.time()), *(int(earlier) + 1 for earlier in times if earlier.isdecimal())])
        self._path = folder / f"{_NAME}.{now:010d}.{socket.gethostname()}{_OWN}"
        start = SessionLog(status=SessionLog.START)
        self._append(Event(file_version="brain.Event:2"), Event(step=step + 1, session_log=start))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add figures of a step."""
        self._append(*(Event(step=step, summary=scalar(name, value)) for name, value in scalars.items()))

    def _append(self, *events: Event) -> None:
        with self._path.open("ab") as file:
            records = RecordWriter(file)
            for event in events:
                event.wall_time = time.time()
                records.write(event.SerializeToString())


def _cut(path: Path, step: int) -> None:
    """Cut a file before its first figures of a later step, or where it was left half written."""
    size = path.stat().st_size
    with path.open("rb") as file, contextlib.suppress(DecodeError):
        while True:
            end = file.tell()
            head = file.read(12)  # the length of the event, and a sum of that
            length = int.from_bytes(head[:8], "little")
            if end + 12 + length + 4 > size:
                break
            found = Event.FromString(file.read(length + 4)[:-4])
            if found.HasField("summary") and found.step > step:
                break
    os.truncate(path, end)
