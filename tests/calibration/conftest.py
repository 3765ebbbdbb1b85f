"""A data set of small strips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile


@pytest.fixture(scope="session")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six good strips, and of two good and two defective ones in test/; not to be changed."""
    root = tmp_path_factory.mktemp("strips")
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 6), ("test/good", 2), ("test/spot", 2)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            strip = np.tile(rng.integers(60, 200, (1, 100, 70)), (3, 1, 1)).astype(np.uint8)
            if folder == "test/spot":
                strip[0, 40:43, 30:33] += 50
            tifffile.imwrite(root / folder / f"{index}.tif", strip, photometric="minisblack")
    return root
