import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.translation.data.length_filter import Cause, DropReport, FilterConfig, classify

LENGTHS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30)
FILTERS = st.builds(
    FilterConfig,
    min_tokens=st.integers(1, 3),
    max_tokens=st.integers(3, 10),
    max_ratio=st.none() | st.sampled_from([1.0, 1.5, 2.0, 3.0]),
)


def test_filter_contradictions_are_refused():
    with pytest.raises(ValueError, match="min_tokens 5 must not exceed max_tokens 4"):
        FilterConfig(min_tokens=5, max_tokens=4)


def cause_in_words(source, target, config):
    """Independent answer: one pair at a time, in the order of the documentation."""
    if source == 0 or target == 0:
        return Cause.EMPTY_SOURCE if source == 0 else Cause.EMPTY_TARGET
    if min(source, target) < config.min_tokens:
        return Cause.SHORT_SOURCE if source < config.min_tokens else Cause.SHORT_TARGET
    if max(source, target) > config.max_tokens:
        return Cause.LONG_SOURCE if source > config.max_tokens else Cause.LONG_TARGET
    ratio = Fraction(max(source, target), min(source, target))
    too_far = config.max_ratio is not None and ratio > Fraction(config.max_ratio)
    return Cause.RATIO if too_far else Cause.KEPT


@given(LENGTHS, FILTERS)
def test_every_pair_gets_its_cause(lengths, config):
    source, target = (np.array([pair[i] for pair in lengths], dtype=np.int32) for i in (0, 1))
    causes = classify(source, target, config)
    assert causes.tolist() == [cause_in_words(s, t, config) for s, t in lengths]


def test_a_limit_itself_is_kept():
    source, target = np.array([2, 2, 9, 3, 4, 1]), np.array([2, 4, 9, 9, 9, 2])
    config = FilterConfig(min_tokens=2, max_tokens=9, max_ratio=2.0)
    kept, ratio, short = Cause.KEPT, Cause.RATIO, Cause.SHORT_SOURCE
    assert classify(source, target, config).tolist() == [kept, kept, kept, ratio, ratio, short]


@given(LENGTHS, LENGTHS)
def test_reports_add_up_and_survive_json(first, second):
    def report(lengths):
        source, target = (np.array([pair[i] for pair in lengths], dtype=np.int32) for i in (0, 1))
        return DropReport.of(classify(source, target, FilterConfig(max_tokens=5, max_ratio=2.0)))

    both = report(first) + report(second)
    assert both == report(first + second)
    assert both.total == len(first) + len(second)
    assert DropReport.from_dict(json.loads(json.dumps(both.as_dict()))) == both


def test_the_report_reads_well():
    report = DropReport({Cause.KEPT: 14_000, Cause.EMPTY_TARGET: 1, Cause.RATIO: 1_200})
    assert str(report) == (
        "15,201 pairs, 14,000 kept, 1,201 dropped: 1 empty target, 1,200 lengths too different"
    )
    assert str(DropReport({Cause.KEPT: 3})) == "3 pairs, 3 kept, 0 dropped"
