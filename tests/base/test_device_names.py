"""The device, as it is typed."""

import pytest

from casc_det.base.device import check_device, device_name
from casc_det.errors import ArgumentError


def test_each_process_of_torchrun_has_its_own_gpu(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert [device_name(x) for x in ("cuda", "cpu", 1, "2", "cuda:3")] == ["cuda", "cpu", "cuda:1", "cuda:2", "cuda:3"]
    monkeypatch.setenv("LOCAL_RANK", "5")
    assert [device_name(x) for x in ("cuda", "cpu", 1, "cuda:3")] == ["cuda:5", "cpu", "cuda:1", "cuda:3"]


@pytest.mark.parametrize("device", ["meta", "mps", "tpu", "", "-1", "cuda:x", "0,1"])
def test_devices_that_cannot_work_are_refused(device):
    with pytest.raises(ArgumentError, match="device"):
        check_device(device)
