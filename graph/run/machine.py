"""The machine that a run uses: cores, GPUs, memory, and how one round divides them."""

from __future__ import annotations

from pydantic import BaseModel

from ...errors import InputError
from ...training.runners.this_node import this_node

_LEAST_MB = 1024  # of memory for one job
_LIBRARIES_MB = 800  # of memory of a job before it loads a model
_ACTIVATIONS = 1.25  # in units of the weights: what a job needs beside them


class Machine(BaseModel):
    """Cores, GPUs and memory of this machine. Slots and threads follow from the cores, never from the load."""

    cores: int
    gpus: int
    memory_mb: int

    @classmethod
    def here(cls) -> Machine:
        """This machine, within the limits of a container."""
        node = this_node()
        return cls(cores=node.cpus, gpus=node.gpus, memory_mb=node.memory_mb)

    def share(self, trials: int, weights_mb: int = 0) -> dict[str, int | str]:
        """How a round of `trials` trials uses the machine, as fields of `Settings`.

        `weights_mb` is the memory of the base model's weights, 0 for a small one. Raises InputError if they do not
        fit.
        """
        if weights_mb > self.memory_mb and not self.gpus:
            raise InputError(
                f"the base model's weights take {weights_mb / 1024:.1f} GiB in float32, {self.memory_mb / 1024:.1f} "
                "GiB of memory are there: choose a smaller base model, or a machine with more memory"
            )
        memory = int(self.memory_mb * 0.8)
        needed = job_memory_mb(weights_mb)
        slots = self.gpus or max(1, min(trials, self.cores, memory // needed))
        return {
            "slots": slots,
            "threads": max(1, self.cores // slots),
            "grader_threads": min(self.cores, 8),
            "memory_limit_mb": max(_LEAST_MB, memory // slots),
            "device": "cuda" if self.gpus else "cpu",
        }


def job_memory_mb(weights_mb: int) -> int:
    """Expected memory of one training job, from that of the base model's weights."""
    return max(_LEAST_MB, _LIBRARIES_MB + int(_ACTIVATIONS * weights_mb))
