"""Batches: what a user writes, and which profile a batch runs in."""

from __future__ import annotations

import pytest

from lineside import ConfigError
from lineside.engine.files.profiles import BatchProfiles, Profile


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [(1, 1, 1)]),
        ("1,4,8", [(1, 1, 1), (4, 4, 4), (8, 8, 8)]),
        ("1:8", [(1, 8, 8)]),
        ("1:4:8", [(1, 4, 8)]),
        ("1,2:8", [(1, 1, 1), (2, 8, 8)]),
        ("4,4", [(4, 4, 4)]),
    ],
)
def test_batches_are_sizes_lists_and_ranges(text: str, expected: list[tuple[int, int, int]]) -> None:
    profiles = BatchProfiles.parse(text)
    assert [(profile.min, profile.opt, profile.max) for profile in profiles.profiles] == expected
    assert BatchProfiles.parse(str(profiles)) == profiles


@pytest.mark.parametrize("text", ["", "0", "a", "1,", "8:1", "1:8:4", "1:2:3:4", "-1", "1 4", "99999", "1.5"])
def test_a_batch_that_cannot_be_is_one_error(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        BatchProfiles.parse(text)
    assert error.value.why
    assert error.value.fix


def test_a_batch_runs_in_the_profile_that_is_fastest_nearest_to_it() -> None:
    profiles = BatchProfiles.parse("1,4,1:8")
    assert [profiles.index_for(rows) for rows in (1, 3, 4, 8, 9)] == [0, 2, 1, 2, None]
    assert profiles.largest == 8


def test_no_profile_is_no_batch() -> None:
    with pytest.raises(ConfigError):
        BatchProfiles(())
    assert Profile(min=1, opt=1, max=1)
