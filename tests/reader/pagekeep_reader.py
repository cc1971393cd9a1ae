"""An independent reader of pagekeep repositories.

It was written from docs/format.md alone and shares no code with pagekeep: it proves that the format is documented well
enough to get every commit of a repository back without pagekeep. It checks what the document lets a reader check, and
stops at the first violation, naming the object. It is meant for a repository that nobody is writing to: where the
document says that a reader lists again, run it again.

    pagekeep_reader.py REPO --key-file F list
    pagekeep_reader.py REPO --key-file F restore NAME SEQ TARGET     (SEQ may be "latest")
    pagekeep_reader.py REPO --key-file F restore-all NAME DIR        (writes DIR/<seq>.db)

NAME is a history's name or id. Instead of --key-file, --password-file or --recovery-key-file may be given. Times are
printed in microseconds since 1970-01-01T00:00:00Z. Section numbers in comments are those of the document.
"""

import argparse
import contextlib
import json
import re
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

REPOSITORY, SLOT, ABOUT, WRITER, SEGMENT, PART, SNAPSHOT, PROOF, HOLD, EXPIRY = range(1, 11)
SPARSE, DIGEST, UNTIL = 1, 2, 4
REQUIRED_FEATURES = {SEGMENT: SPARSE, SNAPSHOT: DIGEST | UNTIL, HOLD: DIGEST}  # those that this reader knows, by the kind of object that may have them
PASSPHRASE, KEY_FILE, RECOVERY_KEY = 1, 2, 3
SECRET_OPTIONS = {KEY_FILE: "key_file", PASSPHRASE: "password_file", RECOVERY_KEY: "recovery_key_file"}
BASE, DELTA = 1, 2
BATCH, INDEX_BLOCK = 1, 2
COMMIT_KINDS = {1: "scan", 2: "wal", 3: "transaction"}
PREFIX_SIZE, PART_HEADER_SIZE, TAG_SIZE = 44, 48, 16
MAX_PLAIN = MAX_BODY = MAX_BLOCK = 65536
MAX_MANIFEST = MAX_PART = 67108864
MAX_INLINE, MAX_BATCH, MAX_TEXT, MAX_KEYS, MAX_RANGES = 16777216, 1048576, 4096, 1024, 4000
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
U64 = "[0-9a-f]{16}"


class Damage(Exception):
    """An object is not as the document says."""


def check(holds: bool, name: str, why: str) -> None:
    if not holds:
        raise Damage(f"{name}: {why}")


def derive(context: str, material: bytes, length: int = 64) -> bytes:
    return blake3(material, derive_key_context=f"pagekeep 2026 v1 {context}").digest(length=length)


def unseal(name: str, key: bytes, sealed: bytes, *associated: bytes) -> bytes:
    try:
        return AESSIV(key).decrypt(sealed, list(associated))
    except (InvalidTag, ValueError):
        raise Damage(f"{name}: a seal does not open (changed, misplaced, or of another repository)") from None


def unzip(name: str, frame: bytes, size: int) -> bytes:
    """The content of exactly one zstd frame, which must have `size` bytes."""
    try:
        check(zstandard.frame_content_size(frame) in (-1, size), name, "a zstd frame tells a wrong size")
        content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damage(f"{name}: a zstd frame is broken: {error}") from None
    check(len(content) == size, name, f"a zstd frame holds {len(content)} bytes instead of {size}")
    return content


class Fields:
    """Reads a structure from front to back."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data, self.at = name, data, 0

    def take(self, size: int) -> bytes:
        check(self.at + size <= len(self.data), self.name, "ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def count(self, limit: int = 2**32) -> int:
        number = int.from_bytes(self.take(4), "little")
        check(number <= limit, self.name, f"a count or length of {number}, with {limit} as the limit")
        return number

    def text(self) -> str:
        size = int.from_bytes(self.take(2), "little")
        check(size <= MAX_TEXT, self.name, f"a text of {size} bytes")
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise Damage(f"{self.name}: a text is not UTF-8") from None

    def header(self, kind: int) -> None:  # section 2
        magic, found, version, required, _optional, reserved = self.unpack("4sBBHII")
        check(magic == b"PGKP", self.name, "wrong magic")
        check((found, version) == (kind, 1), self.name, f"is of kind {found} and version {version}")
        unknown = required & ~REQUIRED_FEATURES.get(kind, 0)
        check(unknown == 0, self.name, f"needs features that this reader does not know: {unknown:#x}")
        self.zero(reserved)

    def zero(self, *reserved: int | bytes) -> None:
        check(not any(any(field) if isinstance(field, bytes) else field for field in reserved), self.name,
              "reserved or unused bytes are not zero")

    def checksum(self) -> None:
        """The end of a plain object (section 3); what follows belongs to nothing."""
        before = self.data[: self.at]
        check(blake3(before).digest()[:16] == self.take(16), self.name, "wrong checksum")

    def end(self) -> None:
        check(self.at == len(self.data), self.name, "has bytes after its last field")


class Store:
    """The objects below a directory (section 1)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, folder: str, pattern: str) -> list[str]:
        path = self.root / folder
        names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        return [name for name in names if re.fullmatch(pattern, name)]

    def size(self, name: str) -> int:
        check((self.root / name).is_file(), name, "is missing")
        return (self.root / name).stat().st_size

    def read(self, name: str, offset: int, size: int) -> bytes:
        check(offset + size <= self.size(name), name, f"has no {size} bytes at {offset}")
        with (self.root / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def plain(self, name: str, kind: int) -> Fields:
        """A plain object; its checksum is behind its last field (section 3)."""
        size = self.size(name)
        check(TAG_SIZE <= size <= MAX_PLAIN, name, f"has {size} bytes")
        data = self.read(name, 0, size)
        fields = Fields(name, data)
        fields.header(kind)
        return fields


class Secret(NamedTuple):
    """What the user has: the bytes of a passphrase, or the 32 of a key file or recovery key."""

    kind: int
    value: bytes


def read_secret(kind: int, path: Path) -> Secret:
    if kind == PASSPHRASE:
        return Secret(kind, re.sub(rb"\r?\n\Z", b"", path.read_bytes()))
    text = path.read_text("utf-8")
    if kind == RECOVERY_KEY:
        return Secret(kind, spelled_recovery_key(str(path), text))
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    check(len(lines) == 1 and re.fullmatch("[0-9a-f]{64}", lines[0]) is not None, str(path), "not a key file")
    return Secret(kind, bytes.fromhex(lines[0]))


def spelled_recovery_key(name: str, text: str) -> bytes:
    symbols = re.sub(r"[-\s]", "", text).upper().translate(str.maketrans("OIL", "011"))
    check(len(symbols) == 56 and set(symbols) <= set(CROCKFORD), name, "not a recovery key")
    number = sum(CROCKFORD.index(symbol) << 5 * place for place, symbol in enumerate(reversed(symbols)))
    spelled = number.to_bytes(35, "big")
    check(derive("recovery checksum", spelled[:32], 3) == spelled[32:], name, "a recovery key with a typing error")
    return spelled[:32]


def stretch(name: str, secret: Secret, salt: bytes, memory: int, passes: int, lanes: int) -> bytes:
    """The slot's 32-byte secret."""
    if secret.kind != PASSPHRASE:
        return secret.value
    return hash_secret_raw(secret.value, salt, passes, memory, lanes, hash_len=32, type=Type.ID, version=0x13)


def open_slot(store: Store, slot: str, repository_id: bytes, secret: Secret) -> dict[bytes, bytes] | None:
    """The keyring in a slot (section 3), or None if it needs another secret."""
    fields = store.plain(f"keys/{slot}", SLOT)
    slot_id, found_id, kind, reserved, _created, *costs = fields.unpack("8s16sB3sqIII")
    check(slot_id.hex() == slot, fields.name, "slot id is not the name's")
    check(found_id == repository_id, fields.name, "is of another repository")
    fields.zero(reserved)
    memory, passes, lanes = costs
    if kind == PASSPHRASE:
        fit = 1 <= passes <= 64 and 1 <= lanes <= 64 and 8 * lanes <= memory <= 1048576
        check(fit, fields.name, "Argon2id parameters out of bounds")
    else:
        check(kind in (KEY_FILE, RECOVERY_KEY), fields.name, f"is for a secret of kind {kind}")
        fields.zero(*costs)
    salt, _label, commitment, size = fields.take(16), fields.text(), fields.take(32), fields.count()
    associated = fields.data[: fields.at]
    sealed = fields.take(size)
    fields.checksum()
    if kind != secret.kind:
        return None
    material = stretch(fields.name, secret, salt, memory, passes, lanes) + repository_id + slot_id + salt
    if derive("slot commitment", material, 32) != commitment:
        return None
    return keyring(Fields(fields.name, unseal(fields.name, derive("slot seal", material), sealed, associated)))


def keyring(fields: Fields) -> dict[bytes, bytes]:
    entries = [fields.unpack("8sq32s") for _ in range(fields.count(MAX_KEYS))]
    fields.end()
    keys = {key_id: key for key_id, _created, key in entries}
    check(len(keys) == len(entries), fields.name, "two keys with one id")
    return keys


class Sealed(NamedTuple):
    """A sealed object (section 4)."""

    key_id: bytes
    object_id: bytes
    sealed: bytes  # the prefix and the sealed body
    body: Fields


class Repository:
    def __init__(self, root: Path, secret: Secret) -> None:
        self.store = Store(root)
        fields = self.store.plain("repository", REPOSITORY)
        self.id, _created = fields.unpack("16sq")
        fields.checksum()
        self.keys: dict[bytes, bytes] = {}
        for slot in self.store.list("keys", U64):
            for key_id, key in (open_slot(self.store, slot, self.id, secret) or {}).items():
                check(self.keys.setdefault(key_id, key) == key, f"keys/{slot}", "another key of the same id than another slot")
        check(bool(self.keys), "keys", "no slot opens with this secret")

    def key(self, name: str, key_id: bytes) -> bytes:
        check(key_id in self.keys, name, f"is sealed with key {key_id.hex()}, which is not in the keyring")
        return self.keys[key_id]

    def prefix(self, name: str, kind: int) -> tuple[bytes, bytes, int]:
        """Key id, object id and length of the sealed body; not yet authentic."""
        fields = Fields(name, self.store.read(name, 0, PREFIX_SIZE))
        fields.header(kind)
        key_id, object_id, size = fields.unpack("8s16sI")
        limit = MAX_MANIFEST if kind == SEGMENT else MAX_BODY
        check(size <= limit, name, f"a sealed body of {size} bytes")
        return key_id, object_id, size

    def open(self, name: str, kind: int) -> Sealed:
        key_id, object_id, size = self.prefix(name, kind)
        data = self.store.read(name, 0, PREFIX_SIZE + size)
        key = derive("object seal", self.key(name, key_id) + self.id + bytes([kind]) + object_id)
        body = unseal(name, key, data[PREFIX_SIZE:], data[:PREFIX_SIZE], self.id, name.encode())
        return Sealed(key_id, object_id, data, Fields(name, body))

    def open_data(self, name: str, sealed: bytes, kind: int, numbers: tuple[int, int, int],
                  key_id: bytes, history: bytes, segment: bytes) -> bytes:
        """A batch or an index block (section 6, data seals)."""
        key = derive("data seal", self.key(name, key_id) + self.id + history + segment)
        ids = self.id + history + segment
        return unseal(name, key, sealed, struct.pack("<4sBBH48sIII", b"PGKP", 1, kind, 0, ids, *numbers))


class Commit(NamedTuple):
    seq: int
    time: int
    pages: int
    versions: int
    digest: bytes
    kind: int


class Location(NamedTuple):
    part: int
    offset: int
    length: int


class Block(NamedTuple):
    """A directory entry: what an index block holds, and where it is."""

    first_page: int
    last_page: int
    entries: int
    batches: int
    location: Location


class Batch(NamedTuple):
    location: Location
    number: int
    pages: int
    origin: int
    codec: int


class Version(NamedTuple):
    """One version of a page, and where its content is."""

    page: int
    seq: int
    digest: bytes
    batch: Batch
    slot: int


class Segment:
    """A published segment (section 6)."""

    def __init__(self, repository: Repository, name: str) -> None:
        opened = repository.open(name, SEGMENT)
        self.repository, self.store, self.name = repository, repository.store, name
        self.id, self.key_id = opened.object_id, opened.key_id
        self.folder, self.place, numbers = name.rsplit("/", 2)
        self.history = bytes.fromhex(self.folder.rpartition("/")[2])
        self.digest = blake3(opened.sealed).digest()
        self.inline_at = len(opened.sealed)
        self.sparse = bool(opened.sealed[6] & SPARSE)
        self._manifest(opened.body, numbers.split("-"))
        self._versions: list[Version] | None = None
        self._checked: set[int] = set()  # parts

    def _manifest(self, body: Fields, named: list[str]) -> None:
        (history, self.term, _token, self.kind, merged, carries, reserved, self.page_size, self.parent,
         self.parent_digest, self.covered, self.covered_digest, self.first_seq, self.version_count, self.batch_count, self.inline_size,
         ) = body.unpack("16sQ16sBBBsI16s32s16s32sQQQQ")
        check(history == self.history, self.name, "is of another history")
        check((self.place == "merged") == bool(merged), self.name, "is not in the folder of its kind")
        first = f"{self.first_seq:016x}"
        expected = [first, self.id.hex()] if merged else [f"{self.term:016x}", first]
        check([named[0], named[-1]] == expected, self.name, "is not what its name says")
        check(carries in (0, 1) and carries <= self.sparse, self.name, "carried commit: flag, or not a sparse segment")
        check(self.kind in (BASE, DELTA), self.name, f"kind of segment {self.kind}")
        check(self.page_size in (2**bits for bits in range(9, 17)), self.name, f"page size {self.page_size}")
        check(merged in (0, 1) and merged == any(self.covered), self.name, "last covered segment: flag and id disagree")
        body.zero(reserved, b"" if any(self.parent) else self.parent_digest, b"" if merged else self.covered_digest)
        self.commits = [self._commit(body) for _ in range(body.count())]
        check(bool(self.commits), self.name, "has no commits")
        seqs = [commit.seq for commit in self.commits]
        check(seqs == sorted(set(seqs)), self.name, "its seqs do not ascend")
        consecutive = seqs == list(range(self.first_seq, self.first_seq + len(seqs)))
        check(consecutive or bool(merged) or self.sparse, self.name, "its seqs are not consecutive")
        self.end = int(named[1], 16) if merged else seqs[-1]  # the last seq that it stands for
        check(seqs[-1] <= self.end, self.name, "its last seq is beyond its name's")
        self.states = self.commits[:-1] if carries else self.commits
        self.parts = [body.unpack("Q")[0] for _ in range(body.count())]
        self.origins = [body.unpack("8s16s") for _ in range(body.count())]
        self.blocks = [self._directory_entry(body) for _ in range(body.count())]
        body.end()

    def _commit(self, body: Fields) -> Commit:
        time, pages, versions, digest, _stored, kind, reserved, after_first = body.unpack("qII16sQB3sI")
        seq = self.first_seq + after_first
        check(kind in COMMIT_KINDS, self.name, f"commit {seq} is of kind {kind}")
        body.zero(reserved)
        return Commit(seq, time, pages, versions, digest, kind)

    def _directory_entry(self, body: Fields) -> Block:
        first_page, last_page, entries, batches = body.unpack("IIII")
        return Block(first_page, last_page, entries, batches, Location(*body.unpack("IQI")))

    def check_manifest(self) -> None:
        check(self.inline_size <= MAX_INLINE, self.name, "too much inline data")
        check(not (self.parts and self.inline_size), self.name, "has inline data and parts")
        check(sum(block.entries for block in self.blocks) == self.version_count, self.name, "count of page versions")
        small = all(1 <= block.entries <= MAX_BLOCK and 1 <= block.batches <= MAX_BLOCK for block in self.blocks)
        check(small, self.name, "size of an index block")

    def _part(self, number: int) -> str:
        return f"{self.folder}/data/{self.id.hex()}/{number:08x}"

    def _check_part(self, name: str, number: int, size: int) -> None:
        fits = PART_HEADER_SIZE <= size <= MAX_PART and self.store.size(name) >= size  # more is nobody's
        check(fits, name, f"is not a part of {size} bytes")
        fields = Fields(name, self.store.read(name, 0, PART_HEADER_SIZE))
        fields.header(PART)
        *ids, found, reserved = fields.unpack("8s16sII")
        check((*ids, found) == (self.key_id, self.id, number), name, "key id, segment id or part number is wrong")
        fields.zero(reserved)

    def _read(self, at: Location) -> tuple[str, bytes]:
        """The sealed bytes at a location, and the name of the object that has them."""
        check(at.part < max(1, len(self.parts)), self.name, f"a location names part {at.part}")
        if self.parts:
            name, start, first, end = self._part(at.part), 0, PART_HEADER_SIZE, self.parts[at.part]
            if at.part not in self._checked:
                self._check_part(name, at.part, end)
                self._checked.add(at.part)
        else:
            name, start, first, end = self.name, self.inline_at, 0, self.inline_size
        check(first <= at.offset and at.offset + at.length <= end, self.name, f"a location outside of {name}")
        return name, self.store.read(name, start + at.offset, at.length)

    def versions(self) -> list[Version]:
        """All page versions of the segment, sorted by page, then seq."""
        if self._versions is None:
            found = [version for place in range(len(self.blocks)) for version in self._block(place)]
            self._check_versions(found)
            self._versions = found
        return self._versions

    def _check_versions(self, found: list[Version]) -> None:
        order = [(version.page, version.seq) for version in found]
        check(all(one < other for one, other in pairwise(order)), self.name, "index entries are not sorted")
        written = Counter(version.seq for version in found)
        for commit in self.commits:
            check(written[commit.seq] == commit.versions, self.name, f"count of versions of commit {commit.seq}")
        batches = {version.batch for version in found}
        numbers = {(batch.origin, batch.number) for batch in batches}
        check(len(numbers) == len(batches) == self.batch_count, self.name, "count of batches")

    def _block(self, place: int) -> list[Version]:
        """The page versions of one index block."""
        block = self.blocks[place]
        name, sealed = self._read(block.location)
        numbers = (place, block.entries, block.batches)
        frame = self.repository.open_data(name, sealed, INDEX_BLOCK, numbers, self.key_id, self.history, self.id)
        fields = Fields(name, unzip(name, frame, 28 * (block.entries + block.batches)))
        batches = [self._batch(fields) for _ in range(block.batches)]
        columns = [fields.unpack(f"{block.entries}{code}") for code in "IIHH"]
        page, versions = 0, []
        for step, commit, index, slot in zip(*columns, strict=True):
            page += step
            check(commit < len(self.commits) and index < len(batches), name, "an entry of no commit or no batch")
            check(slot < batches[index].pages, name, f"slot {slot} of a batch of {batches[index].pages} pages")
            check(page not in (0, lock_page(self.page_size)), name, f"a version of page {page}")
            versions.append(Version(page, self.commits[commit].seq, fields.take(16), batches[index], slot))
        check((versions[0].page, page) == (block.first_page, block.last_page), name, "pages are not the directory's")
        return versions

    def _batch(self, fields: Fields) -> Batch:
        location, (number, pages, origin, codec, reserved) = Location(*fields.unpack("IQI")), fields.unpack("IHHB3s")
        check(0 < pages * self.page_size <= MAX_BATCH, fields.name, f"a batch of {pages} pages")
        check(origin <= len(self.origins) and codec in (0, 1), fields.name, f"a batch of {origin=}, {codec=}")
        fields.zero(reserved)
        return Batch(location, number, pages, origin, codec)

    def open_batch(self, batch: Batch) -> tuple[str, bytes]:
        """The pages of a batch, and the name of the object that has them."""
        name, sealed = self._read(batch.location)
        key_id, segment = self.origins[batch.origin - 1] if batch.origin else (self.key_id, self.id)
        numbers = (batch.number, batch.pages, batch.codec)
        content = self.repository.open_data(name, sealed, BATCH, numbers, key_id, self.history, segment)
        size = batch.pages * self.page_size
        content = unzip(name, content, size) if batch.codec else content
        check(len(content) == size, name, f"batch {batch.number} has {len(content)} bytes instead of {size}")
        return name, content


def lock_page(page_size: int) -> int:
    return 2**30 // page_size + 1


class Merged(NamedTuple):
    """What the name of a merged segment tells. The order is that of the last seq, then first seq, then id."""

    last: int
    first: int
    id: bytes
    name: str

    @classmethod
    def of(cls, name: str) -> "Merged":
        first, last, segment_id = name.rpartition("/")[2].split("-")
        return cls(int(last, 16), int(first, 16), bytes.fromhex(segment_id), name)


class Reach(NamedTuple):
    """Where a segment leads to: whether to a base without a parent, the lowest first seq on the way, and the next step."""

    whole: bool
    lowest: int
    parent: Segment | None

    @staticmethod
    def of(segment: Segment) -> "Reach":
        return Reach(segment.kind == BASE and not any(segment.parent), segment.first_seq, None)

    def better(self, parent: Segment, reach: "Reach") -> "Reach":
        leads = reach.whole or (not self.whole and reach.lowest < self.lowest)
        return Reach(reach.whole, reach.lowest, parent) if leads else self


class History:
    def __init__(self, repository: Repository, history_id: str) -> None:
        self.repository, self.id, self.folder = repository, history_id, f"histories/{history_id}"
        self.name, self.page_digest_key = self._about()
        self.expired = self._expired()
        self._read: dict[str, Segment | Damage] = {}
        self.chain = self._chain()

    @staticmethod
    def is_under_creation(store: Store, history_id: str) -> bool:
        """Whether there is neither a description nor a segment (section 1)."""
        folder = f"histories/{history_id}"
        segments = store.list(f"{folder}/log", f"{U64}-{U64}") + store.list(f"{folder}/merged", f"{U64}-{U64}-[0-9a-f]{{32}}")
        return not store.list(folder, "about(-2)?") and not segments

    def _about(self) -> tuple[str, bytes]:
        """The name and the page digest key, from the first of the two copies that can be read (section 5)."""
        errors = []
        for name in (f"{self.folder}/about", f"{self.folder}/about-2"):
            try:
                about = self.repository.open(name, ABOUT)
                check(about.object_id.hex() == self.id, name, "object id is not the history's")
                _created, page_digest_key = about.body.unpack("q32s")
                found, _source, _host = (about.body.text() for _ in range(3))
                about.body.end()
            except Damage as error:
                errors.append(error)
            else:
                return found, page_digest_key
        raise errors[0]

    def _list(self, folder: str, pattern: str) -> list[str]:
        path = f"{self.folder}/{folder}"
        return [f"{path}/{name}" for name in self.repository.store.list(path, pattern)]

    def _expired(self) -> list[tuple[int, int]]:
        """The ranges of commits that are no restore points any more (section 5)."""
        found = []
        for name in self._list("expired", f"{U64}-[0-9a-f]{{8}}"):
            _key_id, object_id, _sealed, body = self.repository.open(name, EXPIRY)
            term, _time = body.unpack("Qq")
            ranges = [body.unpack("QQ") for _ in range(body.count(MAX_RANGES))]
            body.end()
            check(name.endswith(f"/{term:016x}-{object_id[:4].hex()}"), name, "term or id is not the name's")
            check(all(1 <= first <= last for first, last in ranges), name, "a range begins behind its end, or at 0")
            apart = all(one[1] + 1 < other[0] for one, other in pairwise(ranges))
            check(apart, name, "its ranges touch, or do not ascend")
            found += ranges
        return found

    def _chain(self) -> list[Segment | None]:
        """The segments that count, oldest first, with None for each hole (section 8, step 1)."""
        self._log = self._list("log", f"{U64}-{U64}")
        self._merged = [Merged.of(name) for name in self._list("merged", f"{U64}-{U64}-[0-9a-f]{{32}}")]
        self._reach: dict[bytes, Reach] = {}
        newest, top_hole = self._newest()
        parts: list[list[Segment]] = []
        whole = False
        if newest is not None:
            parts.append(self._path(newest))
            whole = self._explore(newest).whole
            if not whole:
                whole = self._below(parts[0][-1].first_seq, parts)
        found: list[Segment | None] = []
        for number, part in enumerate(reversed(parts)):
            found += [None] if number or not whole else []
            found += part[::-1]
        return [*found, None] if top_hole else found

    def _newest(self) -> tuple[Segment | None, bool]:
        """The newest segment that can be read, if any, and whether newer ones can't."""
        newest, top_hole, bound = None, False, 1 << 64
        claimed = self._claimed()
        for name in reversed(self._log):
            term, first = (int(number, 16) for number in name.split("/")[-1].split("-"))
            try:
                segment = self._segment(name)
            except Damage:
                if claimed is None:
                    top_hole = True  # names limit nothing
                elif term <= claimed:
                    top_hole, bound = True, min(bound, first)
                continue
            if segment.end < bound:
                newest = segment
                break
        if newest is not None and not top_hole:
            return newest, False
        for other in sorted(self._merged, reverse=True):
            if other.last >= bound or (newest is not None and other.last <= newest.end):
                continue
            try:
                segment = self._segment(other.name)
            except Damage:
                top_hole |= newest is None
                continue
            if newest is None or self._explore(segment).whole:
                return segment, top_hole
        return newest, top_hole

    def _claimed(self) -> int | None:
        """The highest term that somebody claimed: one that can be read, and those right behind it."""
        names = self._list("writers", U64)
        for at in range(len(names) - 1, -1, -1):
            with contextlib.suppress(Damage):
                self.repository.open(names[at], WRITER)
                terms = {int(name.split("/")[-1], 16) for name in names}
                newest = int(names[at].split("/")[-1], 16)
                while newest + 1 in terms:
                    newest += 1
                return newest
        return None

    def _below(self, bound: int, parts: list[list[Segment]]) -> bool:
        """Adds what lies below a hole; whether that ends in a base."""
        dead, whole = [], []
        log = sorted(self._log, key=lambda name: name.split("/")[-1], reverse=True)
        for names in (log, [other.name for other in sorted(self._merged, reverse=True)]):
            for segment in self._readable(names):
                if segment.end + 1 >= bound:
                    continue
                if self._explore(segment).whole:
                    whole.append(segment)
                    break
                dead.append(segment)
        floor = max(whole, key=lambda segment: segment.end, default=None)  # of equals the first: that of the log
        least = floor.end + 1 if floor else 1
        for segment in dead:
            if segment.end + 1 < bound:
                path = list(takewhile(lambda other: other.first_seq > least, self._path(segment)))
                if path:
                    parts.append(path)
                    bound = path[-1].first_seq
        if floor:
            parts.append(self._path(floor))
        return floor is not None

    def _path(self, end: Segment) -> list[Segment]:
        """From a segment down to where it leads, the newest first."""
        path = [end]
        while (parent := self._explore(path[-1]).parent) is not None:
            path.append(parent)
        return path

    def _explore(self, top: Segment) -> "Reach":
        """Where a segment leads to: depth first, each segment once, without recursion."""
        stack = [] if top.id in self._reach else [(top, self._candidates(top), Reach.of(top))]
        while stack:
            segment, candidates, best = stack.pop()
            parent = None if best.whole else next(candidates, None)
            if parent is None:
                self._reach[segment.id] = best
            elif parent.id in self._reach:
                stack.append((segment, candidates, best.better(parent, self._reach[parent.id])))
            else:  # once more when it is known where that one leads to
                stack.append((segment, chain([parent], candidates), best))
                stack.append((parent, self._candidates(parent), Reach.of(parent)))
        return self._reach[top.id]

    def _segment(self, name: str) -> Segment:
        """A segment that can be read, or else the Damage that says why not."""
        if name not in self._read:
            try:
                self._read[name] = Segment(self.repository, name)
            except Damage as error:
                self._read[name] = error
        found = self._read[name]
        if isinstance(found, Damage):
            raise found
        return found

    def _readable(self, names: Iterable[str]) -> Iterator[Segment]:
        for name in names:
            with contextlib.suppress(Damage):
                yield self._segment(name)

    def _candidates(self, child: Segment) -> Iterator[Segment]:
        """What may be a segment's parent and fits it, in the order of the document."""
        named, before = (child.parent, child.parent_digest), child.first_seq - 1
        if not any(child.parent):
            return

        def covering(others: list[Merged]) -> Iterator[Segment]:
            found = self._readable(other.name for other in others)
            return (segment for segment in found if (segment.covered, segment.covered_digest) == named)

        def ordered(others: list[Merged]) -> Iterator[Segment]:
            yield from sorted(covering(others), key=lambda segment: (-segment.end, segment.first_seq, -segment.term, segment.id))

        near = ordered([other for other in self._merged if other.last == before])
        far = ordered([other for other in self._merged if other.last < before])
        itself = self._readable(self._called(child.parent))
        rest = (far, itself) if child.sparse else (itself, far)
        yield from (found for found in chain(near, *rest) if self._fits(found, child))

    def _called(self, segment_id: bytes) -> Iterator[str]:
        """The names of the segments that have this id."""
        yield from (other.name for other in self._merged if other.id == segment_id)
        for name in self._log:
            with contextlib.suppress(Damage):
                if self.repository.prefix(name, SEGMENT)[1] == segment_id:
                    yield name

    def _fits(self, parent: Segment, child: Segment) -> bool:
        digests = {parent.id: parent.digest, parent.covered: parent.covered_digest}
        if digests.get(child.parent) != child.parent_digest:
            return False
        if "log" == parent.place == child.place and parent.term > child.term:
            return False
        gap = child.sparse or parent.place == "merged"
        follows = parent.end < child.first_seq if gap else parent.end == child.first_seq - 1
        return follows and (child.kind == BASE or parent.page_size == child.page_size)

    def commits(self) -> list[tuple[Segment, Commit]]:
        """The restore points, oldest first (section 8, step 2)."""
        states = ((segment, commit) for segment in filter(None, self.chain) for commit in segment.states)
        return [(segment, commit) for segment, commit in states if not self._has_expired(commit.seq)]

    def _has_expired(self, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.expired)

    def labels(self) -> dict[int, list[str]]:
        """The labels that count, by seq (section 5)."""
        labels, taken_back = {}, set()
        for name in self._list("snapshots", f"{U64}-{U64}"):
            _key_id, object_id, sealed, body = self.repository.open(name, SNAPSHOT)
            seq, _time, kind, takes_back, reserved, target = body.unpack("QqBB6s8s")
            label = body.text()
            digest = body.take(16) if sealed[6] & DIGEST else None
            is_mark = bool(sealed[6] & UNTIL)
            if is_mark:
                (_until,) = body.unpack("q")  # a mark counts until it is taken back
            body.end()
            body.zero(reserved, b"" if takes_back else target)
            check(is_mark == (kind == 4) and not (is_mark and takes_back), name, "a mark has an end, and takes nothing back")
            check(name.endswith(f"/{seq:016x}-{object_id[8:].hex()}"), name, "seq or id is not the name's")
            check(not any(object_id[:8]) and kind in (1, 2, 3, 4) and takes_back in (0, 1), name, "id, kind or flag")
            if takes_back:
                taken_back.add(target)
            else:
                labels[object_id[8:]] = seq, label, digest
        by_seq = defaultdict(list)
        digests = {commit.seq: commit.digest for _, commit in self.commits()}
        for seq, label, digest in (labels[snapshot_id] for snapshot_id in labels if snapshot_id not in taken_back):
            if digest in (None, digests.get(seq, digest)):  # else it was given to another commit of that seq, which was lost
                by_seq[seq].append(label)
        return by_seq

    def check_records(self) -> None:
        """Checks the writers, holds and proofs, which restoring does not need."""
        for name in self._list("writers", U64):
            body = self.repository.open(name, WRITER).body
            term, _since, _process, _host, _role = *body.unpack("QqI"), body.text(), body.text()
            body.end()
            check(name.endswith(f"/{term:016x}"), name, "term is not the name's")
        for name in self._list("holds", f"{U64}-{U64}"):
            _key_id, object_id, sealed, body = self.repository.open(name, HOLD)
            seq, _time, takes_back, reserved, target = body.unpack("QqB7s8s")
            _reason, _host, _digest = body.text(), body.text(), body.take(16 if sealed[6] & DIGEST else 0)
            body.end()
            body.zero(reserved, b"" if takes_back else target)
            check(name.endswith(f"/{seq:016x}-{object_id[8:].hex()}"), name, "seq or id is not the name's")
            check(not any(object_id[:8]) and takes_back == any(target), name, "id or flag")
        for name in self._list("proofs", f"{U64}-{U64}-[0-9a-f]{{8}}"):
            _key_id, object_id, _sealed, body = self.repository.open(name, PROOF)
            seq, _digest, _start, _duration, level, outcome, reserved, share, _compared, _assertions = body.unpack(
                "Q16sqQBB2sIQI")
            _host, _failed = body.text(), body.text()
            body.end()
            body.zero(reserved)
            check(level in (1, 2, 3) and outcome in (1, 2) and share <= 1000000, name, "level, outcome or share")
            check(name.split("/")[-1].startswith(f"{seq:016x}-"), name, "seq is not the name's")
            check(name.endswith(f"-{object_id[:4].hex()}"), name, "object id is not the name's")

    def find(self, seq: str) -> int:
        seqs = [str(commit.seq) for _, commit in self.commits()]
        lost = self.chain[-1:] == [None]
        check(seq != "latest" or not lost, self.folder, "its newest commits can't be read")
        wanted = seqs[-1] if seqs and seq == "latest" else seq
        check(wanted in seqs, self.folder, f"has no commit {seq}")
        return int(wanted)

    def pages(self, seq: int) -> tuple[Segment, Commit, list[tuple[Segment, Version]]]:
        """The segment and commit of this seq, and the version of each of its pages (section 8, step 3)."""
        holder, commit = next(pair for pair in self.commits() if pair[1].seq == seq)
        upto = self.chain[: self.chain.index(holder) + 1]
        begins = [at + 1 if segment is None else at for at, segment in enumerate(upto)
                  if segment is None or segment.kind == BASE]
        pages: dict[int, tuple[Segment, Version]] = {}
        for segment in filter(None, upto[begins[-1] if begins else 0 :]):
            segment.check_manifest()
            for version in segment.versions():  # in order, so that a later version replaces an earlier one
                if version.seq <= seq and version.page <= commit.pages:
                    pages[version.page] = segment, version
        expected = commit.pages - (commit.pages >= lock_page(holder.page_size))
        check(len(pages) == expected, holder.name, f"commit {seq} has {len(pages)} of its {expected} pages")
        return holder, commit, list(pages.values())

    def restore(self, seq: int, target: Path) -> None:
        with target.open("xb") as file:
            try:
                holder, commit, pages = self.pages(seq)
                file.truncate(commit.pages * holder.page_size)
                digest = 0
                for version, content in self._contents(pages):
                    file.seek((version.page - 1) * holder.page_size)
                    file.write(content)
                    digest ^= int.from_bytes(version.digest, "little")
                check(digest.to_bytes(16, "little") == commit.digest, holder.name, f"database digest of commit {seq}")
            except BaseException:
                target.unlink()
                raise

    def _contents(self, pages: list[tuple[Segment, Version]]) -> Iterator[tuple[Version, bytes]]:
        """Every version with its verified content; each batch is opened once."""
        by_batch = defaultdict(list)
        for segment, version in pages:
            by_batch[segment, version.batch].append(version)
        for (segment, batch), versions in by_batch.items():
            name, content = segment.open_batch(batch)
            for version in versions:
                page = content[version.slot * segment.page_size :][: segment.page_size]
                digest = blake3(page + struct.pack("<I", version.page), key=self.page_digest_key).digest()[:16]
                check(digest == version.digest, name, f"digest of page {version.page} of commit {version.seq}")
                yield version, page


def list_history(history: History) -> None:
    history.check_records()
    labels = history.labels()
    for segment, commit in history.commits():
        print(json.dumps({
            "history": history.name, "history_id": history.id, "seq": commit.seq, "time": commit.time,
            "pages": commit.pages, "page_size": segment.page_size, "digest": commit.digest.hex(),
            "kind": COMMIT_KINDS[commit.kind], "labels": labels.get(commit.seq, [])}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reads a pagekeep repository without pagekeep.")
    parser.add_argument("repository", type=Path)
    secrets = parser.add_mutually_exclusive_group(required=True)
    for option in SECRET_OPTIONS.values():
        secrets.add_argument(f"--{option.replace('_', '-')}", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    restore, restore_all = commands.add_parser("restore"), commands.add_parser("restore-all")
    for command in (restore, restore_all):
        command.add_argument("name")
    restore.add_argument("seq")
    restore.add_argument("target", type=Path)
    restore_all.add_argument("directory", type=Path)
    return parser.parse_args()


def run(given: argparse.Namespace) -> None:
    kind, path = next((kind, path) for kind, option in SECRET_OPTIONS.items() if (path := getattr(given, option)))
    repository = Repository(given.repository, read_secret(kind, path))
    names = repository.store.list("histories", "[0-9a-f]{32}")
    begun = [name for name in names if not History.is_under_creation(repository.store, name)]
    histories = [History(repository, name) for name in begun]
    if given.command == "list":
        for history in histories:
            list_history(history)
        return
    found = [history for history in histories if given.name in (history.name, history.id)]
    check(len(found) == 1, "histories", f"{len(found)} of them are called {given.name}")
    if given.command == "restore":
        found[0].restore(found[0].find(given.seq), given.target)
        return
    given.directory.mkdir(parents=True, exist_ok=True)
    for _, commit in found[0].commits():
        found[0].restore(commit.seq, given.directory / f"{commit.seq}.db")


def main() -> int:
    try:
        run(arguments())
    except (Damage, OSError, UnicodeDecodeError) as error:
        print(f"pagekeep_reader: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
