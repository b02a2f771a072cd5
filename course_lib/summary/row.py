"""What is known of one layer, or of one stage, of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from course_lib.summary.receptive_field import Field


class SummaryRow(NamedTuple):
    """One layer or one stage, for one image."""

    #: Its name in the network.
    name: str
    #: The name of its class, or of the operations that a module does itself.
    kind: str
    #: Shape of its output, without the batch.
    shape: tuple[int, ...]
    #: Trainable parameters; those that are shared only where they come first.
    parameters: int
    #: Multiply-accumulates; each is two FLOPs.
    macs: int
    #: Memory of its output, in bytes; 0 if that is a view or its changed input.
    activations: int
    #: What autograd saves of it for backward, in bytes; None if unknown.
    saved_bytes: int | None
    #: Receptive field of its output, in pixels; None if unknown.
    field: Field | None
    #: How many times it runs.
    calls: int
    #: Parameters that are not trained.
    frozen: int = 0
    #: Shape of its input, without the batch.
    input_shape: tuple[int, ...] = ()
    #: The kernel of a convolution or of pooling.
    kernel: tuple[int, ...] = ()
