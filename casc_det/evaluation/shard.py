"""One process among those that torchrun started."""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from casc_det.errors import CascError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """This process among those that torchrun started; one alone without it."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def join() -> "Shard":
        """Join the process group that torchrun describes in the environment, if there is one."""
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:
            return Shard()
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(hours=12))  # what is exchanged lies on the CPU
            atexit.register(leave)
        return Shard(dist.get_rank(), dist.get_world_size())

    def share(self, make: Callable[[], T]) -> T:
        """The value of `make()` on the first process, on all of them; its CascError, too."""
        if self.size == 1:
            return make()
        box: list[Any] = [None, None]
        if self.rank == 0:
            try:
                box = [make(), None]
            except CascError as error:
                box = [None, error]
        dist.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes on the first one, an empty list elsewhere."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(value, values)
        return values or []


def leave() -> None:
    """Leave the process group, which ends its threads: those that still run when Python ends may abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()


ALONE = Shard()
