from seqtrans.errors import LONGEST_LINE, MOST_LINES, RecipeError


def test_a_message_can_not_steer_a_terminal():
    said = str(RecipeError("one \x1b[2J\x00\u202e two\nthr\u00e9e \udc80"))
    assert said == "one \\x1b[2J\\x00\\u202e two\nthr\u00e9e \\udc80"


def test_a_message_can_not_fill_a_terminal():
    said = str(RecipeError("\n".join(f"mistake {i}" for i in range(MOST_LINES + 23)))).split("\n")
    assert said[-2:] == [f"mistake {MOST_LINES - 1}", "and 23 lines more"]
    assert str(RecipeError("x" * 2 * LONGEST_LINE)) == "x" * LONGEST_LINE + "..."
    assert str(RecipeError("\n".join("ab"))) == "a\nb"
