"""A damaged table: the error names what is damaged and how to recover, and doing that recovers."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.errors import TableDamaged, TableError, TableMissing
from prefect_ollama.blocks.lance import Store, StoreSpec, commits, maintain
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance._damage import failure
from prefect_ollama.blocks.lance._error_text import short
from prefect_ollama.blocks.lance._failure_kind import kind_of
from prefect_ollama.blocks.lance.commits import ATTEMPTS, create_table
from prefect_ollama.blocks.lance.opening import connect, open_tables
from tests.other_user import needs_root, open_folder
from tests.store_samples import IDENTITY, chunk_rows, embedded, sentences, vector_of

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    fill(folder)
    return folder


def fill(folder: Path) -> Store:
    store = Store.open(StoreSpec(str(folder)), identity=IDENTITY, create=True)
    for run in range(2):
        store.begin_run(f"r{run}", "/papers")
        store.write([embedded(f"{run}{n}.pdf", sentences(f"{run}{n}", 30), "/papers") for n in range(3)])
        store.end_run()
    return store


def newest(folder: Path) -> Path:
    return max(
        (path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def latest_version(folder: Path) -> Path:
    return min((folder / "_versions").glob("*.manifest"))  # LanceDB counts their names down


def instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


ACTIONS: dict[str, Callable[[StoreSpec], object]] = {
    "open": lambda spec: Store.open(spec).identity,
    "create": lambda spec: Store.open(spec, identity=IDENTITY, create=True),
    "search": lambda spec: Store.open(spec).search(vector_of("x"), limit=200),
    "words": lambda spec: Store.open(spec).search(text="says", mode="text"),
    "manifest": lambda spec: Store.open(spec).manifest(),
    "runs": lambda spec: Store.open(spec).runs(),
    "vectors": lambda spec: Store.open(spec).sample(200),
    "stats": lambda spec: Store.open(spec).stats(),
    "write": lambda spec: write(spec),
    "roll back": lambda spec: Store.open(spec).roll_back("r1", "undo"),
    "maintain": maintain,
}


def write(spec: StoreSpec) -> None:
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("next", "/papers")
    store.write([embedded("00.pdf", ["changed"], "/papers", content="c1")])
    store.end_run()


DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "rows cut": (
        lambda d: cut(newest(d / "chunks.lance/data")),
        "is cut short",
        "search vectors words write",
    ),
    "rows missing": (
        lambda d: newest(d / "chunks.lance/data").unlink(),
        "is missing",
        "search vectors words write",
    ),
    "rows empty": (
        lambda d: newest(d / "chunks.lance/data").write_bytes(b""),
        "is cut short",
        "search vectors words write",
    ),
    "version cut": (
        lambda d: cut(latest_version(d / "chunks.lance")),
        ".manifest' is cut short",
        " ".join(ACTIONS),
    ),
    "version junk": (
        lambda d: latest_version(d / "chunks.lance").write_bytes(b"x" * 900),
        ".manifest' is cut short",
        " ".join(ACTIONS),
    ),
    "version empty": (
        lambda d: latest_version(d / "chunks.lance").write_bytes(b""),
        ".manifest' is cut short",
        " ".join(ACTIONS),
    ),
    "versions lost": (
        lambda d: shutil.rmtree(d / "chunks.lance/_versions"),
        "its passages (chunks.lance) have files, but no version",
        " ".join(ACTIONS),
    ),
    "all versions lost": (
        lambda d: [shutil.rmtree(d / f"{name}.lance/_versions") for name in StoreSpec(str(d)).tables],
        "have files, but no version",
        " ".join(ACTIONS),
    ),
    "passages lost": (lambda d: shutil.rmtree(d / "chunks.lance"), "its passages", " ".join(ACTIONS)),
    "manifest lost": (
        lambda d: shutil.rmtree(d / "chunks__documents.lance"),
        "its manifest",
        " ".join(ACTIONS),
    ),
    "log lost": (lambda d: shutil.rmtree(d / "chunks__runs.lance"), "its log of runs", " ".join(ACTIONS)),
    "manifest's rows missing": (
        lambda d: newest(d / "chunks__documents.lance/data").unlink(),
        "is missing",
        "manifest stats",
    ),
    "log's rows cut": (lambda d: cut(newest(d / "chunks__runs.lance/data")), "is cut short", "runs write"),
    "a file in its place": (
        lambda d: instead(d / "chunks.lance"),
        "'chunks.lance' is cut short",
        " ".join(ACTIONS),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.slow
def test_damage_is_told_as_such_and_the_remedy_helps(good: Path, damage: str, tmp_path: Path) -> None:
    harm, words, affected = DAMAGES[damage]
    told: dict[str, TableError] = {}
    for name, action in ACTIONS.items():
        folder = tmp_path / f"my {name} db"
        shutil.copytree(good, folder, copy_function=shutil.copy2)
        harm(folder)
        try:
            action(StoreSpec(str(folder)))
        except TableError as error:
            told[name] = error
    assert told.keys() >= set(affected.split()) - {"roll", "back"}
    for name, error in told.items():
        assert isinstance(error, TableDamaged), f"{name}: {error}"
        assert words in error.cause, name
        assert repr(str(tmp_path / f"my {name} db")) in error.cause
        assert "/papers" in error.remedy or damage == "all versions lost"
        for unwanted in (".rs:", "rustc", ".cargo", "LanceError", "rights", "free space"):
            assert unwanted not in str(error), name
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    # As the remedy says.
    for each in StoreSpec(str(folder)).tables:
        if (folder / f"{each}.lance").exists():
            shutil.move(folder / f"{each}.lance", tmp_path / f"{each}.lance")
    assert chunk_rows(fill(folder)) == chunk_rows(Store.open(StoreSpec(str(good))))


@pytest.mark.slow
def test_a_lost_index_is_made_again(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "db"
    shutil.copytree(good, folder)
    spec = StoreSpec(str(folder))
    maintain(spec, force=True)  # now the index has rows
    shutil.rmtree(folder / "chunks.lance/_indices")
    with pytest.raises(TableDamaged, match=r"Only an index is damaged.*`maintain` with \*Force\*"):
        Store.open(spec).search(text="says", mode="text")
    maintain(spec, force=True)
    assert Store.open(spec).search(text="says", mode="text")
    write(spec)


def test_a_creation_that_was_killed_is_no_damage(tmp_path: Path) -> None:
    spec = StoreSpec(str(tmp_path))
    for name, wanted in ((spec.runs_table, schema.RUNS), (spec.documents_table, schema.DOCUMENTS)):
        create_table(connect(spec), spec, name, wanted)
        with pytest.raises(TableMissing):
            Store.open(spec)
    (tmp_path / "chunks.lance" / "_versions").mkdir(parents=True)
    with pytest.raises(TableMissing):
        Store.open(spec)
    fill(tmp_path)


def test_a_block_says_it_too(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "db"
    shutil.copytree(good, folder)
    block = LanceTable(uri=str(folder), table="chunks")
    assert (block.check().ok, block.check().documents) == (True, 6)
    shutil.rmtree(folder / "chunks__documents.lance")
    check = block.check()
    assert not check.ok
    assert "damaged" in check.error


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    spec = StoreSpec(str(tmp_path / "file"))
    with pytest.raises(TableMissing, match="is a file"):
        Store.open(spec)
    with pytest.raises(TableError, match="is a file, and no folder"):
        Store.open(spec, identity=IDENTITY, create=True)


def test_a_table_that_is_not_there_names_those_that_are(good: Path, tmp_path: Path) -> None:
    for name, told in {"chunk": "Tables there: 'chunks'", "other": "Tables there: 'chunks'"}.items():
        with pytest.raises(TableMissing, match=told):
            Store.open(StoreSpec(str(good), name))
    with pytest.raises(TableMissing, match="No table is there"):
        Store.open(StoreSpec(str(tmp_path)))
    with pytest.raises(TableMissing, match="folder is not there"):
        Store.open(StoreSpec(str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()
    many = tmp_path / "many"
    for number in range(5):
        Store.open(StoreSpec(str(many), f"papers{number}"), identity=IDENTITY, create=True)
    with pytest.raises(TableMissing, match=r"Tables there: 'papers0', 'papers1', 'papers2' and 2 more"):
        Store.open(StoreSpec(str(many), "zzz"))


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that other users may enter."""
    with open_folder() as folder:
        yield folder


READ = """
import os, sys
from prefect_ollama.blocks.errors import TableDamaged
from tests.test_store_damage import ACTIONS, Store, StoreSpec
# Python itself may lie where only root can read it: what is imported late is imported before the rights go.
for name in sys.argv[3:]:
    ACTIONS[name](StoreSpec(sys.argv[2]))
os.setgid(65534); os.setuid(65534)
for name in sys.argv[3:]:
    try:
        ACTIONS[name](StoreSpec(sys.argv[1]))
        print(name, "worked")
    except Exception as error:
        print(name, isinstance(error, TableDamaged), error)
"""


# In a folder of its own: each pytest that starts takes other users' rights to the folder of all `tmp_path`s away.
@pytest.mark.slow  # a process of another user
@needs_root
def test_wrong_rights_are_told_as_such(good: Path, readable: Path) -> None:
    folder, warm = readable / "db", readable / "warm"
    shutil.copytree(good, folder)
    shutil.copytree(good, warm)
    for part in (folder, *folder.rglob("*")):  # Tables are private to their user.
        part.chmod(part.stat().st_mode | (0o055 if part.is_dir() else 0o044))

    def told(*names: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", READ, str(folder), str(warm), *names],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert all("worked" in line for line in told("open", "search", "runs"))
    for line in told("write"):
        assert "False" in line
        assert "permission denied" in line
        assert ".rs:" not in line
    newest(folder / "chunks.lance/data").chmod(0)
    (folder / "chunks__runs.lance/_versions").chmod(0)
    for line in told("search", "open"):
        assert "False" in line
        assert "permission denied" in line
        assert f"the right to read and write {str(folder)!r} and its files" in line
        assert "damaged" not in line


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "This dataset cannot be read by this version of Lance. Please upgrade Lance to read this dataset.",
            "newer",
        ),
        ("LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28)", "full"),
        ("lance error: Disk quota exceeded (os error 122)", "full"),
        ("Unable to open file: Permission denied (os error 13)", "rights"),
        ("Unable to create dir: Operation not permitted (os error 1)", "rights"),
        (
            "Generic LocalFileSystem error: Unable to rename file: Operation not permitted (os error 1)",
            "links",
        ),
        ("Unable to copy file from /a to /b: Function not implemented (os error 38)", "links"),
        (
            "not supported: the filesystem does not support an operation required for safe Lance commits",
            "links",
        ),
        ("Unable to walk dir: IO error for operation on /db: Too many open files (os error 24)", "files"),
        ("Generic S3 error: 403 Forbidden", "rights"),
        ("Schema error: No field named such", "other"),
        ("Commit conflict for version 7", "other"),
        ("Commit conflict for version 403", "other"),
        ("Generic S3 error: Client error with status 403: ", "rights"),
        ("Generic LocalFileSystem error: Unable to sync: Connection timed out (os error 110)", "disk"),
        ("Generic S3 error: tcp connect error: Connection timed out (os error 110)", "other"),
        ("Generic S3 error: operation timed out", "other"),
    ],
)
def test_causes_are_told_apart(text: str, kind: str) -> None:
    assert kind_of(RuntimeError(text)) == kind


def test_places_in_the_source_of_lancedb_are_left_out() -> None:
    for text in (
        "lance error: LanceError(IO): Generic error: cut, /rustc/2d81/library/core/src/ops/function.rs:250:5",
        "External error: Generic error: cut, /root/.cargo/registry/src/index.crates.io-1/lance-io-13/src/local.rs:2:40",
    ):
        assert short(RuntimeError(text)) == "Generic error: cut"


def nested(inner: str) -> str:
    """A message as the client of an object store in LanceDB 0.40 writes it."""
    return (
        'Invalid input, Failed to connect: IO { source: Generic { store: "S3", source: ListRequest { source: '
        "RetryError(RetryErrorImpl { method: GET, uri: Some(http://127.0.0.1:9000/bucket?list-type=2&prefix=x%2F), "
        "retries: 0, elapsed: 17.196µs, retry_timeout: 180s, inner: "
        + inner
        + ' }) } }, location: Location { file: "/root/.cargo/x/object_store.rs", line: 1506, column: 92 }, '
        "backtrace: MaybeBacktrace }"
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            nested("Http(HttpError { source: reqwest::Error { kind: Builder, source: BadScheme } })"),
            "http://127.0.0.1:9000: plain HTTP is not allowed",
        ),
        (
            nested(
                'Http(HttpError { kind: Connect, source: Error(ConnectError("tcp connect error", '
                'Os { code: 111, kind: ConnectionRefused, message: "Connection refused" })) })'
            ),
            "http://127.0.0.1:9000: Connection refused",
        ),
        (
            nested(
                r'Status { status: 404, body: Some("<Error><Code>NoSuchBucket</Code><Message>The '
                r'bucket does not exist</Message><BucketName>bucket</BucketName></Error>") }'
            ),
            "http://127.0.0.1:9000: NoSuchBucket: The bucket does not exist",
        ),
        (
            nested(
                r'Status { status: 404, body: Some("{\"error\": {\"code\": 404, \"message\": \"No bucket.\"}}") }'
            ),
            "http://127.0.0.1:9000: No bucket",
        ),
        (
            'IO { source: Generic { store: "N/A", source: IO { source: "Failed to get credentials: NotLoaded('
            r'N { source: Some(\"no providers in chain provided credentials\") })", location: Location { file: '
            '"/root/aws.rs", line: 607, column: 30 }, backtrace: MaybeBacktrace } } }',
            "no providers in chain provided credentials",
        ),
        (
            'IO { source: Generic { store: "N/A", source: IO { source: "Failed to get AWS credentials: ProviderError('
            r"ProviderError { source: FailedToLoadToken(FailedToLoadToken { source: TokenError { kind: Forbidden }, "
            r'raw: Response { headers: {\"server\": HeaderValue { _private: H1(\"x\") } } } }) })", location: Location '
            '{ file: "/root/aws.rs", line: 607, column: 30 }, backtrace: MaybeBacktrace } } }',
            "Failed to get AWS credentials",
        ),
    ],
)
def test_of_nested_messages_of_object_stores_the_innermost_is_named(text: str, cause: str) -> None:
    said = short(RuntimeError(text))
    assert said.startswith(cause)
    assert "{" not in said


def test_a_store_that_refuses_a_key_is_quoted() -> None:
    body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message></Error>"
    refused = RuntimeError(nested(f'Status {{ status: 403, body: Some("{body}") }}'))
    error = failure("It cannot be opened", refused, StoreSpec("s3://bucket/lancedb"))
    assert "SignatureDoesNotMatch: The signature does not match" in error.cause
    assert "credentials" in error.remedy


def test_a_store_without_tls_is_refused_with_the_option_that_allows_it() -> None:
    options = {
        "endpoint": "http://127.0.0.1:9",
        "region": "x",
        "access_key_id": "x",
        "secret_access_key": "x",
    }
    spec = LanceTable(uri="s3://bucket/lancedb", storage_options=options).to_spec()
    with pytest.raises(TableError, match="allow_http"):
        connect(spec)


FAILS = "its disk, or the server of its share, fails"


@pytest.mark.parametrize(
    ("number", "cause", "remedy"),
    [
        (errno.EIO, FAILS, "Check the disk, or mount the share again, for '/data/db'"),
        (errno.ESTALE, FAILS, "mount the share again"),
        (errno.ENOTCONN, FAILS, "mount the share again"),
        (errno.ETIMEDOUT, FAILS, "mount the share again"),
        (errno.EHOSTDOWN, FAILS, "mount the share again"),
        (errno.ENOSPC, "the disk is full", "Make free space in '/data/db'"),
        (errno.EDQUOT, "a quota or size limit is reached", "Make free space"),
        (errno.EFBIG, "a quota or size limit is reached", "Make free space"),
        (
            errno.EROFS,
            "the file system is read-only",
            "Mount it with the right to write, for '/data/db', or name",
        ),
    ],
)
def test_a_disk_that_fails_is_named_with_what_helps(
    number: int, cause: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, words = StoreSpec("/data/db"), os.strerror(number)
    for error in (
        OSError(number, words),
        RuntimeError(f"LanceError(IO): Generic LocalFileSystem error: {words} (os error {number})"),
    ):
        told = failure("Table 'documents' cannot be written", error, spec, state="Earlier commits stay.")
        assert cause in told.cause
        assert cause != FAILS or words in told.cause
        assert remedy in told.remedy
        assert told.remedy.endswith(", then run it again.")

        def fail(path: Path, *, error: Exception = error) -> bool:
            raise error

        # The first look at the folder fails, too.
        monkeypatch.setattr(Path, "is_dir", fail)
        monkeypatch.setattr(Path, "is_file", fail)
        for call in (open_tables, connect):
            with pytest.raises(TableError, match=cause):
                call(spec)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)), 1),
        (RuntimeError("Generic LocalFileSystem error: Connection timed out (os error 110)"), 1),
        (RuntimeError("No space left on device (os error 28) at path '/data/conflicts/db'"), 1),
        (RuntimeError("Generic S3 error: operation timed out"), ATTEMPTS),
        (RuntimeError("Commit conflict for version 403"), ATTEMPTS),
    ],
)
def test_only_another_writer_or_a_slow_store_is_tried_again(
    error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "pause", lambda _: None)
    tried = []

    def fail() -> None:
        tried.append(error)
        raise error

    with pytest.raises(TableError, match="cannot be written") as caught:
        commits.commit("It cannot be written", fail)
    assert len(tried) == tries
    assert (tries == 1) == ("Run it again;" not in caught.value.remedy)


def test_a_temporary_folder_without_rights_is_named() -> None:
    """LanceDB writes there as well, and the right to the table does not help."""
    refused = RuntimeError(
        'lance error: Failed to create temp dir: Read-only file system (os error 30) at path "/var/tmp/.tmp6Ec6tv"'
    )
    for spec in (None, StoreSpec("/data/lancedb")):
        assert "for '/var/tmp'," in failure("The run cannot be logged", refused, spec).remedy
