"""What every attention of recurrent decoders must satisfy; a new kind is tried by itself."""

from typing import get_args

import pytest
import torch

from seqtrans.config import loads
from seqtrans.errors import RecipeError
from seqtrans.nn.gather import gather_hypotheses
from seqtrans.translation.models.attention import (
    AttentionConfig,
    AttentionKind,
    CoverageConfig,
    LocationConfig,
    attention_config,
    build_attention,
)
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.interfaces import Memory
from seqtrans.translation.models.recurrent_decoder import RecurrentDecoder
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig

DIM = 6
OPTIONS = {"multi_head": {"num_heads": 2}}  # that have no default
KINDS = {cls.kind: cls(**OPTIONS.get(cls.kind, {})) for cls in get_args(AttentionConfig)}
CONFIGS = KINDS | {
    f"coverage_{update}": CoverageConfig(update=update, coverage_dim=3)
    for update in ("sigmoid", "relu", "softplus", "gru")
}
CONFIGS["location_few"] = LocationConfig(max_positions=2)
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request):
    return request.param


@pytest.fixture
def attention(config):
    torch.manual_seed(0)
    return build_attention(config, DIM, DIM).double()


def drawn(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def in_turn(attention, queries, memory, state=None):
    """Contexts of (B, T, D) queries, one after the other, and the state after them."""
    state = attention.begin(memory) if state is None else state
    contexts = []
    for query in queries.split(1, dim=1):
        context, state = attention.attend(query, memory, state)
        contexts.append(context)
    return torch.cat(contexts, dim=1), state


def test_padding_is_never_looked_at(attention):
    states, queries = drawn(3, 5, DIM), drawn(3, 4, DIM, seed=2)
    polluted = states.masked_fill(~MASK[..., None], 1e3)
    before, after = (
        in_turn(attention, queries, attention.project(m, MASK))[0] for m in (states, polluted)
    )
    torch.testing.assert_close(before, after)


def test_a_sentence_is_the_same_alone(attention):
    states, queries = drawn(3, 5, DIM), drawn(3, 4, DIM, seed=2)
    together, _ = in_turn(attention, queries, attention.project(states, MASK))
    for b, length in enumerate(MASK.sum(dim=1).tolist()):
        real = states[b : b + 1, :length]
        alone = attention.project(real, torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(in_turn(attention, queries[b : b + 1], alone)[0][0], together[b])


def test_kept_sentences_go_on_as_before(attention):
    memory = attention.project(drawn(3, 5, DIM), MASK)
    first, then = drawn(3, 2, DIM, seed=2), drawn(3, 2, DIM, seed=3)
    _, state = in_turn(attention, first, memory)
    expected, _ = in_turn(attention, then, memory, state)
    rows = torch.tensor([2, 0])
    kept = tuple(part[rows] for part in state)
    found, _ = in_turn(attention, then[rows], memory.keep(rows), kept)
    torch.testing.assert_close(found, expected[rows])


def test_hypotheses_do_not_see_each_other(attention):
    memory = attention.project(drawn(3, 5, DIM), MASK)
    histories = drawn(3, 4, 3, DIM, seed=2)  # of 4 hypotheses each
    state = tuple(
        gather_hypotheses(part, torch.zeros(3, 4, dtype=torch.long))
        for part in attention.begin(memory)
    )
    found = []
    for t in range(3):
        context, state = attention.attend(histories[:, :, t], memory, state)
        found.append(context)
    for k in range(4):
        alone, _ = in_turn(attention, histories[:, k], memory)
        torch.testing.assert_close(torch.stack(found, dim=2)[:, k], alone)


def test_a_state_is_a_value(attention):
    memory = attention.project(drawn(3, 5, DIM), MASK)
    _, state = in_turn(attention, drawn(3, 2, DIM, seed=2), memory)
    query, other = drawn(3, 1, DIM, seed=3), drawn(3, 1, DIM, seed=4)
    before = [part.clone() for part in state]
    first, _ = attention.attend(query, memory, state)
    attention.attend(other, memory, state)
    again, _ = attention.attend(query, memory, state)
    assert torch.equal(first, again)
    assert all(map(torch.equal, state, before))


def test_without_a_state_the_order_of_queries_does_not_matter(attention):
    memory = attention.project(drawn(3, 5, DIM), MASK)
    queries = drawn(3, 4, DIM, seed=2)
    expected, state = in_turn(attention, queries, memory)
    if not state:
        torch.testing.assert_close(attention.attend(queries, memory, ())[0], expected)
    else:
        backwards, _ = in_turn(attention, queries.flip(1), memory)
        assert not torch.allclose(backwards.flip(1), expected)


def test_gradients_flow_through_all_steps(attention):
    mask = MASK[1:2, :4]

    def contexts(queries, states):
        return in_turn(attention, queries, attention.project(states, mask))[0]

    inputs = drawn(1, 3, DIM, seed=2).requires_grad_(), drawn(1, 4, DIM).requires_grad_()
    assert torch.autograd.gradcheck(contexts, inputs)


def test_every_kind_has_a_name_in_recipes():
    assert set(get_args(AttentionKind)) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_stands_for_a_mapping_without_options(kind):
    heads = OPTIONS.get(kind, {}).get("num_heads")
    assert attention_config(kind, heads) == CONFIGS[kind]
    number = f", num_heads: {heads}" if heads else ""
    short = f"kind: recurrent\nhidden_dim: 6\nattention: {kind}\n" + number[2:]
    full = f"kind: recurrent\nhidden_dim: 6\nattention: {{kind: {kind}{number}}}"
    models = []
    for text in (short, full):
        decoder = loads(RecurrentDecoderConfig, text, "r.yaml")
        assert decoder.attention_config == CONFIGS[kind]
        encoder = RecurrentEncoderConfig(hidden_dim=3, embedding_dim=4)
        torch.manual_seed(0)
        models.append(EncoderDecoder(ModelConfig(encoder=encoder, decoder=decoder), 9, 9))
    one, other = (model.state_dict() for model in models)
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "attention: {kind: multi_head}",
            "r.yaml:1: attention lacks the key 'num_heads'",
        ),
        (
            "attention: {kind: multi_head, num_heads: 3}",
            "r.yaml:1: num_heads (3) must divide hidden_dim (512)",
        ),
        (
            "attention: {kind: multi_head, num_heads: 2}\nnum_heads: 2",
            "r.yaml:2: num_heads (2) is given twice: attention has it too",
        ),
        (
            "attention: {kind: dot}\nnum_heads: 2",
            "r.yaml:2: num_heads (2) belongs to multi_head attention, not to dot",
        ),
    ],
)
def test_contradictions_are_said_with_their_place(text, message):
    with pytest.raises(RecipeError) as error:
        loads(RecurrentDecoderConfig, text, "r.yaml")
    assert str(error.value) == message


@pytest.mark.parametrize(
    "text", ["attention: additiv", "attention: {kind: additiv}"], ids=["name", "mapping"]
)
def test_an_unknown_kind_is_refused_with_the_nearest(text):
    with pytest.raises(RecipeError, match="did you mean 'additive'"):
        loads(RecurrentDecoderConfig, text, "r.yaml")


def test_whole_targets_are_attended_from_at_once_where_nothing_is_remembered(config, monkeypatch):
    decoder = RecurrentDecoder(RecurrentDecoderConfig(hidden_dim=6, attention=config), 6)
    seen, attend = [], decoder.attention.attend

    def watched(query, memory, state):
        seen.append(query.size(1))
        return attend(query, memory, state)

    monkeypatch.setattr(decoder.attention, "attend", watched)
    states = torch.randn(3, 5, 6)
    decoder(torch.randn(3, 4, 6), Memory(states, MASK, states[:, 0]))
    remembers = bool(decoder.attention.begin(decoder.attention.project(states, MASK)))
    assert seen == ([1] * 4 if remembers else [4])


def test_weights_are_those_of_the_contexts(config, attention):
    """Contexts are the mean of values, weighted so; with several heads, of each head's."""
    memory = attention.project(drawn(3, 5, DIM), MASK)
    query, state = drawn(3, 1, DIM, seed=2), attention.begin(memory)
    weights, _ = attention.weigh(query, memory, state)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 1, dtype=torch.float64))
    assert not weights[~MASK[:, None]].any()
    if config.kind == "multi_head":  # values that are 1 at one position show every head's weight
        torch.nn.init.eye_(attention.output_projection.weight)
        for position in range(5):
            value = torch.zeros_like(memory.value)
            value[:, :, position] = 1
            context, _ = attention.attend(query, memory._replace(value=value), state)
            torch.testing.assert_close(context.mean(2), weights[:, :, position])
        return
    context, _ = attention.attend(query, memory, state)
    torch.testing.assert_close(weights @ memory.value, context)
