"""The model once more, in plain NumPy and float64, as the paper writes it: the yardstick of the graph."""

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

_erf = np.frompyfunc(math.erf, 1, 1)


class BertReference:
    def __init__(self, weights: Path, config: Path) -> None:
        self._weights = {name: tensor.astype(np.float64) for name, tensor in load_file(weights).items()}
        self._config = json.loads(config.read_bytes())

    def embed(self, ids: list[int]) -> np.ndarray:
        x = (
            self._weights["embeddings.word_embeddings.weight"][ids]
            + self._weights["embeddings.position_embeddings.weight"][: len(ids)]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings")
        for layer in range(self._config["num_hidden_layers"]):
            name = f"encoder.layer.{layer}"
            x = self._norm(x + self._attention(x, name), f"{name}.attention.output")
            inner = self._linear(x, f"{name}.intermediate.dense")
            inner = inner * 0.5 * (1.0 + _erf(inner / math.sqrt(2.0)).astype(np.float64))
            x = self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output")
        mean = x.mean(axis=0)
        return mean / np.sqrt((mean * mean).sum())

    def _attention(self, x: np.ndarray, name: str) -> np.ndarray:
        width = self._config["hidden_size"] // self._config["num_attention_heads"]
        query, key, value = (
            self._linear(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
        )
        heads = []
        for start in range(0, self._config["hidden_size"], width):
            head = np.s_[:, start : start + width]
            scores = query[head] @ key[head].T / math.sqrt(width)
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ value[head])
        return self._linear(np.hstack(heads), f"{name}.attention.output.dense")

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._config["layer_norm_eps"])
        scale, bias = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return centred / deviation * scale + bias
