"""`python -m jangtq_demo.export CHECKPOINT DIR`: writes a checkpoint as a JANGTQ bundle."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.vocabulary import PROFILE_BITS
from jangtq_bundle.writing.writer import DenseModel, write_bundle
from jangtq_demo.checkpoint import load_checkpoint
from jangtq_demo.tokenizer import bundle_files
from jangtq_proto.errors import JangtqError

NAME: Final = "jangtq-demo"


def export(checkpoint: Path, directory: Path, *, profile: str) -> None:
    """Write to a new or empty directory, by the same converter as every other model. Raises JangtqError."""
    loaded = load_checkpoint(checkpoint)
    model = DenseModel(loaded.config, loaded.tensors, bundle_files(loaded.tokenizer))
    write_bundle(directory, model, WriteOptions(NAME, profile=profile))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m jangtq_demo.export", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--profile", choices=sorted(PROFILE_BITS), default="JANGTQ2")
    given = parser.parse_args(arguments)
    try:
        export(given.checkpoint, given.directory, profile=given.profile)
    except JangtqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in given.directory.iterdir())
    print(f"{given.profile} bundle of {size:,} bytes written to {given.directory}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
