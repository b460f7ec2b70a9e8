"""Docstrings that begin with a noun or an article are named; verbs and properties pass."""

import pytest

from tools import check_docstrings


@pytest.mark.parametrize(
    "docstring",
    ["The sum of x.", "What x weighs.", "``x`` as text.", "Names of x.", "Whether x.", "0 or 1."],
)
def test_a_docstring_without_a_verb_is_named_with_its_line(docstring):
    source = f'class C:\n    def f(self):\n        """{docstring}"""\n'
    assert list(check_docstrings.bad_beginnings(source)) == [(2, docstring.split()[0])]


@pytest.mark.parametrize("docstring", ["Return x.", "See ``C.f``.", "Read, then parse, x.", ""])
def test_verbs_pass(docstring):
    source = f'async def f():\n    """{docstring}"""\n'
    assert not list(check_docstrings.bad_beginnings(source))


def test_properties_and_classes_may_be_nouns():
    source = (
        'class C:\n    """The class."""\n'
        '    @property\n    def f(self):\n        """The value."""\n'
        '    @functools.cached_property\n    def g(self):\n        """The value."""\n'
    )
    assert not list(check_docstrings.bad_beginnings(source))
