"""The kind of a failure of LanceDB, read from its message: LanceDB raises one type for nearly all failures."""

import re
from typing import Final, Literal

Kind = Literal["rights", "links", "files", "full", "read-only", "disk", "newer", "damaged", "other"]

# Patterns of the messages of LanceDB 0.40, of object stores and of operating systems ("os error 28" is ENOSPC), by
# the kind of failure. The first kind that matches counts, so damage comes last: its patterns are the widest.
_SIGNS: Final[tuple[tuple[Kind, str], ...]] = (
    # LanceDB makes a version by a hard link. File systems without them refuse it as if a right were missing.
    ("links", r"unable to (rename|copy) file\b.*os error (1|38|95)\b|filesystem does not support"),
    ("files", r"too many open files|os error 2[34]\b"),
    ("rights", r"permission denied|os error 13\b|access ?denied|forbidden|status:? 403\b|os error 1\b"),
    ("read-only", r"read-only file system|os error 30\b"),
    ("full", r"no space left|os error (28|122|27)\b|quota|file too large|storage full"),
    # A local disk, and the server of a mounted one. The words, because numbers differ between systems. Connections to
    # object stores may time out too, and are tried again.
    (
        "disk",
        r"input/output error|stale (nfs )?file handle|remote i/o error|transport endpoint is not connected|host is down"
        r"|no such device|device not configured|errno (110|60)\]"
        r"|(?<!connect error: )(?<!connection error: )(connection|operation) timed out \(os error",
    ),
    (
        "newer",
        r"upgrade lance|newer version|unsupported (file )?version|feature flags|not supported by this version",
    ),
    (
        "damaged",
        r"not found: .*\.(lance|manifest|idx|arrow|bin)\b|file size is too small|failed to fill whole buffer"
        r"|invalid range|sufficient data|magic|corrupt|not a directory|is a directory|failed to decode|protobuf"
        r"|metadata (length|position)|unexpected end|not found: .*_(versions|indices|deletions)",
    ),
)


def kind_of(error: BaseException) -> Kind:
    """Return the kind of a failure of LanceDB."""
    if isinstance(error, PermissionError):
        return "rights"
    text = str(error).lower()
    return next((kind for kind, signs in _SIGNS if re.search(signs, text)), "other")
