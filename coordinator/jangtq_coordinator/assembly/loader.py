"""Makes the loaded model of bundle and cluster."""

import logging
from collections.abc import Callable

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.config import ModelConfig
from jangtq_coordinator.assembly.connect import Cluster
from jangtq_coordinator.config import ClusterSettings
from jangtq_coordinator.engine.loaded_model import LoadedModel, read_generation_config
from jangtq_coordinator.kv.budget import KvShape
from jangtq_coordinator.mlx_lm import TokenizerWrapper, load_tokenizer
from jangtq_coordinator.model.minimax import default_row_type, load_model
from jangtq_coordinator.text.capabilities import read_capabilities
from jangtq_coordinator.transport.worker_info import WorkerInfo
from jangtq_proto.errors import BundleError
from jangtq_proto.wire.row_type import RowType

_log = logging.getLogger("jangtq.bundle")


def row_type_of(settings: ClusterSettings) -> RowType:
    """The type in which the coordinator computes and rows travel."""
    return settings.wire_dtype or default_row_type()


def model_name(bundle: Bundle) -> str:
    """The model's name for clients: that of its folder."""
    return bundle.path.resolve().name


def kv_shape(config: ModelConfig, row_type: RowType) -> KvShape:
    """The sizes of a token in the KV cache."""
    attention = config.attention
    return KvShape(config.layer_count, attention.key_value_head_count, attention.head_size, row_type)


def read_tokenizer(bundle: Bundle) -> TokenizerWrapper:
    """Also says in the log what of it is missing. Raises BundleError."""
    bundle.check_tokenizer()
    try:
        tokenizer = load_tokenizer(
            bundle.path, {"trust_remote_code": False}, eos_token_ids=list(bundle.config.end_tokens)
        )
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle.path}: the tokenizer cannot be read: {error}") from error
    if not tokenizer.has_chat_template:
        _log.warning(
            "%s has no chat template, neither chat_template.jinja nor chat_template in "
            "tokenizer_config.json: chats will be refused; plain completions work",
            bundle.path,
        )
    return tokenizer


def _shares_gpu(worker: WorkerInfo) -> bool:
    return worker.is_here and worker.device == "metal"


def loader(bundle: Bundle, cluster: Cluster, settings: ClusterSettings) -> Callable[[], LoadedModel]:
    """The function that loads the model in the engine's thread, the only one that may use MLX.

    It raises BundleError.
    """

    def load() -> LoadedModel:
        tokenizer = read_tokenizer(bundle)
        bundle.check_dense()
        model = load_model(
            bundle, cluster.dispatcher, row_type_of(settings), cluster.overlap, dense=settings.dense
        )
        return LoadedModel(
            model=model,
            tokenizer=tokenizer,
            name=model_name(bundle),
            context_length=bundle.config.context_length,
            kv_shape=kv_shape(bundle.config, row_type_of(settings)),
            fingerprint=bundle.fingerprint,
            generation=read_generation_config(bundle.path),
            readiness=cluster.readiness,
            capabilities=read_capabilities(bundle.path),
            dense=model.dense,
            timeline=cluster.dispatcher.timeline,
            neighbour_bytes=sum(worker.weight_bytes for worker in cluster.workers if _shares_gpu(worker)),
        )

    return load
