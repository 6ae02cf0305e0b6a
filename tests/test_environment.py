"""What the environment and ``--device`` say: numbers and devices that are none are told."""

from __future__ import annotations

import pytest

from fanlight.device import join_team, resolve_device
from fanlight.errors import InputError


@pytest.mark.parametrize("value", ["abc", "", "0", "-1", "2.0", "\u00b2", "9" * 5000])
def test_a_number_of_processes_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(InputError, match=r"WORLD_SIZE=.*expected a whole number from 1 on"), join_team("cpu"):
        pass


def test_processes_that_cannot_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="WORLD_SIZE=2 and they cannot meet"), join_team("cpu"):
        pass


@pytest.mark.parametrize(
    "device", ["cuda:\u00b2", "cuda:" + "9" * 5000, "cpu:1", "tpu", "", "cpu:", "cuda:-1"]
)
def test_devices_that_are_none(device: str) -> None:
    with pytest.raises(InputError, match="PyTorch finds none here"):
        resolve_device(device)
