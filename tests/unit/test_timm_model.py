"""The wrapper of timm, with a stand-in for the library, which tests need not install."""

import re
import sys
from types import SimpleNamespace

import pytest
from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.models.images.shape import ImageShape
from seqtrans.models.images.timm_model import TimmConfig, timm_model


@pytest.fixture
def timm(monkeypatch):
    """A library of two networks, of which one sees images of one size only."""
    made = []

    def create_model(name, **arguments):
        made.append((name, arguments))
        if arguments["in_chans"] > 4:
            raise RuntimeError("too many\nchannels")
        return nn.Identity()

    stand_in = SimpleNamespace(
        made=made,
        is_model=lambda name: name in ("plain", "patches"),
        is_model_pretrained=lambda name: name == "plain",
        list_models=lambda pattern: [n for n in ("plain", "patches") if pattern.strip("*") in n],
        get_pretrained_cfg=lambda name: SimpleNamespace(fixed_input_size=name == "patches"),
        create_model=create_model,
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    return stand_in


def test_timm_builds_for_the_images_and_classes_at_hand(timm):
    timm_model(TimmConfig(name="plain", pretrained=True), ImageShape(1, 20, 30), 7)
    timm_model(TimmConfig(name="patches"), ImageShape(3, 20, 30), 7)
    common = {"num_classes": 7}
    assert timm.made == [
        ("plain", common | {"pretrained": True, "in_chans": 1}),
        ("patches", common | {"pretrained": False, "in_chans": 3, "img_size": (20, 30)}),
    ]


@pytest.mark.parametrize(
    ("config", "channels", "message"),
    [
        (TimmConfig(name="pla"), 3, "model.name: timm has no 'pla'; near are plain"),
        (TimmConfig(name="zzz"), 3, "model.name: timm has no 'zzz'$"),
        (TimmConfig(name="patches", pretrained=True), 3, "timm has no weights for 'patches'"),
        (TimmConfig(name="plain"), 5, "timm can't build 'plain': too many$"),
    ],
)
@pytest.mark.usefixtures("timm")
def test_what_timm_lacks_is_said_in_one_line(config, channels, message):
    with pytest.raises(RecipeError, match=message):
        timm_model(config, ImageShape(channels, 20, 20), 7)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=re.escape("pip install 'seqtrans[timm]'")):
        timm_model(TimmConfig(name="plain"), ImageShape(3, 20, 20), 7)
