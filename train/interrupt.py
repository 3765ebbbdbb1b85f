"""Ctrl-C while training: finish the step first.

In:   SIGINT.
Out:  `Interrupt.asked`, which the loop looks at between two steps. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupt:
    """Catches SIGINT inside its `with` block; outside the main thread Python delivers none, and nothing is changed."""

    def __init__(self) -> None:
        self.asked = False
        self._catches = threading.current_thread() is threading.main_thread()
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Interrupt:
        if self._catches:
            self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        if self._catches:
            signal.signal(signal.SIGINT, self._before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)

    @contextlib.contextmanager
    def not_deferred(self) -> Iterator[None]:
        """Let Ctrl-C end the block at once: for work that can be done again."""
        self.__exit__()
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.__enter__()
