"""What the contract tests compare with is there, or they say why not: none is skipped in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from lineside_contract import packages
from lineside_contract.packages import ALL, Package, install


@pytest.mark.parametrize("package", ALL, ids=lambda package: package.name)
def test_every_package_is_there(package: Package) -> None:
    assert any(package.folder().iterdir())


def test_a_package_that_cannot_be_had_fails_its_tests_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_TRIES", 1)
    broken = Package("broken-1", (str(tmp_path / "no-such-package-1-py3-none-any.whl"),))
    assert install(tmp_path / "home", [broken]) == ["broken-1"]
    with pytest.raises(AssertionError, match=r"broken-1 cannot be had: .*no-such-package"):
        broken.folder(tmp_path / "home")
    with pytest.raises(AssertionError, match="make bindings"):
        Package("never-1", ("never==1",)).folder(tmp_path / "home")
