"""The embedded model. Equal texts get equal unit vectors, whatever other texts a request has.

A forward pass has one text, because that is fastest on a CPU core: nothing is padded, and the activations of one text
stay in the cache.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from prefect_ollama.blocks.embedded._graph import GRAPH_VERSION, INPUT, OUTPUT, build_graph
from prefect_ollama.blocks.embedded._weights import SHA256, find_model_files
from prefect_ollama.blocks.embedded.tokens import CONTEXT, WordPiece
from prefect_ollama.blocks.errors import ConfigurationError

# Floats in a vector of this model.
DIMENSION = 384

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
        graph = build_graph(weights, json.loads(files.config.read_bytes()))
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.size = weights.stat().st_size
        self.modified = weights.stat().st_mtime

    def embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        """Return the vector of a text by its token ids, at most `CONTEXT`: float32, shape (384,), of norm 1."""
        if not 0 < len(ids) <= CONTEXT:
            raise ValueError(f"a text of {len(ids)} tokens; 1 to {CONTEXT} can be embedded")
        vector: npt.NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: np.asarray(ids, np.int64)})[0]
        return vector
