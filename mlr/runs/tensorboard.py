"""A run's metrics as TensorBoard reads them."""

import time
from pathlib import Path
from typing import Any, Iterable, Mapping, Union

from mlr.runtime.installation import require_package


def require_tensorboard() -> None:
    """Raise InputError where tensorboardX is absent, which writes TensorBoard's files without
    TensorFlow.
    """
    require_package("tensorboardX", "tensorboard", "--tensorboard")


class TensorBoardFile:
    """TensorBoard's file in a folder: written anew from the metrics so far, so that no epoch is in
    it twice, or is missing; then an epoch at a time.

    A scalar for each number of metrics.jsonl under its name there, in steps of epochs; those on a
    transfer's target under target/.
    """

    def __init__(self, folder: Union[str, Path], metrics: Iterable[Mapping[str, Any]]) -> None:
        """folder: created where it is not there; TensorBoard's files in it are replaced. metrics:
        a dict for each epoch.
        """
        require_tensorboard()
        # Its SummaryWriter hands what it writes to a thread, and its flush() does not wait for
        # that: a kill would lose the last epoch.
        from tensorboardX.event_file_writer import EventsWriter

        Path(folder).mkdir(exist_ok=True)
        for path in Path(folder).glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = EventsWriter(str(Path(folder) / "events"))
        for line in metrics:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        """Write an epoch's metrics, and have them in the file."""
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
