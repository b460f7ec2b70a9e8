"""Gradients of strided convolutions on tiny maps, in bf16, beside those in fp32."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.images.models.build import build_image_model
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.resnet import ResNetConfig
from seqtrans.nn.kernels.conv_stride_guard import GuardedStrides, guard_strides

SIZES = [(1, 1), (2, 1), (1, 4), (2, 2), (3, 3)]


def litter():
    """Leave large numbers where what follows gets its memory."""
    for size in (1000, 9216, 36864, 100_000, 400_000):
        torch.full((size,), 1e30)


def gradients(model, images, *, bf16):
    model.zero_grad()
    litter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = model(images)
    output.float().square().sum().backward()
    return output.float(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(("kernel", "stride"), list(product((3, 5, 7), (2, 3, 4))))
@pytest.mark.parametrize("size", SIZES)
def test_those_of_one_layer_agree(kernel, stride, size):
    torch.manual_seed(1)
    layer = nn.Conv2d(32, 32, kernel, stride, kernel // 2)
    guarded = guard_strides(nn.Sequential(copy.deepcopy(layer)))[0]
    images = torch.randn(8, 32, *size)
    exact, wanted = gradients(layer, images, bf16=False)
    for _ in range(3):
        output, found = gradients(guarded, images, bf16=True)
        assert output.shape == exact.shape
        for name, gradient in wanted.items():
            difference = (found[name] - gradient).norm() / gradient.norm()
            assert difference < 0.02, name


@pytest.mark.parametrize(("kernel", "stride"), list(product((3, 5, 7), (2, 3, 4))))
@pytest.mark.parametrize("size", SIZES)
def test_those_of_a_mere_function_agree(kernel, stride, size):
    torch.manual_seed(1)
    images, weight = torch.randn(8, 32, *size), torch.randn(32, 32, kernel, kernel)

    def gradient(*, bf16):
        own = weight.clone().requires_grad_()
        litter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), GuardedStrides():
            output = F.conv2d(images, own, stride=(stride, stride), padding=kernel // 2)
        output.float().square().sum().backward()
        return own.grad

    wanted = gradient(bf16=False)
    for _ in range(3):
        assert (gradient(bf16=True) - wanted).norm() < 0.02 * wanted.norm()


def test_a_network_for_photographs_learns_from_tiny_images():
    torch.manual_seed(1)
    image = ImageShape(3, 8, 8)
    model = build_image_model(ResNetConfig(depth=18, stem="imagenet"), image, 10).eval()
    images = torch.randn(8, *image)
    _, wanted = gradients(model, images, bf16=False)
    wanted = copy.deepcopy(wanted)
    for _ in range(3):
        _, found = gradients(model, images, bf16=True)
        for name, gradient in wanted.items():
            assert (found[name] - gradient).norm() < 0.3 * gradient.norm(), name
