"""Warnings of translations that look wrong, and none of right ones."""

import pytest

from seqtrans.translation.inference.output_guard import scripts_of, warnings_of
from seqtrans.translation.protocols import Specials
from tests.support.searches import Language

LATIN = frozenset({"LATIN"})

WRONG = [
    ("Go home now.", "Geh nach nach nach Hause.", {"loop": "nach"}),
    ("Go home.", "Geh nach Hause und so und so und so weiter.", {"loop": "und so"}),
    ("Great.", "Wundererererererer.", {"loop": "er"}),
    ("Please turn on the light", "Bitte turn on the light an", {"copy": "turn on the light"}),
    ("He is here.", "Er ist здесь.", {"script": ["здесь."]}),
    ("It costs 1,234.50 or 7.", "Es kostet 1.234,50.", {"numbers": ["7"]}),
    ("Take 5 of 5.", "Nimm 5.", {"numbers": ["5"]}),
    (
        "Hello {name}, %s of %(count)d",
        "Hallo {Name}, %s",
        {"placeholders": ["{name}", "%(count)d"]},
    ),
    ("<b>Bold</b> at https://a.b/c.", "<b>Fett bei https://a.b/c.", {"placeholders": ["</b>"]}),
    ("Write to me@a.org.", "Schreib mir.", {"placeholders": ["me@a.org"]}),
    ("Use %1$s now", "Nutze es", {"placeholders": ["%1$s"]}),
]
RIGHT = [
    ("No no no no!", "Nein nein nein nein!"),
    ("It is 100 % sure at 10:30.", "Es ist um 10.30 zu 100 % sicher."),
    ("New York City Hall Park opens.", "New York City Hall Park öffnet."),
    ("Press {key} for ${x} {{y}} <br/>", "Drücke {key} für ${x} {{y}} <br/>"),
    ("He has \u0661\u0662 cats.", "Er hat 12 Katzen."),
    ("Brrrrrrr... wait......", "Brr... warte......"),
    ("It is 65 ºC now.", "Es hat jetzt 65 ºC."),
    ("Home Assistant OS in a box", "Home Assistant OS in der Kiste"),
    ("", ""),
]


@pytest.mark.parametrize(("source", "translation", "expected"), WRONG)
def test_what_looks_wrong_is_named(source, translation, expected):
    assert warnings_of(source, translation, (8, 8), LATIN) == expected


@pytest.mark.parametrize(("source", "translation"), RIGHT)
def test_what_is_right_has_no_warning(source, translation):
    assert warnings_of(source, translation, (8, 8), LATIN) == {}


@pytest.mark.parametrize(
    ("lengths", "kinds"),
    [((4, 15), []), ((4, 16), ["too_long"]), ((20, 7), []), ((21, 7), ["too_short"]), ((0, 0), [])],
)
def test_lengths_are_compared(lengths, kinds):
    found = warnings_of("a", "b", lengths, LATIN)
    assert found == {kind: list(lengths) for kind in kinds}


def test_the_scripts_of_a_language_are_those_of_its_tokens():
    pieces = ["<pad>", "<s>", "</s>", "<unk>", "<0x41>", "▁das", "Ώ", *["wort"] * 40]
    assert scripts_of(Language(Specials(0, 1, 2, 3), pieces)) == LATIN
    pieces += ["λόγος"] * 5
    assert scripts_of(Language(Specials(0, 1, 2, 3), pieces)) == {"LATIN", "GREEK"}
