"""Each broken configuration gets one error that names file, member, found and expected."""

import os
from pathlib import Path

import pytest

from jangtq_bundle.bundle import Bundle
from jangtq_proto.errors import BundleError
from tests.support.bundle_breaks import Break, config, jang, remove, replace, without

CONFIGURATION: dict[str, tuple[Break, list[str]]] = {
    "no config": (remove("config.json"), ["config.json is missing"]),
    "not JSON": (replace("config.json", b"{"), ["config.json", "not valid JSON"]),
    "not an object": (replace("config.json", b"[]"), ["config.json", "found a JSON list", "an object"]),
    "not text": (replace("config.json", b"\xff\xfe"), ["config.json", "not valid JSON"]),
    "too deep": (replace("config.json", b'{"a":' * 100_000), ["config.json", "nested too deeply"]),
    "duplicate": (replace("config.json", b'{"a": 1, "a": 2}'), ["config.json", "'a' stands twice"]),
    "not a number": (replace("config.json", b'{"a": NaN}'), ["config.json", "NaN is not a JSON number"]),
    "weight format": (jang(weight_format="gguf"), ["jang_config.json", "weight_format is 'gguf'", "'mxtq'"]),
    "version": (jang(version=3), ["jang_config.json", "version is 3", "expected 2"]),
    "version text": (jang(version="1.9"), ["jang_config.json", "version is '1.9'"]),
    "end tokens": (config(eos_token_id="[e~["), ["config.json", "eos_token_id is '[e~['"]),
    "model type": (config(model_type="llama"), ["model_type is 'llama'", "'minimax_m2'"]),
    "a program": (config(model_file="model.py"), ["config.json", "model_file names a program"]),
    "too long": (
        lambda path: os.truncate(path / "config.json", 300 << 20),
        ["config.json: 314572800 bytes, at most 268435456"],
    ),
    "scoring": (config(scoring_func="softmax"), ["scoring_func is 'softmax'", "'sigmoid'"]),
    "hidden size": (config(hidden_size=0), ["config.json", "hidden_size is 0", "from 1"]),
    "hidden size text": (config(hidden_size="64"), ["hidden_size is '64'", "an integer"]),
    "hidden size flag": (config(hidden_size=True), ["hidden_size is True", "an integer"]),
    "group": (config(hidden_size=96), ["tensor 'model.embed_tokens.weight'", "rows of 96 values"]),
    "no layers": (without("config.json", "num_hidden_layers"), ["num_hidden_layers is missing"]),
    "no rotary": (without("config.json", "rotary_dim"), ["rotary_dim is missing"]),
    "too many picks": (config(num_experts_per_tok=33), ["num_experts_per_tok is 33", "from 1 to 32"]),
    "heads": (config(num_attention_heads=3, num_key_value_heads=2), ["num_attention_heads is 3", "multiple"]),
    "padding": (
        jang(expert_padding={"original_num_local_experts": 30, "padded_num_local_experts": 64}),
        ["expert_padding says 64", "num_local_experts 32"],
    ),
}


@pytest.mark.parametrize("case", list(CONFIGURATION))
def test_broken_configuration(case: str, bundle_copy: Path) -> None:
    breaks, fragments = CONFIGURATION[case]
    breaks(bundle_copy)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle_copy)
    for fragment in fragments:
        assert fragment in str(caught.value)
