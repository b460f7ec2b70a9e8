"""Image models against the same networks written out in plain ``torch.nn``, weights copied."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.images.models.cnn import BlockConfig, Cnn, CnnConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.lenet import LeNet, LeNetConfig
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.images.models.perceptron import Perceptron, PerceptronConfig
from seqtrans.nn.conv.convolution import Convolution, ResidualBlock
from seqtrans.nn.dropout import ChannelDropout

IMAGE = ImageShape(channels=3, height=20, width=17)
CLASSES = 5


def images(count=4, image=IMAGE):
    return torch.randn(count, *image, dtype=torch.float64)


def same(mine, theirs, x, *, training=False):
    """Copy the weights in order, made random, then compare values and all gradients."""
    for model in (mine, theirs):
        model.double().train(training)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert a.shape == b.shape
        nn.init.normal_(a, std=0.4)
        b.data.copy_(a)
    found, expected = mine(x), theirs(x)
    torch.testing.assert_close(found, expected)
    ways = torch.randn_like(expected)
    got = torch.autograd.grad(found, list(mine.parameters()), ways)
    wanted = torch.autograd.grad(expected, list(theirs.parameters()), ways)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(mine.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_perceptron_in_training_is_a_linear_map():
    mine = Perceptron(PerceptronConfig(), IMAGE, CLASSES)
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(3 * 20 * 17, CLASSES))
    same(mine, theirs, images(), training=True)


def test_mlp():
    mine = Mlp(MlpConfig(widths=(7, 6), activation="tanh"), IMAGE, CLASSES)
    theirs = nn.Sequential(
        nn.Flatten(), nn.Linear(1020, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5)
    )
    same(mine, theirs, images())


@pytest.mark.parametrize(
    ("padding", "pool", "height", "width"), [(2, "max", 3, 2), (0, "average", 2, 1)]
)
def test_lenet(padding, pool, height, width):
    mine = LeNet(
        LeNetConfig(filters=(2, 3), widths=(7,), activation="mish", padding=padding, pool=pool),
        IMAGE,
        CLASSES,
    )
    kind = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pool]
    theirs = nn.Sequential(
        nn.Conv2d(3, 2, 5, padding=padding),
        nn.Mish(),
        kind(2, 2),
        nn.Conv2d(2, 3, 5),
        nn.Mish(),
        kind(2, 2),
        nn.Flatten(),
        nn.Linear(3 * height * width, 7),
        nn.Mish(),
        nn.Linear(7, CLASSES),
    )
    same(mine, theirs, images())


@pytest.mark.parametrize("training", [False, True])
def test_cnn_with_plain_blocks(training):
    blocks = (
        BlockConfig(filters=4, kernel=5, stride=2, activation="elu", pool="average"),
        BlockConfig(filters=6, kernel=2, padding="none", normalisation="none", pool="max"),
    )
    mine = Cnn(CnnConfig(blocks=blocks, head="flatten", widths=(7,)), IMAGE, CLASSES)
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(4),
        nn.ELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 2 * 1, 7),
        nn.ReLU(),
        nn.Linear(7, CLASSES),
    )
    same(mine, theirs, images(), training=training)


class PlainResidual(nn.Module):
    """The basic block of arXiv:1512.03385, figures 3 and 5, and a head."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("filters", "stride"), [(3, 1), (3, 2), (6, 1)])
def test_residual_block(filters, stride, training):
    convolution = Convolution(
        channels=3, filters=filters, kernel=3, stride=stride, padding=1, batch_norm=True
    )
    mine = ResidualBlock(convolution, "relu")
    same(mine, PlainResidual(3, filters, stride), images(), training=training)


def test_cnn_with_residual_blocks_and_a_mean():
    blocks = (
        BlockConfig(filters=4, residual=True, stride=2),
        BlockConfig(filters=4, residual=True, pool="max"),
    )
    mine = Cnn(CnnConfig(blocks=blocks), IMAGE, CLASSES)
    theirs = nn.Sequential(
        PlainResidual(3, 4, 2),
        PlainResidual(4, 4, 1),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )
    same(mine, theirs, images(), training=True)


def test_channels_are_dropped_whole_and_the_others_scaled():
    torch.manual_seed(1)
    drop = ChannelDropout(0.25)
    found = drop(torch.ones(500, 8, 2, 3))
    assert torch.equal(found, found[:, :, :1, :1].expand_as(found))
    assert found.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert found.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(drop.eval()(found), found)
