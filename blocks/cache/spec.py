"""The address, limit and statistics of a vector cache. Pure values."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import Vectors
from prefect_ollama.blocks.user_path import folder_of

# A smaller file has hardly more than the empty tables.
MIN_LIMIT_BYTES: Final = 1024**2

# Room for 1.3 million vectors of 768 floats.
DEFAULT_LIMIT_BYTES: Final = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """Address of a vector cache: it can be pickled and opened again in another process or on another host.

    Attributes:
        folder: A folder of this host, or one that hosts share. The path becomes absolute, and the first write makes the
            folder.
        limit_bytes: Size on disk above which the vectors that were not used for the longest time are evicted.

    Raises:
        ConfigurationError: The folder is empty or the URL of an object store, or the limit is under 1 MiB.
    """

    folder: str
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    def __post_init__(self) -> None:
        try:
            folder = folder_of(self.folder)
        except ValueError:
            folder = ""
        if not folder or "://" in folder:
            raise ConfigurationError(
                f"The vector cache cannot be in {self.folder!r}.",
                remedy="Give a folder that every worker can reach; object stores cannot hold it.",
            )
        if self.limit_bytes < MIN_LIMIT_BYTES:
            raise ConfigurationError(
                f"A vector cache cannot have a limit of {self.limit_bytes} bytes.",
                remedy="Give at least 1 MiB (some 330 vectors of 768 floats), or use no cache.",
            )
        object.__setattr__(self, "folder", str(Path(folder).expanduser().absolute()))


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The size of a vector cache.

    Attributes:
        folder: Where it is.
        entries: Vectors on disk.
        bytes: Size on disk, with damaged files.
        limit_bytes: What `bytes` may reach.
        damaged: Files that were set aside; they are removed after a week, or when room is needed.
        oldest: When the vectors that are evicted next were last used; None without vectors.
        newest: When any vector was last used.
    """

    folder: str
    entries: int
    bytes: int
    limit_bytes: int
    damaged: int
    oldest: datetime | None
    newest: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class CacheHits:
    """The result of a look-up of keys in the cache.

    Attributes:
        mask: bool of shape (keys,), true for keys with a vector.
        vectors: float32 of shape (found keys, dimension), in the order of the keys, each checked.
    """

    mask: NDArray[np.bool_]
    vectors: Vectors
