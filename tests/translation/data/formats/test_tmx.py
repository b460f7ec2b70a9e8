import bz2
import tracemalloc
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.errors import DataError
from seqtrans.translation.data.formats.tmx import TmxFile
from seqtrans.translation.data.parallel_corpus import read_pairs

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header/><body>\n'
END = "</body></tmx>\n"


def unit(**sentences):
    """A unit from language codes, written with _ for -."""
    tuvs = (
        f'<tuv xml:lang="{code.replace("_", "-")}"><seg>{text}</seg></tuv>\n'
        for code, text in sentences.items()
    )
    return f"<tu>\n{''.join(tuvs)}</tu>\n"


def corpus(folder, content, source="en", target="de"):
    content = content if isinstance(content, bytes) else content.encode()
    (folder / "a.tmx").write_bytes(content)
    return TmxFile(file=folder / "a.tmx", source_language=source, target_language=target)


def read(folder, units, **languages):
    return list(read_pairs(corpus(folder, HEAD + units + END, **languages)))


def is_xml(character):
    return character >= " " and character not in "\ufffe\uffff"


SENTENCES = st.text(st.characters(exclude_categories=["Cs"]).filter(is_xml), min_size=1).map(
    lambda text: " ".join(text.split(" ")).strip(" ")
)


@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8))
def test_every_unit_is_a_pair_as_it_was_written(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("tmx")
    single = [tuple(" ".join(filter(None, text.split(" "))) for text in pair) for pair in pairs]
    text = HEAD + "".join(unit(en=escape(s), de=escape(t)) for s, t in pairs) + END
    assert list(read_pairs(corpus(folder, text))) == single
    assert list(read_pairs(corpus(folder, bz2.compress(text.encode())))) == single


def test_marks_and_codes_are_left_out_and_text_stays(tmp_path):
    marked = (
        'Press <bpt i="1">&lt;b&gt;</bpt><hi type="term">the <ph>{0}</ph>key</hi>'
        '<ept i="1">&lt;/b&gt;</ept>, <it>[i<sub>note</sub>]</it>then\n      wait<ut>x</ut>.'
    )
    assert read(tmp_path, unit(en=marked, de="<![CDATA[a < b]]> &amp; &#228;")) == [
        ("Press the key, then wait.", "a < b & ä")
    ]


def test_other_elements_are_not_text(tmp_path):
    inside = '<note>no</note><prop type="x">no</prop>'
    units = unit(en="one", de="eins").replace("<tu>", f"<tu>{inside}")
    units = units.replace("<seg>", f"{inside}<seg>")
    assert read(tmp_path, units) == [("one", "eins")]


@pytest.mark.parametrize(
    ("languages", "source", "target", "expected"),
    [
        ({"en_US": "1", "de_DE": "2"}, "en", "de", ("1", "2")),
        ({"EN": "1", "de_at": "2"}, "en-GB", "DE", ("1", "2")),
        ({"en_US": "1", "en": "2", "de": "3"}, "en", "de", ("2", "3")),
        ({"en_US": "1", "en_GB": "2", "de": "3"}, "en-GB", "de", ("2", "3")),
        ({"en_GB": "1", "en_US": "2"}, "en", "en-GB", ("2", "1")),
        ({"pt_BR": "1", "pt_PT": "2"}, "pt_PT", "pt_BR", ("2", "1")),
        ({"en_US": "1", "de": "2"}, "en-GB", "de", None),
        ({"eng": "1", "de": "2"}, "en", "de", None),
    ],
)
def test_codes_of_languages_match_their_regions(tmp_path, languages, source, target, expected):
    units = unit(en="a", de="b", en_GB="c", pt_PT="d", pt_BR="e")  # so that there is one
    found = read(tmp_path, unit(**languages) + units, source=source, target=target)
    assert found[:-1] == ([expected] if expected else [])


def test_units_without_both_languages_are_no_pairs(tmp_path):
    units = unit(en="1", fr="2") + unit(en="3", de="4") + unit(de="5")
    assert read(tmp_path, units) == [("3", "4")]
    with pytest.raises(DataError, match=r"a\.tmx: no unit has both en and it: .* en, fr, de$"):
        read(tmp_path, units, target="it")
    with pytest.raises(DataError, match=r"both en and de: it has no units$"):
        read(tmp_path, "")


def test_older_attributes_and_encodings_are_read(tmp_path):
    text = (HEAD + unit(en="one", de="zwölf") + END).replace("xml:lang", "lang")
    latin = text.replace("UTF-8", "iso-8859-1").encode("latin1")
    wide = text.replace("UTF-8", "UTF-16").encode("utf-16")
    for content in (latin, wide, bz2.compress(wide), b"\xef\xbb\xbf" + text.encode()):
        assert list(read_pairs(corpus(tmp_path, content))) == [("one", "zwölf")]


def test_a_document_type_elsewhere_is_never_fetched(tmp_path):
    text = HEAD.replace("<tmx", '<!DOCTYPE tmx SYSTEM "/no/such/tmx14.dtd">\n<tmx')
    text += unit(en="one", de="eins") + END
    assert list(read_pairs(corpus(tmp_path, text))) == [("one", "eins")]


BOMB = '<!DOCTYPE tmx [\n<!ENTITY a "aaaaaaaaaa">\n<!ENTITY b "&a;&a;&a;&a;">]>\n<tmx'
FILE = '<!DOCTYPE tmx [<!ENTITY b SYSTEM "file:///etc/passwd">]>\n<tmx'
OTHER = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx'


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (HEAD.replace("<tmx", BOMB), ":3: ", "declares the entity 'a'; replace it by its text"),
        (HEAD.replace("<tmx", FILE), ":2: ", "declares the entity 'b'; replace it by its text"),
        (
            HEAD.replace("<tmx", OTHER) + unit(en="a&nbsp;b", de="c") + END,
            ":5: ",
            "the entity &nbsp; is not declared",
        ),
        (HEAD + unit(en="a&nbsp;b", de="c") + END, ":4: ", "not XML: undefined entity"),
        (HEAD + "<tu>\n<tuv lang='en'></tu>", ":4: ", "not XML: mismatched tag"),
        (HEAD + unit(en="a", de="b"), ":7: ", "not XML: no element found"),
        (HEAD + "<tu>\n<tuv><seg>a</seg></tuv></tu>" + END, ":4: ", "<tuv> has no xml:lang"),
        ("<xliff>\n</xliff>", ":1: ", "not TMX: it begins with <xliff>, not <tmx>"),
        ("one\ntwo\n", ":1: ", "not XML: syntax error"),
        ("", ":1: ", "not XML: no element found"),
        (
            HEAD.replace("UTF-8", "klingon") + END,
            ":1: ",
            "XML that can't be decoded: unknown encoding",
        ),
        (HEAD.replace("UTF-8", "gb18030") + END, ":1: ", "XML that can't be decoded"),
        ("PK\x03\x04 and so on", ": ", "is a zip archive"),
    ],
)
def test_mistakes_are_one_line_with_their_place(tmp_path, text, place, said):
    with pytest.raises(DataError) as error:
        list(read_pairs(corpus(tmp_path, text)))
    assert str(error.value).startswith(f"{tmp_path}/a.tmx{place}{said}")
    assert "\n" not in str(error.value)


def test_pairs_come_while_the_file_is_read(tmp_path):
    """Memory does not grow with the file, and a sentence without end is refused."""
    many = unit(en="a sentence " * 1000, de="ein Satz " * 1000) * 500
    files = corpus(tmp_path, HEAD + many + END)
    tracemalloc.start()
    assert sum(1 for _ in read_pairs(files)) == 500
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < files.file.stat().st_size / 4
    endless = HEAD + unit(en="a" * ((1 << 24) + 1), de="b") + END
    with pytest.raises(DataError, match=r"a\.tmx:4: a sentence has more than 16,777,216"):
        list(read_pairs(corpus(tmp_path, endless)))


def test_one_language_on_both_sides_is_refused(tmp_path):
    with pytest.raises(ValueError, match="en-US and target_language EN_us must differ"):
        TmxFile(file=tmp_path, source_language="en-US", target_language="EN_us")
