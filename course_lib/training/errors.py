"""What goes wrong while training."""


class TrainingError(Exception):
    """Training failed; the message says in which epoch, and why."""


class CheckpointError(ValueError, OSError):
    """A checkpoint cannot be read or written where it is asked for; the message has
    the path and the reason. Nothing was trained or changed.
    """
