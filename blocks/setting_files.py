"""Settings that are needed where Prefect is not loaded, because its import takes a second.

Guarantees: the values are those that Prefect would find. Prefect is asked where a file of settings may hold one. See
https://docs.prefect.io/v3/concepts/settings-and-profiles for these files.
"""

import os
import sys
from pathlib import Path
from typing import Final

# Prefixes of our settings in the environment: the present one, and that of earlier versions.
PREFIXES: Final = ("PREFECT_INTEGRATIONS_OLLAMA_", "PREFECT_OLLAMA_")
MODEL_DIR_VARIABLES: Final = tuple(f"{prefix}MODEL_DIR" for prefix in PREFIXES)

_HOME_VARIABLE: Final = "PREFECT_HOME"
_DEFAULT_HOME: Final = "~/.prefect"


def prefect_home() -> Path:
    """Return Prefect's home."""
    named = os.environ.get(_HOME_VARIABLE)
    if "prefect.settings" not in sys.modules and (named or not _may_hold("home", "profiles_path")):
        return Path(named or _DEFAULT_HOME).expanduser()
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home)


def embedded_model_dir() -> Path | None:
    """Return the folder of the embedded model's files from the settings; None if they name none.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    named = _setting("model_dir")
    return Path(named) if named else None


def extra_password() -> str | None:
    """Return the password for encrypted files from the settings; None if they give none.

    Raises:
        ConfigurationError: A setting is invalid.
    """
    return _setting("password")


def _setting(name: str) -> str | None:
    for prefix in PREFIXES:
        if value := os.environ.get(f"{prefix}{name.upper()}"):
            return value
    if not _may_hold(name):
        return None
    from prefect_ollama.blocks.settings import current_settings

    found = getattr(current_settings(), name)
    return None if found is None else str(getattr(found, "get_secret_value", lambda: found)())


def _may_hold(*words: str) -> bool:
    """Return whether a file of settings holds one of the words.

    Where a word means something else there, Prefect is asked needlessly, which costs a second.
    """
    home = Path(os.environ.get(_HOME_VARIABLE) or _DEFAULT_HOME).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml"
    texts = map(_text_of, map(Path, (".env", "prefect.toml", "pyproject.toml", profiles)))
    return any(word in text for text in texts for word in words)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").casefold()
    except OSError:
        return ""
