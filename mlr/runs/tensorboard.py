"""A run's metrics as TensorBoard reads them."""

import time
from pathlib import Path

from mlr.errors import InputError


def require_tensorboard():
    """Import and return tensorboardX, which writes TensorBoard's files without TensorFlow. Raises
    InputError where it is absent.
    """
    try:
        import tensorboardX
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":
            raise
        raise InputError(
            "--tensorboard needs the package tensorboardX: pip install 'mlr[tensorboard]'"
        ) from None
    return tensorboardX


class EventFile:
    """The event file in a folder: written anew from the metrics so far, so that no epoch is in it
    twice, or is missing; then an epoch at a time.

    A scalar for each number of metrics.jsonl under its name there, in steps of epochs; those on a
    transfer's target under target/.
    """

    def __init__(self, folder, metrics):
        """folder: created where it is not there; event files in it are replaced. metrics: a list of
        dicts, one an epoch.
        """
        require_tensorboard()
        # Its SummaryWriter hands events to a thread, and its flush() does not wait for that: a kill
        # would lose the last epoch.
        from tensorboardX.event_file_writer import EventsWriter

        Path(folder).mkdir(exist_ok=True)
        for path in Path(folder).glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = EventsWriter(str(Path(folder) / "events"))
        for line in metrics:
            self.add(line)

    def add(self, line):
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
