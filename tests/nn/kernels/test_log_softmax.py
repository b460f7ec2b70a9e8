"""Log-probabilities made block by block against torch's, made at once."""

import pytest
import torch

from seqtrans.nn.kernels import log_softmax as log_probs


@pytest.mark.parametrize("block", [1, 70, 1 << 18])  # a sentence, two of them, all
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sentences", [0, 1, 5])
@pytest.mark.parametrize("cap", [None, 3.0])
def test_blocks_do_not_show(monkeypatch, block, dtype, sentences, cap):
    monkeypatch.setattr(log_probs, "_CPU_BLOCK", block)
    torch.manual_seed(0)
    logits = torch.randn(sentences, 3, 11).to(dtype) * 9
    wide = torch.promote_types(dtype, torch.float32)
    capped = logits if cap is None else cap * (logits.to(wide) / cap).tanh()
    expected = capped.log_softmax(-1, dtype=wide)
    with torch.inference_mode():
        found = log_probs.log_probabilities(logits.clone(), cap)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(log_probs.log_probabilities(logits, cap), expected)
