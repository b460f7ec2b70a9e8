"""Which arithmetic a setting means on which processor."""

import pytest
import torch
from torch import nn

from seqtrans.runtime import device
from seqtrans.runtime.device import place
from seqtrans.runtime.out_of_memory import is_out_of_memory

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("has", [True, False])
def test_where_a_processor_has_no_bf16_fp32_is_taken_and_that_is_said(has, monkeypatch, caplog):
    monkeypatch.setattr(device, "multiplies_bf16", lambda: has)
    assert device.uses_bf16("bf16", CPU) is has
    model = nn.Linear(2, 2)
    place(model, "cpu", "bf16")
    assert model.weight.dtype == (torch.bfloat16 if has else torch.float32)
    assert len(caplog.records) == (not has)
    assert all("computing in fp32 instead" in record.message for record in caplog.records)


@pytest.mark.parametrize(("setting", "expected"), [("bf16", True), ("fp32", False)])
def test_of_a_gpu_the_processor_beside_it_does_not_matter(setting, expected, monkeypatch):
    monkeypatch.setattr(device, "multiplies_bf16", lambda: False)
    assert device.uses_bf16(setting, GPU) is expected
    assert not device.substitution(setting, GPU)


@pytest.mark.parametrize("setting", ["auto", "fp32"])
def test_other_settings_need_no_substitution(setting, monkeypatch):
    monkeypatch.setattr(device, "multiplies_bf16", lambda: False)
    assert not device.substitution(setting, CPU)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("could not create a primitive", True),
        ("could not create a primitive descriptor for the LSTM forward propagation", False),
    ],
)
def test_what_onednn_cannot_do_at_all_is_no_lack_of_memory(said, expected):
    assert is_out_of_memory(RuntimeError(said)) is expected
