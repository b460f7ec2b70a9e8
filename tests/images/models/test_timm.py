"""The wrapper of timm, with a stand-in for the library, which tests need not install."""

import re
import sys
from types import SimpleNamespace

import pytest
from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.timm import TimmConfig, timm_model


@pytest.fixture
def timm(monkeypatch):
    """A library of two networks, of which one sees images of one size only."""
    made = []

    def create_model(name, **arguments):
        made.append((name, arguments))
        if arguments["in_chans"] > 4:
            raise RuntimeError("too many\nchannels")
        return nn.Conv2d(arguments["in_chans"], 1, 16)

    def get_pretrained_cfg(name):
        if "." in name:
            raise RuntimeError(f"Invalid pretrained tag of {name}.")
        return SimpleNamespace(fixed_input_size=name == "patches")

    stand_in = SimpleNamespace(
        made=made,
        is_model=lambda name: name in ("plain", "plain.odd", "patches"),
        is_model_pretrained=lambda name: name == "plain",
        list_models=lambda: ["plain", "patches"],
        get_pretrained_cfg=get_pretrained_cfg,
        create_model=create_model,
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    return stand_in


def test_timm_builds_for_the_images_and_classes_at_hand(timm):
    model = timm_model(TimmConfig(name="plain", pretrained=True), ImageShape(1, 20, 30), 7)
    assert model.training
    timm_model(TimmConfig(name="patches"), ImageShape(3, 20, 30), 7)
    common = {"num_classes": 7}
    assert timm.made == [
        ("plain", common | {"pretrained": True, "in_chans": 1}),
        ("patches", common | {"pretrained": False, "in_chans": 3, "img_size": (20, 30)}),
    ]


@pytest.mark.parametrize(
    ("config", "channels", "message"),
    [
        (TimmConfig(name="plane"), 3, r"timm has no 'plane'; did you mean 'plain'\?"),
        (
            TimmConfig(name="plain.odd"),
            3,
            "build 'plain.odd' for these images: Invalid pretrained",
        ),
        (TimmConfig(name="zzz"), 3, "model.name: timm has no 'zzz'$"),
        (TimmConfig(name="patches", pretrained=True), 3, "timm has no weights for 'patches'"),
        (TimmConfig(name="plain"), 5, "can't build 'plain' for these images: too many$"),
        (TimmConfig(name="plain"), 3, "for these images: Calculated padded input size"),
    ],
)
@pytest.mark.usefixtures("timm")
def test_what_timm_lacks_is_said_in_one_line(config, channels, message):
    with pytest.raises(RecipeError, match=message):
        timm_model(config, ImageShape(channels, 20, 15), 7)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=re.escape("pip install 'seqtrans[timm]'")):
        timm_model(TimmConfig(name="plain"), ImageShape(3, 20, 20), 7)
