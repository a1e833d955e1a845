"""Settings of this package, read as Prefect reads its own: environment, `.env`, `prefect.toml`, `pyproject.toml`.

See https://docs.prefect.io/v3/concepts/settings-and-profiles. A setting `x` is the environment variable
`PREFECT_INTEGRATIONS_OLLAMA_X`. The names of earlier versions are read too.
"""

from pathlib import Path
from typing import Any, ClassVar, Final

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import AliasChoices, AliasPath, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from prefect_ollama.blocks.cache import DEFAULT_LIMIT_BYTES, MIN_LIMIT_BYTES
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.setting_files import PREFIXES

# The present prefix, which errors show.
PREFIX: Final = PREFIXES[0]

_CONFIG = build_settings_config(("integrations", "ollama"))
# A variable that is set to nothing must not hide the value of a file.
_CONFIG["env_ignore_empty"] = True


def _also_named(name: str) -> AliasChoices:
    """Return the names of a setting that earlier versions read as `PREFECT_OLLAMA_…`, the present ones first."""
    return AliasChoices(AliasPath(name), f"{PREFIX}{name}".lower(), f"{PREFIXES[1]}{name}".lower())


class OllamaSettings(PrefectBaseSettings):
    """Settings of this package; each field describes itself."""

    model_config: ClassVar[SettingsConfigDict] = _CONFIG

    cache_folder: str = Field(
        default="", description="Folder of the vector cache; `ollama-vectors` in Prefect's home without it."
    )
    cache_limit_bytes: int = Field(
        default=DEFAULT_LIMIT_BYTES,
        ge=MIN_LIMIT_BYTES,
        description="Bytes on disk above which the cache evicts vectors that were not used for the longest time.",
    )
    metrics: str = Field(
        default="",
        coerce_numbers_to_str=True,
        validation_alias=_also_named("metrics"),
        description="Where metrics go: a port, an address with a port, or the URL of a Pushgateway.",
    )
    model_dir: Path | None = Field(
        default=None,
        validation_alias=_also_named("model_dir"),
        description="Folder with the files of the embedded model.",
    )
    password: SecretStr | None = Field(
        default=None,
        validation_alias=_also_named("password"),
        description="One more password for encrypted files, for the command line.",
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: Any) -> Any:
        """Take a setting that a file gives as "" as not set; an empty path would be the working directory."""
        return {name: value for name, value in values.items() if value != ""}


def current_settings() -> OllamaSettings:
    """Return the settings as they are now, so that a process may change its environment after the import.

    Raises:
        ConfigurationError: One is invalid.
    """
    try:
        return OllamaSettings()
    except ValidationError as error:
        # The values are left out: one may be a password.
        wrong = "; ".join(
            f"{PREFIX}{str(each['loc'][0]).upper().removeprefix(PREFIX)}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(
            f"A setting cannot be used: {wrong}.",
            state="Nothing was started.",
            remedy="Correct it where it is set: the environment, `.env`, `prefect.toml` or `pyproject.toml`.",
        ) from None
