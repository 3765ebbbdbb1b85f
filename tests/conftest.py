"""What every test stands on."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background hands SIGINT down as ignored, to them and to every program that they start:
# the tests of Ctrl-C need it as a terminal gives it.
signal.signal(signal.SIGINT, signal.default_int_handler)
