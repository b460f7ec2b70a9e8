"""Blocks of convolutions beside the same in single steps of torch.nn."""

from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqtrans.nn.activations import ActivationName, activation
from seqtrans.nn.conv.convolution import NEVER_FALL, Convolution, PlainBlock
from seqtrans.nn.conv.inception import Layer, Mixed
from seqtrans.nn.conv.inverted_residual import DepthwiseSeparable, InvertedResidual, SamePaddedConv
from seqtrans.nn.conv.pooling import averaged_by_products, regional_means
from seqtrans.nn.conv.residual import BasicBlock, Bottleneck, start_as_shortcuts
from seqtrans.nn.initialize import he_convolutions


def unlike_fresh(module):
    """Give every batch normalisation numbers that show when it is left out or misplaced."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (part.bias, part.running_mean):
                nn.init.normal_(tensor)
    return module.double().eval()


def normalized(x, norm):
    mean, variance, weight, bias = (
        tensor[:, None, None]
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (variance + norm.eps).sqrt() * weight + bias


@pytest.mark.parametrize("pool", [regional_means, averaged_by_products])
@pytest.mark.parametrize("size", [(1, 2), (3, 7), (7, 7), (8, 14), (10, 23)])
def test_regional_means_are_torchs(pool, size):
    torch.manual_seed(0)
    images = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    pooled, expected = pool(images, 7), F.adaptive_avg_pool2d(images, 7)
    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(
        torch.autograd.grad((pooled * weight).sum(), images),
        torch.autograd.grad((expected * weight).sum(), images),
    )


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 8, 7, 6, dtype=torch.float64)


@pytest.mark.parametrize(("stride", "channels"), [(1, 8), (2, 8), (1, 6)])
def test_basic_block(x, stride, channels):
    block = unlike_fresh(BasicBlock(8, channels, stride))
    found = F.conv2d(x, block.conv1.weight, stride=stride, padding=1)
    found = F.conv2d(normalized(found, block.bn1).relu(), block.conv2.weight, padding=1)
    shortcut = x
    if (stride, channels) != (1, 8):
        conv, norm = block.downsample
        shortcut = normalized(F.conv2d(x, conv.weight, stride=stride), norm)
    torch.testing.assert_close(block(x), (normalized(found, block.bn2) + shortcut).relu())


@pytest.mark.parametrize(("stride", "cardinality"), [(1, 1), (2, 1), (1, 4), (2, 4)])
def test_bottleneck_sees_groups_alone(x, stride, cardinality):
    block = unlike_fresh(Bottleneck(8, 64, stride, cardinality, width_per_group=3))
    assert block.conv2.in_channels == 3 * cardinality
    found = normalized(F.conv2d(x, block.conv1.weight), block.bn1).relu()
    groups = [
        F.conv2d(part, weight, stride=stride, padding=1)
        for part, weight in zip(
            found.chunk(cardinality, dim=1), block.conv2.weight.chunk(cardinality), strict=True
        )
    ]
    found = normalized(torch.cat(groups, dim=1), block.bn2).relu()
    found = normalized(F.conv2d(found, block.conv3.weight), block.bn3)
    conv, norm = block.downsample
    shortcut = normalized(F.conv2d(x, conv.weight, stride=stride), norm)
    torch.testing.assert_close(block(x), (found + shortcut).relu())


def test_a_bottleneck_that_changes_no_size_has_a_plain_shortcut():
    assert Bottleneck(16, 4).downsample is None
    assert Bottleneck(16, 4, stride=2).downsample is not None
    assert Bottleneck(8, 4).downsample is not None


@pytest.mark.parametrize("block", [BasicBlock(8, 8), Bottleneck(8, 2, 1, 1, 64)])
def test_blocks_can_start_as_their_shortcuts(x, block):
    start_as_shortcuts(block)
    torch.testing.assert_close(block.double().train()(x), x.relu())


@pytest.mark.parametrize("size", [8, 9, 10, 11])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows(size, kernel, stride):
    """Its rule: the output is rounded up; of the zeros needed the smaller half goes first."""
    length = -(-size // stride)
    first = max((length - 1) * stride + kernel - size, 0) // 2
    x = torch.arange(1.0, size + 1).expand(1, 1, size, size)
    for place in range(kernel):  # a window that sees one column shows which
        conv = SamePaddedConv(1, 1, kernel, stride)
        nn.init.zeros_(conv.weight)
        conv.weight.data[0, 0, kernel // 2, place] = 1
        seen = [column * stride - first + place for column in range(length)]
        expected = [float(at + 1) if 0 <= at < size else 0.0 for at in seen]
        found = conv(x)
        assert found.shape == (1, 1, length, length)
        assert found[0, 0, length // 2].tolist() == expected
        assert torch.equal(conv.weight.data.mT, conv.weight.data) == (place == kernel // 2)


def test_rows_are_padded_as_columns_are():
    conv = SamePaddedConv(1, 1, 3, 2)
    turned = SamePaddedConv(1, 1, 3, 2)
    turned.weight.data = conv.weight.data.mT
    x = torch.randn(1, 1, 8, 11)
    torch.testing.assert_close(conv(x).mT, turned(x.mT))


@pytest.mark.parametrize(("stride", "channels"), [(1, 8), (2, 8), (1, 6)])
def test_inverted_residual(x, stride, channels):
    block = unlike_fresh(InvertedResidual(8, channels, 3, stride, drop_path=0.5))
    found = normalized(F.conv2d(x, block.conv_pw.weight), block.bn1).clamp(0, 6)
    assert found.shape[1] == 48
    padded = F.pad(found, (0, 1, 1, 1) if stride == 2 else (1, 1, 1, 1))
    alone = [
        F.conv2d(padded[:, n : n + 1], block.conv_dw.weight[n : n + 1], stride=stride)
        for n in range(48)
    ]
    found = normalized(torch.cat(alone, dim=1), block.bn2).clamp(0, 6)
    found = normalized(F.conv2d(found, block.conv_pwl.weight), block.bn3)
    shortcut = x if (stride, channels) == (1, 8) else 0
    torch.testing.assert_close(block(x), found + shortcut)


def test_depthwise_separable(x):
    block = unlike_fresh(DepthwiseSeparable(8, 5, 3, 1))
    alone = F.conv2d(x, block.conv_dw.weight, padding=1, groups=8)
    found = normalized(alone, block.bn1).clamp(0, 6)
    expected = normalized(F.conv2d(found, block.conv_pw.weight), block.bn2)
    torch.testing.assert_close(block(x), expected)


def test_a_dropped_path_leaves_whole_images_as_they_were():
    torch.manual_seed(1)
    x = torch.randn(400, 4, 2, 2)
    block = InvertedResidual(4, 4, 3, 1, drop_path=0.25)
    block.bn3.momentum = 0.0
    block.train()
    added = block(x) - x
    dropped = (added.abs() < 1e-6).flatten(1)
    assert torch.equal(dropped.all(1), dropped.any(1))
    assert dropped.all(1).double().mean().item() == pytest.approx(0.25, abs=0.06)
    block.drop_path = 0.0
    kept = ~dropped.all(1)
    torch.testing.assert_close(added[kept], (block(x) - x)[kept] / 0.75)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_branches_stand_side_by_side_in_order(x, pooling):
    stride = 2 if pooling == "max" else 1
    branches = {
        "plain": [{"": Layer(3, (3, 3), stride)}],
        "chain": [{"_1": Layer(5, (1, 3))}, {"_2": Layer(4, (3, 3), stride)}],
    }
    if pooling == "average":
        fork = {"_2a": Layer(2, (1, 3)), "_2b": Layer(3, (3, 1))}
        branches |= {"fork": [{"_1": Layer(4, (1, 1))}, fork]}
        branches |= {"branch_pool": [{"": Layer(7, (1, 1))}]}
    mixed = unlike_fresh(Mixed(8, branches, pooling))

    def conv(name, x, stride=1, padding=(0, 0)):
        part = getattr(mixed, name)
        found = F.conv2d(x, part.conv.weight, stride=stride, padding=padding)
        return normalized(found, part.bn).relu()

    edge = (1, 1) if stride == 1 else (0, 0)
    expected = [
        conv("plain", x, stride, edge),
        conv("chain_2", conv("chain_1", x, padding=(0, 1)), stride, edge),
    ]
    if pooling == "average":
        start = conv("fork_1", x)
        ones = F.conv2d(x, torch.ones(8, 1, 3, 3).double() / 9, padding=1, groups=8)
        expected += [conv("fork_2a", start, padding=(0, 1)), conv("fork_2b", start, padding=(1, 0))]
        expected += [conv("branch_pool", ones)]
    else:
        expected += [F.max_pool2d(x, 3, 2)]
    found = mixed(x)
    assert found.shape[1] == mixed.out_channels
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


@pytest.mark.parametrize("groups", [1, 4])
def test_fresh_convolutions_keep_the_size_of_gradients(groups):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, 3, padding=1, groups=groups)
    he_convolutions(conv)
    assert not conv.bias.any()
    x = torch.zeros(4, 64, 16, 16, requires_grad=True)
    out = conv(x)
    passed = (torch.randn_like(out) > 0) * torch.randn_like(out)  # through a ReLU, half of it
    out.backward(passed)
    inside = x.grad[:, :, 1:-1, 1:-1]
    assert inside.square().mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", sorted(NEVER_FALL))
def test_the_maximum_may_come_before_an_activation_that_never_falls(name):
    torch.manual_seed(0)
    block = PlainBlock(Convolution(channels=3, filters=4, kernel=3), name, "max").double()
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, dtype=torch.float64)

    def results():
        found = block(x)
        return [found, *torch.autograd.grad((found * weight).sum(), [x, *block.parameters()])]

    assert block.pools_first
    expected = nn.functional.max_pool2d(block.activation(block.convolution(x)), 2)
    gradients = torch.autograd.grad((expected * weight).sum(), [x, *block.parameters()])
    torch.testing.assert_close(results(), [expected, *gradients])


def test_which_activations_never_fall():
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    never = {n for n in get_args(ActivationName) if bool((activation(n)(x).diff() >= 0).all())}
    assert never - {"identity", "binary_step"} == NEVER_FALL


@pytest.mark.parametrize(
    ("name", "pooling"), [("gelu", "max"), ("mish", "max"), ("relu", "average")]
)
def test_elsewhere_the_activation_comes_first(name, pooling):
    torch.manual_seed(0)
    block = PlainBlock(Convolution(channels=3, filters=4, kernel=3), name, pooling)
    with torch.no_grad():  # to where these activations fall
        block.convolution[0].bias.fill_(-1)
    x = torch.randn(4, 3, 9, 9)
    expected = block.pool(block.activation(block.convolution(x)))
    assert torch.equal(block(x), expected)
    other = block.activation(block.pool(block.convolution(x)))
    assert not torch.allclose(other, expected, atol=0.01)
