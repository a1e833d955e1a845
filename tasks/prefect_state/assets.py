"""Tables and their sources as assets of Prefect. The key is a URI: the same for the same place, without credentials."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from prefect.assets import Asset, AssetProperties

from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.blocks.printable import printable
from prefect_ollama.tasks.planning import LISTED

# Characters of a key. Prefect allows 512, and scheme and digest come on top.
MAX_KEY_CHARACTERS = 400

# Maximum number of folders shown as sources, if files were named one by one.
MAX_FOLDERS = 20

# A URI with its scheme, without the part after `+` ("s3+ddb").
_SCHEME = re.compile(r"([A-Za-z0-9]+)[^:/]*://(.*)", re.DOTALL)
# Characters that Prefect does not allow in keys of assets.
_UNSAFE = re.compile(r"[^\w\-./~@:=,+()]")


def table_asset(place: StoreSpec) -> Asset:
    """Return the asset of a table."""
    return Asset(key=_key(str(place)), properties=AssetProperties(name=printable(place.table)))


def source_assets(source: str, paths: Iterable[str] = ()) -> list[Asset]:
    """Return the assets of a source: its folder, or the folders of files that were named one by one.

    Args:
        source: Name of the source, empty for none.
        paths: Paths of its documents.
    """
    if source == LISTED:
        folders = sorted({str(PurePosixPath(path).parent) for path in paths})[:MAX_FOLDERS]
    else:
        folders = [source] if source else []
    return [Asset(key=_key(folder), properties=AssetProperties(name=printable(folder))) for folder in folders]


def _key(place: str) -> str:
    """Return a URI with the characters that Prefect allows in keys.

    Others become `_`, and a digest then distinguishes places that differ only in those.
    """
    uri, _, _ = place.partition("?")  # a query may hold a signature
    found = _SCHEME.fullmatch(uri)
    scheme, rest = (found[1].lower(), found[2]) if found else ("file", uri)
    safe = _UNSAFE.sub("_", rest)
    if safe != rest or len(safe) > MAX_KEY_CHARACTERS:
        digest = hashlib.blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        safe = f"{safe[:MAX_KEY_CHARACTERS]}~{digest}"
    return f"{scheme}://{safe}"
