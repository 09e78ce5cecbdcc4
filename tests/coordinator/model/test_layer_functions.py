"""The compiled functions: joined matrices, and one function for all layers of a form."""

import mlx.core as mx
import numpy as np

from jangtq_coordinator.model.layer_functions import LayerForm, after_attention, before_attention, join

FORM = LayerForm(
    heads=2,
    kv_heads=1,
    head_dim=8,
    eps=1e-6,
    rope_dims=4,
    rope_base=10000.0,
    rope_scale=1.0,
    rope_traditional=False,
    experts_per_token=2,
    group_size=None,
    bits=None,
)


def test_joined_matrices_have_the_rows_of_all() -> None:
    one, other = (tuple(mx.full((rows, 3), value) for value in (1, 2)) for rows in (2, 4))
    joined = join([one, other])
    assert [part.shape for part in joined] == [(6, 3), (6, 3)]
    assert np.array(joined[1]).tolist() == [[2, 2, 2]] * 6


def test_layers_of_a_form_share_their_functions() -> None:
    assert before_attention(FORM) is before_attention(FORM)
    assert after_attention(FORM) is after_attention(FORM)


def test_keys_turn_with_their_position_and_values_do_not() -> None:
    x, weights = mx.random.normal((2, 1, 16)), (mx.random.normal((32, 16)),)
    found = [before_attention(FORM)(x, mx.array([offset]), mx.ones(16), weights, ()) for offset in (0, 5)]
    (_, keys, values), (_, turned, same) = [[np.array(each) for each in one] for one in found]
    assert keys.shape == values.shape == (2, 1, 1, 8)
    assert not np.allclose(keys, turned)
    np.testing.assert_array_equal(values, same)
