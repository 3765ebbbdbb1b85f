"""The plain difference: what three lines of numpy find, which every network has to beat.

In:   a strip (3, H, W) float32 in 0..255.
Out:  (H, W): how much Target differs from the reference that it is more like, without what changes slowly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOCAL_PX = 61
"""Side of the square whose mean is taken out: light that drifts."""
SMOOTH_PX = 0.7


def difference(strip: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map; its maximum is the strip's score, in grey levels."""
    apart = []
    for reference in strip[1:]:
        one = strip[0] - reference
        apart.append(np.abs(ndimage.gaussian_filter(one - ndimage.uniform_filter(one, LOCAL_PX, mode="nearest"), SMOOTH_PX)))
    return np.asarray(np.minimum(*apart))
