"""A manual as programs have them: options in tables, code, bullets, names in another type; the same one every time.

Type and place change many times on a page, and there are no long paragraphs, so it shows what structure costs where
there is most of it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pymupdf

from samples.make.finish import Meta, finish
from samples.make.text import Section
from samples.make.typeset import Layout, typeset

CHAPTERS = 16
_WORDS = """
the value of a name that every record holds is read from its table when no other key was given and kept until all
readers have closed their files so that what one of them writes is never seen in part by another
""".split()  # noqa: SIM905
_NAMES = (
    "open",
    "read_line",
    "seek",
    "max_size",
    "timeout",
    "key_file",
    "on_error",
    "flush",
    "limit",
    "cache_dir",
)
_TYPES = ("string", "number of bytes", "seconds", "yes or no", "path", "list of names")
_CSS = "body { font-size: 9.5px } code { font-size: 9px } pre { font-size: 8.5px; margin: 4px 0 6px 12px }"


def write_manual(path: Path) -> None:
    """Write it to `path`; about 60 pages."""
    sections = [_chapter(number, random.Random(number)) for number in range(1, CHAPTERS + 1)]
    layout = Layout(css=_CSS, running=lambda number, title: (title, str(number)), foot=None)
    pages = typeset(sections, layout)
    document = pymupdf.open(stream=pages.pdf, filetype="pdf")
    path.write_bytes(finish(document, Meta("Manual", "A manual of code and tables"), pages.outline))


def _chapter(number: int, chance: random.Random) -> Section:
    parts = [_section(f"{number}.{i}", chance, i % 2 == 1) for i in range(1, 8)]
    return Section(f"{number} Functions of part {number}", "".join(parts))


def _section(number: str, chance: random.Random, table: bool) -> str:
    return (
        f"<h2>{number} {chance.choice(_NAMES)} and {chance.choice(_NAMES)}</h2>"
        f"<p>{_prose(chance, 40)}</p>{_code(chance)}<p>{_prose(chance, 25)}</p>"
        f"{_table(chance) if table else _code(chance)}"
        f"<ul>{''.join(f'<li>{_prose(chance, 14)}</li>' for _ in range(4))}</ul>"
    )


def _prose(chance: random.Random, words: int) -> str:
    """A sentence or two, with names in the type of code and a word in bold."""
    found = chance.choices(_WORDS, k=words)
    found[words // 3] = f"<code>{chance.choice(_NAMES)}</code>"
    found[words // 2] = f"<b>{found[words // 2]}</b>"
    found[-2] = f"<code>{chance.choice(_NAMES)}()</code>"
    return f"{' '.join(found).capitalize()}."


def _code(chance: random.Random) -> str:
    lines = ["with table.open(path) as records:"]
    for _ in range(chance.randint(5, 10)):
        name, other = chance.sample(_NAMES, 2)
        lines.append(
            f"{' ' * chance.choice((4, 8))}{name} = records.{other}({chance.randint(1, 999)}, {name!r})"
        )
    return f"<pre>{chr(10).join(lines)}</pre>"


def _table(chance: random.Random) -> str:
    rows = [
        f"<tr><td><code>{name}</code></td><td>{chance.choice(_TYPES)}</td><td>{chance.randint(0, 4096)}</td>"
        f"<td>{_prose(chance, chance.choice((6, 14)))}</td></tr>"
        for name in chance.sample(_NAMES, chance.randint(4, 7))
    ]
    head = "<tr><th>Name</th><th>Kind</th><th>Default</th><th>Meaning</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"
