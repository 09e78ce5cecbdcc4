"""Cuts a slice out of a bundle on this machine."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.directory import CONFIG_FILE, INDEX_FILE, JANG_CONFIG_FILE, SIDECAR_FILE, Directory
from jangtq_bundle.hashes import HASHES_FILE
from jangtq_bundle.holdings import SLICE_FILE, Holdings, SliceFacts
from jangtq_bundle.slices.byte_source import LocalSource
from jangtq_bundle.slices.slice_plan import SHARD_BYTES, SlicePlan, expected_digests, plan_slice
from jangtq_bundle.slices.transfer import Transfer
from jangtq_bundle.writing.unfinished import OnProgress, UnfinishedBundle, check_target
from jangtq_proto.errors import BundleError

ALWAYS_KEPT: Final = (CONFIG_FILE, JANG_CONFIG_FILE, SIDECAR_FILE)
NEVER_KEPT: Final = (INDEX_FILE, HASHES_FILE, SLICE_FILE)
TEXT_SUFFIXES: Final = (".json", ".jinja", ".txt", ".model")


def slice_bundle(
    source: Path,
    target: Path,
    wanted: Holdings,
    *,
    on_progress: OnProgress = lambda done, total: None,
    shard_bytes: int = SHARD_BYTES,
) -> Bundle:
    """Write what is wanted of a bundle beside `target` and move it there; an interrupted run goes on.

    Raises ConfigurationError for a target that is taken or a disk without room, BundleError for a source that
    is broken or holds less.
    """
    check_target(target)
    bundle = Bundle.open(source)
    check_holdings(bundle, wanted)
    held = bundle.holdings.experts
    plan = plan_slice(bundle.inventory, held, wanted, shard_bytes=shard_bytes)
    facts = SliceFacts(wanted, bundle.fingerprint, tuple(bundle.layer_scales.tolist()))
    unfinished = UnfinishedBundle(target, plan.shards, slice_digest(facts, plan))
    unfinished.open()
    hashes = bundle.reader.hashes
    expected = expected_digests(hashes, held, wanted) if hashes else None
    directory = Directory.open(source)
    Transfer(plan, LocalSource(directory), expected).run(unfinished, on_progress)
    unfinished.finish({SLICE_FILE: facts.to_json(), **dict(_companions(directory, wanted))})
    return Bundle.open(target)


def check_holdings(bundle: Bundle, wanted: Holdings) -> None:
    """Raises BundleError where the bundle, a slice itself perhaps, lacks what is wanted."""
    bundle.check_experts(wanted.experts)
    if wanted.has_dense and not bundle.holdings.has_dense:
        raise BundleError(f"{bundle.path}: holds {bundle.holdings}, and not what a coordinator needs")
    if not wanted.experts and not wanted.has_dense:
        raise BundleError("an empty slice: name experts, or ask for what a coordinator needs")


def slice_digest(facts: SliceFacts, plan: SlicePlan) -> str:
    """Of all that decides about the bytes of a slice."""
    sizes = [[len(shard.header), shard.nbytes] for shard in plan.shards]
    parts = [facts.fingerprint, str(facts.holdings), sizes]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_companion(name: str, wanted: Holdings) -> bool:
    """Whether a slice keeps this small file: tokenizer and template only for a coordinator."""
    if name in ALWAYS_KEPT:
        return True
    is_text = name.endswith(TEXT_SUFFIXES) and not name.startswith(".") and name not in NEVER_KEPT
    return wanted.has_dense and is_text


def _companions(directory: Directory, wanted: Holdings) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.root.iterdir()):
        if is_companion(path.name, wanted):
            found = directory.find(path.name)
            if found is not None:
                yield path.name, found.read_bytes()
