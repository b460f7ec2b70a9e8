"""Rows remembered per token against rows computed each time."""

import torch

from seqtrans.nn.kernels.token_cache import TokenRows

VOCAB = 40


def test_rows_are_those_of_the_function_and_computed_once():
    torch.manual_seed(0)
    table = torch.randn(VOCAB, 3)
    asked: list[int] = []

    def compute(token):
        asked.extend(token.tolist())
        return table[token]

    rows = TokenRows(compute, VOCAB)
    with torch.inference_mode():
        for token in torch.randint(1, VOCAB, (6, 4, 5)):
            torch.testing.assert_close(rows(token), table[token], rtol=0, atol=0)
        assert rows(torch.empty(0, 5, dtype=torch.long)).shape == (0, 5, 3)
    asked = [token for token in asked if token]  # 0 fills up
    assert len(asked) == len(set(asked)) > VOCAB // 2


def test_nothing_is_remembered_where_gradients_are():
    weight = torch.ones(VOCAB, 3, requires_grad=True)
    rows = TokenRows(lambda token: weight[token], VOCAB)
    token = torch.tensor([[1, 1, 2]])
    (rows(token).sum() + rows(token).sum()).backward()
    assert weight.grad is not None
    assert weight.grad[:, 0].tolist() == [0, 4, 2] + [0] * (VOCAB - 3)
