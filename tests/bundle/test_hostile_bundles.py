"""What a bundle of a stranger may not do, though it was loaded: run programs, read files, reach out."""

import json
from pathlib import Path

import pytest

from jangtq_bundle.byte_tokenizer import tokenizer_files
from jangtq_coordinator.mlx_lm import load_tokenizer
from jangtq_coordinator.text.chat_template import ChatTemplate
from jangtq_proto.errors import RequestError

ATTACKS = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "modules": "{{ cycler.__init__.__globals__.os.popen('touch TOUCHED').read() }}",
    "functions": "{{ raise_exception.__globals__.items() }}",
    "files": "{% include '/etc/passwd' %}",
    "changes": "{{ messages.append(messages[0]) }}",
    "formats": "{{ '{0.__class__.__mro__}'.format(messages) }}",
}


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    """What of a bundle its tokenizer is made of."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, content in tokenizer_files().items():
        (folder / name).write_bytes(content)
    return folder


def edit(folder: Path, **members: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_template_reaches_nothing_but_the_messages(
    attack: str, tokenizer_folder: Path, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    template = ATTACKS[attack].replace("TOUCHED", str(touched))
    (tokenizer_folder / "chat_template.jinja").write_text(template)
    edit(tokenizer_folder, chat_template=template)
    rendered = ChatTemplate(load_tokenizer(tokenizer_folder), None)
    with pytest.raises(RequestError, match="template refuses"):
        rendered.render([{"role": "user", "content": "Hi"}])
    assert not touched.exists()


def test_a_tokenizer_brings_no_program(tokenizer_folder: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (tokenizer_folder / "evil.py").write_text(
        f"open({str(touched)!r}, 'w')\n"
        "from transformers import PreTrainedTokenizerFast\n"
        "class Evil(PreTrainedTokenizerFast): pass\n"
    )
    edit(tokenizer_folder, tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    try:
        load_tokenizer(tokenizer_folder, {"trust_remote_code": False})
    except ValueError as error:
        assert "trust_remote_code" in str(error)
    assert not touched.exists()
