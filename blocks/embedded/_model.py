"""The embedded model. Equal texts get equal unit vectors, independent of the other texts of a request.

A forward pass has one text, because that is fastest on a CPU core: nothing is padded, and the activations of one text
stay in the cache.

The ONNX graph (BERT encoder, mean pooling and L2 normalisation) is built in memory at each start, and has no weights:
its initializers refer to tensors in `model.safetensors`, which have the layout of ONNX (float32, little-endian,
row-major). So building takes milliseconds, nothing is written to the disk, and the processes of nodes share the memory
of the file.

Architecture: Devlin et al., 2019 (arXiv:1810.04805). Pooling: Reimers and Gurevych, 2019 (arXiv:1908.10084), over all
tokens with [CLS] and [SEP].
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from prefect_ollama.blocks.embedded._weights import SHA256, find_model_files
from prefect_ollama.blocks.embedded.tokens import CONTEXT, WordPiece
from prefect_ollama.blocks.errors import ConfigurationError

# Floats in a vector of this model.
DIMENSION = 384

# Names of the input and the output of the graph.
INPUT = "ids"
OUTPUT = "embedding"
# Raised when the graph computes other vectors, so that vectors of two graphs are never mixed.
GRAPH_VERSION = 1

# Identity of the vectors: SHA-256 of the hashes of the model's files and of the graph's version.
DIGEST = hashlib.sha256(
    "\n".join([*(f"{name} {sha256}" for name, sha256 in SHA256.items()), f"graph {GRAPH_VERSION}"]).encode()
).hexdigest()


class EmbeddingModel:
    """all-MiniLM-L6-v2 on the CPU.

    Args:
        model_dir: Folder of the model's files; None for the places of `_weights`.
        threads: Threads of one forward pass. Two processes with one thread are faster than one with two.

    Raises:
        ConfigurationError: There is less than one thread.
        ModelFilesError: The model's files are missing, or have other contents than expected.
    """

    def __init__(self, model_dir: str | Path | None = None, *, threads: int = 1) -> None:
        if threads < 1:
            raise ConfigurationError(f"{threads} threads were asked for.", remedy="Ask for one or more.")
        files = find_model_files(model_dir)
        self.tokenizer = WordPiece(files.tokenizer)
        # The hub's cache has links, and onnxruntime refuses a link that leads out of the folder of external data.
        weights = files.weights.resolve()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(weights.parent)
        )
        graph = _build_graph(weights, json.loads(files.config.read_bytes()))
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.size = weights.stat().st_size
        self.modified = weights.stat().st_mtime

    def embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the vector of a text by its token ids, at most `CONTEXT`: float32, shape (384,), of norm 1."""
        if not 0 < len(ids) <= CONTEXT:
            raise ValueError(f"a text of {len(ids)} tokens; 1 to {CONTEXT} can be embedded")
        vector: npt.NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: np.asarray(ids, np.int64)})[0]
        return vector


def _build_graph(weights: Path, config: dict[str, Any]) -> bytes:
    """Return the serialised ONNX model for one text.

    Its input `ids` is int64 of shape (tokens,). Its output `embedding` is float32 of shape (hidden_size,) and norm 1.
    There is no attention mask, because a single text has no padding.

    Args:
        weights: The `model.safetensors`. The runtime must search for its name in its folder.
        config: The parsed `config.json`.
    """
    graph = _Builder(weights)
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    first, second = graph.constant("first", [0]), graph.constant("second", [1])

    def linear(x: str, name: str) -> str:
        # PyTorch stores weights as (out, in).
        return graph.node("Gemm", x, graph.tensor(f"{name}.weight"), graph.tensor(f"{name}.bias"), transB=1)

    def residual(x: str, y: str, name: str) -> str:
        scale, bias = graph.tensor(f"{name}.LayerNorm.weight"), graph.tensor(f"{name}.LayerNorm.bias")
        return graph.node("LayerNormalization", graph.node("Add", x, y), scale, bias, epsilon=epsilon)

    words = graph.node("Gather", graph.tensor("embeddings.word_embeddings.weight"), INPUT)
    places = graph.tensor("embeddings.position_embeddings.weight")
    places = graph.node("Slice", places, first, graph.node("Shape", INPUT))
    # BERT distinguishes two sentences by types. A single text is the first one: type 0.
    kind = graph.node("Slice", graph.tensor("embeddings.token_type_embeddings.weight"), first, second)
    x = residual(graph.node("Add", words, kind), places, "embeddings")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        # onnxruntime's fused attention, which scales by 1/sqrt(head size), needs a batch axis.
        qkv = [
            graph.node("Unsqueeze", linear(x, f"{name}.attention.self.{part}"), first)
            for part in ("query", "key", "value")
        ]
        attention = graph.node("MultiHeadAttention", *qkv, domain="com.microsoft", num_heads=heads)
        attention = linear(graph.node("Squeeze", attention, first), f"{name}.attention.output.dense")
        x = residual(attention, x, f"{name}.attention.output")
        inner = graph.node("Gelu", linear(x, f"{name}.intermediate.dense"))
        x = residual(linear(inner, f"{name}.output.dense"), x, f"{name}.output")
    mean = graph.node("ReduceMean", x, first, keepdims=0)
    graph.node("LpNormalization", mean, output=OUTPUT, axis=0, p=2)
    return graph.serialise(config["hidden_size"])


class _Builder:
    """Collects nodes and initializers. Tensors keep their names in the safetensors file."""

    def __init__(self, weights: Path) -> None:
        # The safetensors format: length of the header (uint64), JSON header, raw tensors
        # (https://huggingface.co/docs/safetensors).
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._header: dict[str, Any] = json.loads(file.read(length))
        self._start = 8 + length
        self._file = weights.name
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        output = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, name: str, value: list[int]) -> str:
        self._initializers.append(numpy_helper.from_array(np.asarray(value, dtype=np.int64), name))
        return name

    def tensor(self, name: str) -> str:
        entry = self._header[name]
        begin, end = entry["data_offsets"]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=entry["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": self._file, "offset": self._start + begin, "length": end - begin}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._initializers.append(tensor)
        return name

    def serialise(self, size: int) -> bytes:
        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["tokens"])]
        outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [size])]
        graph = helper.make_graph(self._nodes, "all-MiniLM-L6-v2", inputs, outputs, self._initializers)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
