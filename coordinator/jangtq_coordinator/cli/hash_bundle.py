"""`jangtq-coord hash`: compares a bundle with its hashes, or writes them where it has none."""

from pathlib import Path

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.hashes import HASHES_FILE
from jangtq_bundle.writing.writer import add_hashes


def hash_bundle(path: Path) -> None:
    """Read every tensor once. Raises BundleError for the first that changed."""
    bundle = Bundle.open(path)
    hashes = bundle.reader.hashes
    if hashes is None:
        bundle = add_hashes(path)
        print(f"wrote {path / HASHES_FILE}: copy it beside every other copy of this bundle")
    else:
        tensors = bundle.inventory.tensors
        hashes.check_files(tensors[name] for name in sorted(tensors))
        print(f"all {len(tensors)} tensors are as {path / HASHES_FILE} says")
    print(f"fingerprint {bundle.fingerprint}")
