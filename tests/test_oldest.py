"""The lower bounds of `pyproject.toml`, as `make oldest` installs them."""

from __future__ import annotations

import pytest

from scripts.oldest import main, oldest


def test_a_lower_bound_is_pinned() -> None:
    assert oldest("numpy>=2") == "numpy==2"
    assert oldest("transformers>=5,<6") == "transformers==5"


@pytest.mark.parametrize("text", ["numpy", "numpy<3", "numpy==2.1", "numpy>=2,>=2.1"])
def test_what_has_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write name>=version"):
        oldest(text)


def test_each_package_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    pins = dict(line.split("==") for line in capsys.readouterr().out.splitlines())
    assert {"torch", "typer", "peft"} <= set(pins) and all(pins.values())
