"""The embedded model: text in, unit vector out. Equal text gives an equal vector, whatever surrounds it.

One text a forward pass, because that is the fastest way on a CPU core: no padding, and the activations
of one text stay in its cache.
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

DIMENSION = 384

#: Identity of the vectors: SHA-256 over the SHA-256 of every file of the model and the graph's version.
DIGEST = hashlib.sha256(
    "\n".join([*(f"{name} {sha256}" for name, sha256 in SHA256.items()), f"graph {GRAPH_VERSION}"]).encode()
).hexdigest()


class EmbeddingModel:
    """all-MiniLM-L6-v2 on the CPU.

    Args:
        model_dir: Folder of the model's files; see `weights` for where they are looked for without it.
        threads: Threads of one forward pass. Two processes of one thread do more than one of two.

    Raises:
        ConfigurationError: Less than one thread.
        ModelFilesError: The model's files are missing, or are not the ones expected.
    """

    def __init__(self, model_dir: str | Path | None = None, *, threads: int = 1) -> None:
        if threads < 1:
            raise ConfigurationError(f"{threads} threads were asked for.", remedy="Ask for one or more.")
        files = find_model_files(model_dir)
        self.tokenizer = WordPiece(files.tokenizer)
        # The hub's cache holds links; onnxruntime refuses external data that is one out of its folder.
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
        """Embed one text, given as the ids of `tokenizer.encode` and at most `CONTEXT` of them.

        Returns:
            A float32 vector [384] of Euclidean length 1.
        """
        if not 0 < len(ids) <= CONTEXT:
            raise ValueError(f"a text of {len(ids)} tokens; 1 to {CONTEXT} can be embedded")
        vector: npt.NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: np.asarray(ids, np.int64)})[0]
        return vector
