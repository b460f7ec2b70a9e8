"""Image models must tell squares, crosses and lines apart, wherever in the image they are."""

import pytest
import torch
import torch.nn.functional as F

from seqtrans.images.models.cnn import BlockConfig, Cnn, CnnConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.lenet import LeNet, LeNetConfig
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.images.models.perceptron import Perceptron, PerceptronConfig

IMAGE, SIZE = ImageShape(1, 12, 12), 5
PLAIN = BlockConfig(filters=8, pool="max")
RESIDUAL = BlockConfig(filters=16, residual=True, pool="max")


def shapes():
    """A square's outline, a cross, a lying line; 5 x 5 pixels, the line one of its rows."""
    square = torch.ones(SIZE, SIZE)
    square[1:-1, 1:-1] = 0
    cross = torch.eye(SIZE).maximum(torch.eye(SIZE).flip(0))
    line = torch.zeros(SIZE, SIZE)
    line[2] = 1
    return torch.stack((square, cross, line))


def draw(count, seed, *, shift=IMAGE.height - SIZE):
    """Shapes at random places, up to ``shift`` from the corner, of random ink, in noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=random)
    images = 0.1 * torch.randn(count, *IMAGE, generator=random)
    places = torch.randint(shift + 1, (count, 2), generator=random).tolist()
    ink = (0.7 + 0.6 * torch.rand(count, generator=random))[:, None, None]
    for image, shape, (row, column) in zip(images, shapes()[labels] * ink, places, strict=True):
        image[0, row : row + SIZE, column : column + SIZE] += shape
    return images, labels


def learn(model, images, labels, steps, rate):
    optimizer = torch.optim.Adam(model.parameters(), rate)
    model.train()
    for step in range(steps):
        rows = torch.arange(step * 32, step * 32 + 32) % len(images)
        loss = F.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model.eval()(images).argmax(dim=1) == labels).double().mean().item()


@pytest.mark.parametrize(
    ("build", "config", "steps", "rate"),
    [
        (Mlp, MlpConfig(widths=(64,), dropout=0.1), 250, 4e-3),
        (LeNet, LeNetConfig(filters=(6, 12), widths=(24,)), 100, 4e-3),
        (LeNet, LeNetConfig(filters=(6, 16), widths=(24,), activation="tanh"), 100, 4e-3),
        (Cnn, CnnConfig(blocks=(PLAIN, RESIDUAL)), 60, 1e-2),
    ],
    ids=["mlp", "lenet", "lenet-tanh", "cnn"],
)
def test_shapes_anywhere(build, config, steps, rate):
    torch.manual_seed(1)
    model = build(config, IMAGE, 3)
    learn(model, *draw(2000, seed=1), steps, rate)
    found = accuracy(model, *draw(500, seed=2))
    assert found >= 0.95


def test_a_perceptron_learns_what_is_linear_and_no_more():
    """Shapes in one place; anywhere, no weighted sum of pixels tells them apart."""
    accuracies = []
    for shift in (0, IMAGE.height - SIZE):
        torch.manual_seed(1)
        model = Perceptron(PerceptronConfig(), IMAGE, 3)
        learn(model, *draw(2000, seed=1, shift=shift), 200, 1e-2)
        accuracies.append(accuracy(model, *draw(500, seed=2, shift=shift)))
    assert accuracies[0] >= 0.98
    assert accuracies[1] < 0.85
