# ruff: noqa: E501 - messages are told in full
"""The wrapper of Keras: what Keras computes, by torch's rules of names, seeds and devices."""

import random
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from seqtrans.errors import CheckpointError, RecipeError
from seqtrans.images.models.build import build_image_model
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.keras import KerasConfig
from seqtrans.images.pretrained.keras_weights import load_keras_file

IMAGE = ImageShape(2, 5, 6)
CODE = '''
import random
from dataclasses import dataclass
import keras
from keras import layers


@dataclass
class MicroBatchSizeLimits:
    kernel: "int"


def small(shape, num_classes, dropout=0.0, head="head", filters=4, bias=True, trainable=True):
    conv = layers.Conv2D(filters, MicroBatchSizeLimits(3).kernel, use_bias=bias)
    norm = layers.BatchNormalization(momentum=0.9, name="norm", trainable=trainable)
    drop = [layers.SpatialDropout2D(dropout, seed=3), layers.Dropout(dropout, seed=3)] if dropout else []
    ends = [layers.Flatten(), layers.Dense(num_classes, name=head)]
    return keras.Sequential([layers.Input(shape), conv, norm, layers.ReLU(), *drop, *ends])


class Noisy(keras.Model):
    def __init__(self, num_classes):
        super().__init__()
        self.flat, self.head = layers.Flatten(), layers.Dense(num_classes)

    def call(self, x, training=False):
        x = x + keras.random.normal(keras.ops.shape(x)) if training else x
        return self.head(self.flat(x))


def noisy(shape, num_classes):
    return Noisy(num_classes)


def twice(shape, num_classes):
    """Layers of one name in two models within a third."""
    x = images = layers.Input(shape)
    for name in ("one", "two"):
        part = keras.Sequential([layers.Input(shape), layers.Dense(shape[-1], name="same")], name=name)
        x = part(x)
    return keras.Model(images, layers.Dense(num_classes, name="head")(layers.Flatten()(x)))


def tf_style(shape, num_classes):
    return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(num_classes, activation="softmax")])


def decayed(shape, num_classes):
    return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(num_classes, kernel_regularizer="l2")])


def bounded(shape, num_classes):
    return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(num_classes, bias_constraint="non_neg")])


def wide(shape, num_classes):
    return small(shape, num_classes + 1)


def unpooled(shape, num_classes):
    return keras.Sequential([layers.Input(shape), layers.Dense(num_classes)])


def too_deep(shape, num_classes):
    return keras.Sequential([layers.Input(shape), layers.Conv2D(4, 9), layers.Flatten(), layers.Dense(num_classes)])


def nothing(shape, num_classes):
    return None


number = 3
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "mine.py").write_text(CODE)
    (folder / "broken.py").write_text("import keras\n\nnot python\n")
    return folder


@pytest.fixture
def build(folder):
    def build(name="small", num_classes=3, seed=1, **arguments):
        torch.manual_seed(seed)
        config = KerasConfig(build=f"mine:{name}", arguments=arguments)
        return build_image_model(config, IMAGE, num_classes, folder)

    return build


def images(count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *IMAGE, generator=generator)


def test_outputs_are_those_of_the_formulas(build):
    """Against torch alone: images keep their orientation, and statistics are those of a batch."""
    model, x = build(), images()
    own = dict(model.state_dict())
    conv = F.conv2d(x, own["conv2d/kernel"].permute(3, 2, 0, 1), own["conv2d/bias"])
    normed = F.batch_norm(conv, None, None, training=True, eps=1e-3).relu()
    flat = normed.permute(0, 2, 3, 1).flatten(1)
    expected = flat @ own["head/kernel"] + own["head/bias"]
    torch.testing.assert_close(model.train()(x), expected)
    stats = {"mean": conv.mean((0, 2, 3)), "variance": conv.var((0, 2, 3), unbiased=False)}
    torch.testing.assert_close(own["norm/moving_mean"], 0.1 * stats["mean"])
    torch.testing.assert_close(own["norm/moving_variance"], 0.9 + 0.1 * stats["variance"])


def test_outputs_and_gradients_are_those_of_keras(build):
    model, x = build(), images()
    plain = model.keras_model
    logits = model(x)
    logits.square().sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    expected = plain(x.permute(0, 2, 3, 1), training=True)
    assert logits.equal(expected)
    values = [v.value for v in plain.trainable_variables]
    gradients = torch.autograd.grad(expected.square().sum(), values)
    assert len(found) == len(values) == 6
    for v, gradient in zip(plain.trainable_variables, gradients, strict=True):
        torch.testing.assert_close(found[v.path.removeprefix(f"{plain.name}/")], gradient)


def test_names_do_not_depend_on_what_was_built_before(build):
    expected = {
        "conv2d/kernel", "conv2d/bias", "norm/gamma", "norm/beta", "norm/moving_mean",
        "norm/moving_variance", "head/kernel", "head/bias",
    }  # fmt: skip
    assert build(dropout=0.5).state_dict().keys() == expected
    assert build(dropout=0.5).state_dict().keys() == expected
    assert build().last_layer == ("head/kernel", "head/bias")
    twice = build("twice")
    assert len(twice.state_dict()) == len(twice.keras_model.variables) == 6


def test_judging_drops_nothing_and_changes_nothing(build):
    model, x = build(dropout=0.5).eval(), images()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        first, second = model(x), model(x)
    assert first.equal(second)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_what_the_builder_froze_stays(build):
    """Keras uses a frozen normalisation as it is, with the statistics that it has."""
    model, x = build(trainable=False), images()
    assert "norm/gamma" not in dict(model.named_parameters())
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    assert model.train()(x).equal(model.eval()(x))
    assert len(before) == 4
    assert all(tensor.equal(before[name]) for name, tensor in model.named_buffers())


@pytest.mark.parametrize(("name", "arguments"), [("small", {"dropout": 0.5}), ("noisy", {})])
def test_all_randomness_is_torchs(build, name, arguments):
    """Of weights and of training steps, whatever was drawn before and by whom."""
    x, drawn = images(), []
    for seed, step in ((1, 2), (1, 2), (1, 3), (2, 2)):
        random.seed(len(drawn))
        model = build(name, seed=seed, **arguments).train()
        for _ in range(len(drawn)):
            model(x)
        torch.manual_seed(step)
        drawn.append((model.state_dict(), model(x), model(x)))
        assert random.random() == random.Random(len(drawn) - 1).random()  # noqa: S311
    kernels = [next(iter(state.values())) for state, _, _ in drawn]
    assert kernels[0].equal(kernels[1])
    assert not kernels[0].equal(kernels[3])
    first, same, other, _ = drawn
    assert first[1].equal(same[1])
    assert first[2].equal(same[2])
    assert not first[1].equal(first[2])
    assert not first[1].equal(other[1])


def test_layers_of_one_seed_draw_apart(build):
    model = build(dropout=0.5).train()
    model(images())
    states = [b for name, b in model.named_buffers() if name.endswith("seed_generator_state")]
    assert len(states) == 2
    assert states[0][0] != states[1][0]
    assert not any("seed" in name for name in model.state_dict())


def test_moves_keep_what_keras_holds(build):
    model = build()
    model.double()
    for variable in model.keras_model.variables:
        assert variable.value.dtype == torch.float64
    model.float().train()(images())
    assert model.get_buffer("norm/moving_mean").abs().sum() > 0


def test_bf16_is_near(build):
    model, x = build().eval(), images()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = model(x)
    torch.testing.assert_close(found.float(), model(x), atol=0.05, rtol=0.05)


def saved(model, path):
    plain = model.keras_model
    plain.save(path) if path.suffix == ".keras" or path.name == "old.h5" else plain.save_weights(
        path
    )
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["new.weights.h5", "new.keras", "old.h5"])
def test_files_of_keras_fill_all_but_a_last_layer_of_other_classes(build, tmp_path, name):
    origin = build(seed=1)
    with torch.no_grad():
        for tensor in origin.state_dict().values():
            tensor.uniform_(0.1, 0.9)
    path = saved(origin, tmp_path / name)
    same = build(seed=2)
    assert load_keras_file(same, path) == []
    for key, tensor in same.state_dict().items():
        assert tensor.equal(origin.state_dict()[key]), key
    fresh, other = (build(num_classes=4, seed=2, dropout=0.3) for _ in range(2))
    assert load_keras_file(other, path) == ["head/kernel", "head/bias"]
    for key, tensor in other.state_dict().items():
        assert tensor.equal((fresh if "head" in key else origin).state_dict()[key]), key
    if name == "old.h5":  # found by the names of layers
        assert load_keras_file(build(head="new"), path) == ["new/kernel", "new/bias"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_of_other_models_change_nothing(build, tmp_path):
    path = saved(build(), tmp_path / "a.weights.h5")
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "text.keras").write_text("no archive")
    for origin, model, message in (
        (
            path,
            build(bias=False),
            "in other shapes, conv2d/kernel; only the last layers may be new",
        ),
        (path, build(filters=5), "holds no weights of this model's layers"),
        (path, build("noisy", num_classes=7), "holds no weights of this model's layers"),
        (tmp_path / "text.h5", build(), "is not a readable file of Keras: "),
        (tmp_path / "text.keras", build(), "is not a readable file of Keras: "),
        (tmp_path / "none.h5", build(), "none.h5: no such file"),
    ):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
            load_keras_file(model, origin)
        assert str(caught.value).startswith(f"{origin}")
        assert "\n" not in str(caught.value)
        assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("none_such:small", "there is no {folder}/none_such.py and no module 'none_such' on Python's path"),
        ("mine:none", "{folder}/mine.py has no function 'none'"),
        ("mine:number", "{folder}/mine.py has no function 'number'"),
        ("broken:small", "'broken' can't be imported: "),
        ("mine:nothing", "mine:nothing must return a keras.Model, not NoneType"),
        ("mine:wide", "the model of mine:wide must give 3 logits for every image, not (4,)"),
        ("mine:unpooled", "must give 3 logits for every image, not (5, 6, 3)"),
        ("mine:tf_style", "gives probabilities; it must give logits: leave out the softmax"),
        ("mine:decayed", "has a regularizer, which this trainer does not apply: use weight_decay"),
        ("mine:bounded", "has a constraint on weights, which this trainer does not apply"),
        ("mine:too_deep", "mine:too_deep failed: mine.py:"),
        ("json:loads", "json:loads failed: "),
    ],
)  # fmt: skip
def test_what_can_not_be_built_is_one_line(folder, build, message):
    with pytest.raises(RecipeError, match=re.escape(message.format(folder=folder))) as caught:
        build_image_model(KerasConfig(build=build), IMAGE, 3, folder)
    assert str(caught.value).startswith("model.build: ")
    assert "\n" not in str(caught.value)


def test_arguments_reach_the_function(build):
    assert build(filters=7).get_parameter("conv2d/kernel").shape == (3, 3, 2, 7)
    with pytest.raises(RecipeError, match=r"mine:small failed: .*unexpected keyword argument 'x'"):
        build(x=1)


@pytest.mark.parametrize(
    "name", ["mine", "mine.small", ":small", "a:b:c", "a b:c", "../mine:small"]
)
def test_a_function_must_be_named(name):
    with pytest.raises(ValueError, match="build must be module:function, not"):
        KerasConfig(build=name)


def test_keras_must_be_there_and_compute_by_torch(monkeypatch, build):
    other = SimpleNamespace(config=SimpleNamespace(backend=lambda: "jax"))
    for module, message in (
        (None, r"models of Keras need pip install 'seqtrans\[keras\]': "),
        (other, "not as Keras 3 with the backend 'torch': set the environment variable "),
        (SimpleNamespace(__version__="2"), "not as Keras 3 with the backend 'torch'"),
    ):
        monkeypatch.setitem(sys.modules, "keras", module)
        with pytest.raises(RecipeError, match=message):
            build()
