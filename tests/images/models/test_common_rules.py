"""What image models refuse, keep and promise, whichever it is."""

import pytest
import torch

from seqtrans.config.validation import loads
from seqtrans.errors import RecipeError
from seqtrans.images.models.cnn import BlockConfig, Cnn, CnnConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.lenet import LeNet, LeNetConfig
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.images.models.perceptron import Perceptron, PerceptronConfig

BLOCKS = (
    BlockConfig(filters=4, pool="max"),
    BlockConfig(filters=6, residual=True, stride=2),
)
MODELS = [
    (Perceptron, PerceptronConfig()),
    (Mlp, MlpConfig(widths=(9,))),
    (LeNet, LeNetConfig(filters=(2, 3), widths=(9,))),
    (Cnn, CnnConfig(blocks=BLOCKS)),
    (Cnn, CnnConfig(blocks=BLOCKS, head="flatten", widths=(9, 8))),
]
of_every_model = pytest.mark.parametrize(("build", "config"), MODELS)


@of_every_model
@pytest.mark.parametrize("image", [(1, 12, 12), (3, 13, 29)])
def test_logits_for_every_class_from_any_size(build, config, image):
    model = build(config, ImageShape(*image), 7)
    assert model(torch.randn(2, *image)).shape == (2, 7)


@of_every_model
def test_memory_layout_changes_nothing(build, config):
    image = ImageShape(3, 14, 13)
    model = build(config, image, 4).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, *image, dtype=torch.float64)
    expected = model(x)
    found = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)


@of_every_model
def test_every_weight_learns(build, config):
    torch.manual_seed(1)
    image = ImageShape(2, 14, 13)
    model = build(config, image, 4)
    logits = model(torch.randn(64, *image))
    torch.nn.functional.cross_entropy(logits, torch.randint(4, (64,))).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("residual", [False, True])
def test_values_keep_their_size_through_many_rectified_convolutions(residual):
    """Mean squares of a plain chain stay near 2 (arXiv:1502.01852); torch's own start loses 5/6."""
    torch.manual_seed(1)
    block = BlockConfig(filters=32, normalisation="none", residual=residual)
    model = Cnn(CnnConfig(blocks=(block,) * 6), ImageShape(1, 24, 24), 10)
    squares = []
    for part in model.blocks.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(lambda _m, _i, out: squares.append(out.square().mean()))
            assert not part.bias.any()
    with torch.no_grad():
        model(torch.randn(4, 1, 24, 24))
    if not residual:
        assert len(squares) == 6
        assert all(0.5 < square < 4 for square in squares), squares
    assert all(square > 0.5 for square in squares), squares


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (Mlp, MlpConfig(dropout=0.5)),
        (LeNet, LeNetConfig(dropout=0.5)),
        (Cnn, CnnConfig(blocks=(BlockConfig(filters=9, dropout=0.5, normalisation="none"),))),
        (Cnn, CnnConfig(blocks=BLOCKS[:1], widths=(9,), dropout=0.5)),
    ],
)
def test_each_dropout_works_and_only_in_training(build, config):
    image = ImageShape(1, 12, 12)
    model, x = build(config, image, 3), torch.randn(4, *image)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_the_perceptron_answers_by_a_step_whose_class_is_that_of_the_logits():
    image = ImageShape(1, 4, 4)
    model = Perceptron(PerceptronConfig(), image, 5)
    torch.nn.init.normal_(model.linear.weight)
    torch.nn.init.constant_(model.linear.bias, -50)  # far below 0, which must not matter
    x = torch.randn(40, *image)
    logits, steps = model(x), model.eval()(x)
    assert set(steps.unique().tolist()) == {0, 1}
    assert torch.equal(steps.sum(dim=1), torch.ones(40))
    assert torch.equal(steps.argmax(dim=1), logits.argmax(dim=1))
    honest = Perceptron(PerceptronConfig(output="logits"), image, 5)
    honest.load_state_dict(model.state_dict())
    torch.testing.assert_close(honest.eval()(x), logits)


def test_tied_units_of_a_perceptron_all_fire():
    model = Perceptron(PerceptronConfig(), ImageShape(1, 2, 2), 3).eval()
    assert model(torch.ones(1, 1, 2, 2)).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(("padding", "least"), [(0, 16), (1, 14), (2, 12)])
def test_lenet_names_the_smallest_image(padding, least):
    config = LeNetConfig(padding=padding)
    assert LeNet(config, ImageShape(1, least, least), 2)
    for height, width in ((least - 1, least), (least, least - 1)):
        message = f"at least {least} x {least} pixels, not {height} x {width}"
        with pytest.raises(RecipeError, match=message):
            LeNet(config, ImageShape(1, height, width), 2)


POOL = BlockConfig(filters=2, pool="max")


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((POOL,) * 4, r"block 4: can't pool 1 x 1 pixels"),
        ((POOL, BlockConfig(filters=2, stride=9, pool="average")), r"block 2: can't pool 1 x 1"),
        (
            (POOL, POOL, BlockConfig(filters=2, kernel=4, padding="none")),
            r"block 3: a kernel of 4 does not fit into 2 x 3 pixels",
        ),
    ],
)
def test_a_cnn_names_the_block_that_an_image_is_too_small_for(blocks, message):
    with pytest.raises(RecipeError, match=message) as caught:
        Cnn(CnnConfig(blocks=blocks), ImageShape(1, 8, 12), 2)
    assert "\n" not in str(caught.value)
    assert Cnn(CnnConfig(blocks=blocks[:-1]), ImageShape(1, 8, 12), 2)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"kernel": 4}, "padding 'same' needs an odd kernel, not 4"),
        ({"residual": True, "padding": "none"}, "residual .* needs padding 'same'"),
    ],
)
def test_blocks_that_contradict_themselves_are_refused(block, message):
    with pytest.raises(ValueError, match=message):
        BlockConfig(filters=2, **block)


def test_a_cnn_without_blocks_or_with_dropout_of_nothing_is_refused():
    with pytest.raises(ValueError, match="blocks is empty"):
        CnnConfig(blocks=())
    with pytest.raises(ValueError, match="needs hidden layers, which widths gives"):
        CnnConfig(blocks=BLOCKS, dropout=0.1)


def test_a_recipe_lists_blocks_and_mistakes_name_their_line():
    text = "kind: cnn\nblocks:\n- {filters: 4, pool: max}\n- {filters: 6, residual: true"
    config = loads(CnnConfig, text + ", stride: 2}\n", "my.yaml")
    assert config == CnnConfig(blocks=BLOCKS)
    with pytest.raises(RecipeError, match=r"my\.yaml:4: .*kernel.* not 0"):
        loads(CnnConfig, text + ", kernel: 0}\n", "my.yaml")
    with pytest.raises(RecipeError, match=r"my\.yaml:4: .*odd kernel, not 2"):
        loads(CnnConfig, text + ", kernel: 2}\n", "my.yaml")
    with pytest.raises(RecipeError, match=r"activation.*'softplus'"):
        loads(MlpConfig, "activation: softplux\n", "my.yaml")
