"""Ways to break a written bundle, for tests of what its reader says."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from tests.support.small_bundles import SHARD, edit_header, edit_json, edit_tensors

INDEX = "model.safetensors.index.json"
SIDECAR = "jangtq_runtime.safetensors"

Break = Callable[[Path], object]


def config(**members: object) -> Break:
    return lambda path: edit_json(path / "config.json", lambda config: config.update(members))


def jang(**members: object) -> Break:
    return lambda path: edit_json(path / "jang_config.json", lambda config: config.update(members))


def without(file: str, member: str) -> Break:
    return lambda path: edit_json(path / file, lambda config: config.pop(member))


def tensors(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda path: edit_tensors(path, change)


def header(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda path: edit_header(path / SHARD, change)


def weight_map(change: Callable[[dict[str, Any]], object]) -> Break:
    return lambda path: edit_json(path / INDEX, lambda index: change(index["weight_map"]))  # type: ignore[arg-type]


def cut(file: str, count: int) -> Break:
    return lambda path: os.truncate(path / file, (path / file).stat().st_size - count)


def replace(file: str, content: bytes) -> Break:
    return lambda path: (path / file).write_bytes(content)


def remove(file: str) -> Break:
    return lambda path: os.remove(path / file)


def both(first: Break, second: Break) -> Break:
    return lambda path: (first(path), second(path))


def sidecar(change: Callable[[dict[str, Any]], object]) -> Break:
    def edit(path: Path) -> None:
        tables = load_file(path / SIDECAR)
        change(tables)
        save_file(tables, path / SIDECAR)

    return edit
