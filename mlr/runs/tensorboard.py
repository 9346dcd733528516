"""Writes a run's metrics for TensorBoard."""

import time
from pathlib import Path
from typing import Any, Iterable, Mapping, Union

from mlr.runtime.installation import require_package


def require_tensorboard() -> None:
    """Raise InputError if tensorboardX is not installed. It writes TensorBoard's files without
    TensorFlow.
    """
    require_package("tensorboardX", "tensorboard", "--tensorboard")


class TensorBoardFile:
    """The file for TensorBoard in a folder.

    It is first written again from the metrics so far, so no epoch is missing or in it twice; then
    each new epoch is added. Each number of metrics.jsonl is a scalar of the same name, and its step
    is the epoch. Scalars of a transfer's target are under target/.
    """

    def __init__(self, folder: Union[str, Path], metrics: Iterable[Mapping[str, Any]]) -> None:
        """folder: created if it does not exist; TensorBoard's files in it are replaced. metrics:
        one dict per epoch.
        """
        require_tensorboard()
        # tensorboardX's SummaryWriter writes in a thread, and its flush() does not wait for the
        # thread: a kill would lose the last epoch.
        from tensorboardX.event_file_writer import EventsWriter

        Path(folder).mkdir(exist_ok=True)
        for path in Path(folder).glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = EventsWriter(str(Path(folder) / "events"))
        for line in metrics:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Write the metrics of an epoch, and flush them to the file."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        prefix = "target/" if line.get("target") else ""
        self._writer.write_event(
            Event(
                wall_time=time.time(),
                step=line["epoch"],
                summary=Summary(
                    value=[
                        Summary.Value(tag=prefix + name, simple_value=value)
                        for name, value in line.items()
                        if name not in ("epoch", "target")
                    ]
                ),
            )
        )
        self._writer.flush()
