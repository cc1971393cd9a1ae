//! Compares `docs/format.md` with the code, so that neither changes without the other.
//!
//! Numbers are read from the document's tables and sentences. Layouts are compared by encoding an object whose
//! fields all differ and looking at the offsets that the document gives. Constants that the code has and the
//! document lacks are found by reading the names of the code's constants from its source.

use std::collections::{BTreeMap, BTreeSet};

use pagekeep::internals::codec::digest::PageHasher;
use pagekeep::internals::codec::seal::{DataKind, context, data_binding};
use pagekeep::internals::format::about::{About, DigestKey};
use pagekeep::internals::format::expiry::Expiry;
use pagekeep::internals::format::head::HeadRecord;
use pagekeep::internals::format::header::{DIGEST, SPARSE, UNTIL};
use pagekeep::internals::format::hold::HoldRecord;
use pagekeep::internals::format::index::{BatchCodec, BatchRef, IndexBlock, IndexEntry};
use pagekeep::internals::format::names::{self, HistoryNames, LogName};
use pagekeep::internals::format::proof::{Level, Proof};
use pagekeep::internals::format::record::Record;
use pagekeep::internals::format::repository::{CHECKSUM_LEN, RepositoryObject};
use pagekeep::internals::format::segment::{
    BlockRef, CommitKind, CommitRecord, Location, Manifest, Origin, PART_HEADER_LEN, PartHeader,
    SegmentKind, SegmentRef,
};
use pagekeep::internals::format::slot::{
    KdfParams, MasterKey, SecretKind, SlotFront, SlotObject, encode_keyring,
};
use pagekeep::internals::format::snapshot::{SnapshotKind, SnapshotRecord};
use pagekeep::internals::format::writer::WriterClaim;
use pagekeep::internals::format::{
    DecodeKind, FORMAT_VERSION, Header, MAGIC, ObjectKind, SealedPrefix, limits,
};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::types::{
    Digest, HistoryId, HoldId, KeyId, PageNo, PageSize, RepositoryId, SegmentId, Seq, SlotId,
    SnapshotId, Term, Timestamp, WriterToken,
};

const DOC: &str = include_str!("../../docs/format.md");

// ---- reading the document ----

/// The text below a heading, up to the next heading of any depth.
fn section(heading: &str) -> &'static str {
    let mut found = DOC.split("\n#").skip(1).filter_map(|part| {
        let (title, body) = part.split_once('\n')?;
        (title.trim_start_matches('#').trim() == heading).then_some(body)
    });
    let body = found.next().unwrap_or_else(|| panic!("no section {heading:?}"));
    assert_eq!(found.next(), None, "two sections {heading:?}");
    body
}

/// The document as one line, so that a sentence is found wherever its lines break.
fn flat() -> String {
    DOC.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of a section's tables, without headings: one list of cells for each row.
fn rows(section: &'static str) -> Vec<Vec<&'static str>> {
    let lines: Vec<&str> = section.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    let body = lines.iter().enumerate().filter(|(i, line)| {
        let heads = lines.get(i + 1).is_some_and(|next| is_rule(next));
        line.starts_with('|') && !is_rule(line) && !heads
    });
    body.map(|(_, line)| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The tables of a section, one after the other.
fn tables(section: &'static str) -> Vec<Vec<Vec<&'static str>>> {
    let paragraphs = section.split("\n\n").map(rows);
    paragraphs.filter(|rows| !rows.is_empty()).collect()
}

/// The leading digits of a text.
fn number(text: &str) -> u64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{text:?} begins with no number"))
}

/// What stands between backticks and begins so.
fn quoted(prefix: &str) -> Vec<&'static str> {
    DOC.split('`').filter(|piece| piece.starts_with(prefix)).collect()
}

/// Checks a table of offset, size and field against bytes: the rows follow each other without a gap, each has
/// the word that is expected of it, and the bytes at its place are the expected ones. Answers where the fixed
/// fields end.
fn check_layout(table: &[Vec<&str>], bytes: &[u8], expected: &[(&str, &[u8])]) -> usize {
    let mut at = 0;
    for (row, (word, value)) in table.iter().zip(expected) {
        let field = row[2];
        assert!(field.contains(word), "{field:?} is where {word:?} was expected");
        let offset = usize::try_from(number(row[0])).unwrap();
        let size = usize::try_from(number(row[1])).unwrap();
        assert_eq!(offset, at, "offset of {field:?}");
        assert_eq!(bytes.get(offset..offset + size), Some(*value), "bytes of {field:?}");
        at += size;
    }
    let fixed = table.iter().filter(|row| row[0] != "." && row[1] != ".").count();
    assert_eq!(fixed, expected.len(), "rows with a fixed place");
    at
}

/// The names of public constants, from their source.
fn constants(source: &str) -> BTreeSet<String> {
    let lines = source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    lines.map(|line| line.split(':').next().unwrap().to_owned()).collect()
}

// ---- numbers ----

#[test]
fn magic_and_version_are_the_documents() {
    assert!(DOC.starts_with(&format!("# The repository format, version {FORMAT_VERSION}\n")));
    let magic = format!("magic `{}`", str::from_utf8(&MAGIC).unwrap());
    let version = format!("format version: {FORMAT_VERSION}");
    let header = tables(section("2. Header")).remove(0);
    let binding = tables(section("Data seals")).remove(0);
    assert_eq!((header[0][2], header[2][2]), (&*magic, &*version));
    assert_eq!(binding[0][2], magic.trim_start_matches("magic "));
    assert_eq!(binding[1][2], version);
}

#[test]
fn limits_are_the_documents() {
    let size = |n: usize| u64::try_from(n).unwrap();
    // The row of section 9, the constant's name, its value.
    let table = [
        ("plain object", "PLAIN_OBJECT", size(limits::PLAIN_OBJECT)),
        ("sealed body, manifests excepted", "RECORD_BODY", size(limits::RECORD_BODY)),
        ("manifest", "MANIFEST_BODY", size(limits::MANIFEST_BODY)),
        ("inline data", "INLINE_DATA", limits::INLINE_DATA),
        ("part object", "PART", limits::PART),
        ("batch, before compression", "BATCH_PLAIN", size(limits::BATCH_PLAIN)),
        ("entries of an index block", "INDEX_ENTRIES", size(limits::INDEX_ENTRIES)),
        ("batches of an index block", "INDEX_BATCHES", size(limits::INDEX_BATCHES)),
        ("text", "TEXT", size(limits::TEXT)),
        ("keys in a keyring", "KEYRING", size(limits::KEYRING)),
        ("origins of a segment", "ORIGINS", size(limits::ORIGINS)),
        ("ranges of an expiry", "EXPIRY_RANGES", size(limits::EXPIRY_RANGES)),
    ];
    let in_doc: Vec<(&str, u64)> =
        rows(section("9. Limits")).iter().map(|row| (row[0], number(row[1]))).collect();
    let in_code: Vec<(&str, u64)> = table.iter().map(|(what, _, value)| (*what, *value)).collect();
    assert_eq!(in_doc, in_code);

    let in_prose = ["ARGON2_MEMORY_KIB", "ARGON2_PASSES", "ARGON2_LANES"];
    let known = table.iter().map(|(_, name, _)| *name).chain(in_prose).map(str::to_owned);
    let source = include_str!("../../src/format/limits.rs");
    assert_eq!(constants(source), known.collect(), "a limit that the document lacks");
}

#[test]
fn sentences_repeat_the_limits_as_they_are() {
    let (memory, passes, lanes) =
        (limits::ARGON2_MEMORY_KIB, limits::ARGON2_PASSES, limits::ARGON2_LANES);
    let doc = flat();
    for sentence in [
        format!(
            "memory at most {memory} KiB and at least 8 times the lanes, passes 1 to {passes}, lanes 1 to {lanes}."
        ),
        format!("bytes of UTF-8, at most {}.", limits::TEXT),
        format!("It has 1 to {} keys.", limits::KEYRING),
        format!(
            "A sealed body other than a manifest has at most {} bytes, a manifest at most {}, tag included.",
            limits::RECORD_BODY,
            limits::MANIFEST_BODY
        ),
        format!(
            "A part has at most {} bytes; inline data at most {}.",
            limits::PART,
            limits::INLINE_DATA
        ),
        format!("tells both numbers, at most {} each.", limits::INDEX_ENTRIES),
        format!("at most {} bytes before compression.", limits::BATCH_PLAIN),
        format!("It has at most {} ranges.", limits::EXPIRY_RANGES),
    ] {
        assert!(doc.contains(&sentence), "the document lacks: {sentence}");
    }
    assert_eq!(limits::INDEX_ENTRIES, limits::INDEX_BATCHES);

    let cost = |memory_kib, passes, lanes| KdfParams { memory_kib, passes, lanes }.is_acceptable();
    assert!(cost(memory, passes, lanes) && cost(8 * lanes, 1, lanes) && cost(8, 1, 1));
    assert!(!cost(memory + 1, 1, 1) && !cost(64, passes + 1, 1) && !cost(memory, 1, lanes + 1));
    assert!(!cost(8 * lanes - 1, 1, lanes) && !cost(64, 0, 1) && !cost(64, 1, 0));
}

#[test]
fn codes_of_enumerations_are_the_documents() {
    let list = |codes: &[(u8, &str)]| {
        let codes: Vec<String> = codes.iter().map(|(n, name)| format!("{n} {name}")).collect();
        codes.join(", ")
    };
    let secrets = [SecretKind::Passphrase, SecretKind::KeyFile, SecretKind::Recovery];
    let snapshots =
        [SnapshotKind::Manual, SnapshotKind::Scheduled, SnapshotKind::Safety, SnapshotKind::Mark];
    let levels = [Level::Chain, Level::Data, Level::Restore];
    let commits = [CommitKind::Scan, CommitKind::Wal, CommitKind::Transaction];
    let [passphrase, key_file, recovery] = secrets.map(|s| s as u8);
    let doc = flat();
    for codes in [
        list(&[(passphrase, "passphrase"), (key_file, "key file"), (recovery, "recovery key")]),
        list(&snapshots.map(|kind| (kind as u8, kind.name()))),
        list(&levels.map(|level| (level as u8, level.name()))),
        list(&commits.map(|kind| (kind as u8, kind.name()))).replace("wal", "WAL"),
        list(&[(SegmentKind::Base as u8, "base"), (SegmentKind::Delta as u8, "delta")]),
        list(&[(BatchCodec::Stored as u8, "stored"), (BatchCodec::Zstd as u8, "zstd")]),
        list(&[(DataKind::Batch as u8, "batch"), (DataKind::Index as u8, "index block")]),
    ] {
        assert!(doc.contains(&codes), "the document lacks: {codes}");
    }
}

// ---- objects, names and keys ----

#[test]
fn every_kind_of_object_has_its_number_and_its_name() {
    let history = HistoryNames(HistoryId([0x11; 16]));
    let segment = SegmentId([0x22; 16]);
    let token = WriterToken([0x33; 16]);
    let (term, first, last, time) = (Term(0x44), Seq(0x55), Seq(0x66), Timestamp(-2));
    // Each row of section 1 in order: the kind, and a name as the code builds it.
    let named = [
        (ObjectKind::Repository, names::REPOSITORY.to_owned()),
        (ObjectKind::Slot, names::slot(SlotId([0x77; 8]))),
        (ObjectKind::About, history.about()),
        (ObjectKind::About, history.about_2()),
        (ObjectKind::Writer, history.writer(term)),
        (ObjectKind::Writer, history.sign(term, 0xbb)),
        (ObjectKind::Segment, history.segment(LogName { term, first })),
        (ObjectKind::Segment, history.merged_segment(first, last, segment)),
        (ObjectKind::Part, history.part(segment, 0x88)),
        (ObjectKind::Snapshot, history.snapshot(first, SnapshotId([0x99; 8]))),
        (ObjectKind::Proof, history.proof(first, time, token)),
        (ObjectKind::Hold, history.hold(first, HoldId([0xaa; 8]))),
        (ObjectKind::Expiry, history.expiry(term, token)),
        (ObjectKind::Expiry, history.announcement(term, token)),
        (ObjectKind::Head, history.head(term, token)),
    ];
    let values = [
        ("<history id>", "11".repeat(16)),
        ("<segment id>", "22".repeat(16)),
        ("<token>", "33".repeat(4)),
        ("<term>", format!("{:016x}", 0x44)),
        ("<first seq>", format!("{:016x}", 0x55)),
        ("<seq>", format!("{:016x}", 0x55)),
        ("<last seq>", format!("{:016x}", 0x66)),
        ("<time>", "fffffffffffffffe".to_owned()),
        ("<slot id>", "77".repeat(8)),
        ("<part>", format!("{:08x}", 0x88)),
        ("<snapshot id>", "99".repeat(8)),
        ("<hold id>", "aa".repeat(8)),
        ("<number>", format!("{:016x}", 0xbb)),
    ];
    let in_doc: Vec<(u64, String)> = rows(section("1. Objects and their names"))
        .iter()
        .map(|row| {
            let pattern = row[0].trim_matches('`').to_owned();
            let fill = |name: String, (key, value): &(&str, String)| name.replace(key, value);
            (number(row[1]), values.iter().fold(pattern, fill))
        })
        .collect();
    let in_code = named.map(|(kind, name)| (u64::from(kind.number()), name));
    assert_eq!(in_doc, in_code);

    let listed: BTreeSet<u64> = in_doc.iter().map(|(kind, _)| *kind).collect();
    let all: BTreeSet<u64> = ObjectKind::ALL.iter().map(|k| k.number().into()).collect();
    assert_eq!(listed, all, "kinds of ObjectKind::ALL");
    let source = include_str!("../../src/format/header.rs");
    let (_, body) = source.split_once("pub enum ObjectKind {").unwrap();
    let variants = body.split("\n}").next().unwrap().matches(" = ").count();
    assert_eq!(variants, ObjectKind::ALL.len(), "a kind that ObjectKind::ALL lacks");
}

#[test]
fn identities_and_page_sizes_are_as_long_as_the_document_says() {
    let doc = flat();
    let long = [
        RepositoryId::default().0.len(),
        HistoryId::default().0.len(),
        SegmentId::default().0.len(),
        WriterToken::default().0.len(),
    ];
    let short = [
        SlotId::default().0.len(),
        KeyId::default().0.len(),
        SnapshotId::default().0.len(),
        HoldId::default().0.len(),
    ];
    assert_eq!((long, short), ([long[0]; 4], [short[0]; 4]));
    let ids = "Repository, history, segment and object ids and writer tokens have";
    let sentence =
        format!("{ids} {} bytes; slot, key, snapshot and hold ids {}.", long[0], short[0]);
    assert!(doc.contains(&sentence), "the document lacks: {sentence}");
    // The names themselves are compared in full above.
    assert!(doc.contains("`<time>` are 16 lower-case hex digits of the `u64`"));
    assert!(doc.contains("`<part>` and `<token>` 8 hex digits"));

    let sizes: Vec<u32> = (0..32).map(|n| 1 << n).filter(|n| PageSize::new(*n).is_some()).collect();
    let (least, most) = (sizes[0], sizes[sizes.len() - 1]);
    assert!(doc.contains(&format!("page size: a power of two from {least} to {most}")));
    let lock_page = PageSize::DEFAULT.lock_page().0;
    assert!(doc.contains("page 2^30 / page size + 1, has no version"));
    assert_eq!(lock_page, (1 << 30) / PageSize::DEFAULT.get() + 1);
}

#[test]
fn page_digests_are_made_as_the_document_says() {
    let key = distinct(7);
    let content = [0x5a; 512];
    let hash = blake3::keyed_hash(&key, &[&content[..], &9u32.to_le_bytes()].concat());
    let digest = PageHasher::new(DigestKey(key)).digest(PageNo(9), &content);
    assert_eq!(digest.0, hash.as_bytes()[..16]);
    assert!(flat().contains(
        "the first 16 bytes of BLAKE3 in keyed mode, with the page digest key of `about`, over the page's content ‖ page number (u32)."
    ));
}

#[test]
fn contexts_of_key_derivation_are_the_documents() {
    let of_recovery = "pagekeep 2026 v1 recovery checksum";
    let codes = [
        ("SLOT_SEAL", context::SLOT_SEAL),
        ("SLOT_COMMITMENT", context::SLOT_COMMITMENT),
        ("OBJECT_SEAL", context::OBJECT_SEAL),
        ("DATA_SEAL", context::DATA_SEAL),
        ("HISTORY_ID", context::HISTORY_ID),
        ("EVIDENCE", context::EVIDENCE),
    ];
    let in_doc: BTreeSet<&str> = quoted("pagekeep 2026").into_iter().collect();
    let in_code: BTreeSet<&str> =
        codes.iter().map(|(_, text)| *text).chain([of_recovery]).collect();
    assert_eq!(in_doc, in_code);
    let source = include_str!("../../src/codec/seal.rs");
    let names: BTreeSet<String> = codes.iter().map(|(name, _)| (*name).to_owned()).collect();
    let (_, module) = source.split_once("pub mod context {").unwrap();
    let module = module.split("\n}").next().unwrap();
    assert_eq!(constants(module), names, "a context that the document lacks");

    let doc = flat();
    for (purpose, context, material) in [
        ("commitment", context::SLOT_COMMITMENT, "material), 32 bytes"),
        ("sealing key", context::SLOT_SEAL, "material), 64 bytes"),
        (
            "The sealing key is",
            context::OBJECT_SEAL,
            "master key ‖ repository id ‖ kind (1 byte) ‖ object id)",
        ),
        (
            "The sealing key of a segment's batches and index blocks is",
            context::DATA_SEAL,
            "master key ‖ repository id ‖ history id ‖ segment id)",
        ),
    ] {
        let is = if purpose.ends_with("is") { "" } else { " =" };
        let sentence = format!("{purpose}{is} BLAKE3 `derive_key`(`{context}`, {material}");
        assert!(doc.contains(&sentence), "the document lacks: {sentence}");
    }
}

/// A recovery key, spelt from the document alone, is one.
#[test]
fn recovery_keys_are_spelt_as_the_document_says() {
    let symbols = quoted("0123456789ABC")[0].as_bytes();
    assert_eq!(symbols.len(), 32);
    let context = quoted("pagekeep 2026 v1 recovery")[0];
    let key: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 37 % 256).unwrap());
    let sum = blake3::derive_key(context, &key);
    let bits: Vec<bool> = key
        .iter()
        .chain(&sum[..3])
        .flat_map(|b| (0..8).rev().map(move |i| b >> i & 1 == 1))
        .collect();
    let text: String = bits
        .chunks(5)
        .map(|five| five.iter().fold(0, |v, bit| v << 1 | usize::from(*bit)))
        .map(|value| char::from(symbols[value]))
        .collect();
    assert!(
        flat().contains(&format!("are the 32 bytes: {} symbols", text.len())) || text.len() == 56
    );
    assert!(flat().contains(&format!("{} symbols of Crockford's base32", text.len())));
    assert!(flat().contains(&format!("for {} bytes", bits.len() / 8)));
    match Secret::parse_recovery(&text).unwrap() {
        Secret::Recovery(read) => assert_eq!(*read, key),
        other => panic!("{other:?}"),
    }
}

// ---- layouts ----

/// Bytes that are all different, from a starting value, so that no two fields look alike.
fn distinct<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|i| from.wrapping_add(u8::try_from(i).unwrap()))
}

#[test]
fn header_and_sealed_prefix_lie_as_the_document_says() {
    let header = tables(section("2. Header")).remove(0);
    let seals = tables(section("4. Seals")).remove(0);
    for kind in ObjectKind::ALL {
        let mut prefix = SealedPrefix {
            header: Header::new(kind),
            key: KeyId(distinct(0x10)),
            object: distinct(0x20),
            body_len: 0x4433_2211,
        };
        prefix.header.required = 0x8281;
        prefix.header.optional = 0xd4c3_b2a1;
        let bytes = prefix.encode();
        let end = check_layout(
            &header,
            &bytes,
            &[
                ("magic", &MAGIC),
                ("object kind", &[kind.number()]),
                ("format version", &[FORMAT_VERSION]),
                ("required feature flags", &[0x81, 0x82]),
                ("optional feature flags", &[0xa1, 0xb2, 0xc3, 0xd4]),
                ("reserved", &[0; 4]),
            ],
        );
        assert_eq!(end, Header::LEN);
        let end = check_layout(
            &seals,
            &bytes,
            &[
                ("header", &bytes[..Header::LEN]),
                ("master key", &distinct::<8>(0x10)),
                ("object id", &distinct::<16>(0x20)),
                ("length of the sealed body", &[0x11, 0x22, 0x33, 0x44]),
            ],
        );
        assert_eq!((end, bytes.len()), (SealedPrefix::LEN, SealedPrefix::LEN));
        assert_eq!(seals.last().unwrap()[0], end.to_string(), "the sealed body's offset");
    }
    let sealed = ObjectKind::ALL.into_iter().filter(|kind| {
        ![ObjectKind::Repository, ObjectKind::Slot, ObjectKind::Part].contains(kind)
    });
    // The last kinds are told as a range.
    let sealed: Vec<u8> = sealed.map(ObjectKind::number).collect();
    let last = sealed[sealed.len() - 1];
    let apart = sealed.iter().rposition(|n| !sealed.contains(&(n - 1))).unwrap();
    let others: Vec<String> = sealed[..apart].iter().map(u8::to_string).collect();
    let (others, from) = (others.join(", "), sealed[apart]);
    let doc = flat();
    let sentence = format!("Kinds {others} and {from} to {last} begin with this prefix");
    assert!(doc.contains(&sentence), "the document lacks: {sentence}");
    assert!(doc.contains(&format!("begins with these {} bytes", Header::LEN)));
    assert!(doc.contains(&format!("the {} bytes of the prefix", SealedPrefix::LEN)));
    assert!(doc.contains(&format!("the {}-byte synthetic IV", SealedPrefix::TAG_LEN)));
}

/// What a reader does that does not know a feature; the first release knew none, and refused every required flag of every kind
/// in this way. So it refuses sparse segments, instead of offering commits that can't be restored any more.
#[test]
fn required_features_that_a_reader_does_not_know_are_too_new_for_it() {
    let sparse = format!("Bit {}, only in segments: *sparse*", SPARSE.trailing_zeros());
    assert!(SPARSE.is_power_of_two() && flat().contains(&sparse), "the document lacks: {sparse}");
    let digest = format!("Bit {}, only in snapshots and holds: *digest*", DIGEST.trailing_zeros());
    assert!(DIGEST.is_power_of_two() && flat().contains(&digest), "the document lacks: {digest}");
    let until = format!("Bit {}, only in snapshots: *until*", UNTIL.trailing_zeros());
    assert!(UNTIL.is_power_of_two() && flat().contains(&until), "the document lacks: {until}");
    assert!(flat().contains("a reader that does not know one refuses the object"));
    for kind in ObjectKind::ALL {
        for flag in (0..16).map(|bit| 1u16 << bit) {
            let header = Header { required: flag, ..Header::new(kind) };
            let prefix = SealedPrefix { header, key: KeyId([1; 8]), object: [2; 16], body_len: 16 };
            let read = SealedPrefix::decode(&prefix.encode(), kind, limits::RECORD_BODY);
            let known = match kind {
                ObjectKind::Segment => SPARSE,
                ObjectKind::Snapshot => DIGEST | UNTIL,
                ObjectKind::Hold => DIGEST,
                _ => 0,
            };
            if flag & known != 0 {
                assert_eq!(read, Ok(prefix));
                continue;
            }
            let e = read.expect_err("an unknown feature");
            assert_eq!((e.kind, e.offset), (DecodeKind::TooNew, 6), "{kind:?}, flag {flag:#x}");
            // A known feature beside it does not help.
            let both =
                SealedPrefix { header: Header { required: flag | SPARSE, ..header }, ..prefix };
            let read = SealedPrefix::decode(&both.encode(), kind, limits::RECORD_BODY);
            assert_eq!(read.map_err(|e| e.kind), Err(DecodeKind::TooNew), "{kind:?} {flag:#x}");
        }
    }
}

#[test]
fn plain_objects_lie_as_the_document_says() {
    let repository =
        RepositoryObject { id: RepositoryId(distinct(0x30)), created: Timestamp(-3) }.encode();
    let (body, sum) = repository.split_last_chunk::<CHECKSUM_LEN>().unwrap();
    assert_eq!(*sum, blake3::hash(body).as_bytes()[..CHECKSUM_LEN]);
    let end = check_layout(
        &tables(section("`repository`"))[0],
        &repository,
        &[
            (&*format!("kind {}", ObjectKind::Repository.number()), &repository[..Header::LEN]),
            ("repository id", &distinct::<16>(0x30)),
            ("creation time", &(-3i64).to_le_bytes()),
            ("checksum", sum),
        ],
    );
    assert_eq!(end, repository.len());

    let kdf = KdfParams { memory_kib: 4096, passes: 5, lanes: 6 };
    let slot = SlotObject {
        front: SlotFront {
            id: SlotId(distinct(0x40)),
            repository: RepositoryId(distinct(0x50)),
            secret: SecretKind::Passphrase,
            created: Timestamp(7),
            kdf: Some(kdf),
            salt: distinct(0x60),
            label: "ab".into(),
            optional: 0,
        },
        commitment: distinct(0x70),
        sealed: vec![0xee; 20],
    };
    let bytes = slot.encode();
    let table = &tables(section("`keys/<slot id>`"))[0];
    let end = check_layout(
        table,
        &bytes,
        &[
            (&*format!("kind {}", ObjectKind::Slot.number()), &bytes[..Header::LEN]),
            ("slot id", &slot.front.id.0),
            ("repository id", &slot.front.repository.0),
            ("secret", &[SecretKind::Passphrase as u8]),
            ("reserved", &[0; 3]),
            ("creation time", &7i64.to_le_bytes()),
            ("memory in KiB", &4096u32.to_le_bytes()),
            ("passes", &5u32.to_le_bytes()),
            ("lanes", &6u32.to_le_bytes()),
            ("salt", &slot.front.salt),
        ],
    );
    let tail = [
        [&*end.to_string(), ".", "label, text"],
        [".", "32", "commitment"],
        [".", "4", "length of the sealed keyring"],
        [".", ".", "sealed keyring"],
        [".", &*CHECKSUM_LEN.to_string(), "checksum"],
    ];
    assert_eq!(table[10..], tail);
    let behind = [b"\x02\0ab", &slot.commitment[..], &20u32.to_le_bytes(), &slot.sealed].concat();
    assert_eq!(bytes[end..bytes.len() - CHECKSUM_LEN], behind);

    let key = MasterKey { id: KeyId(distinct(1)), created: Timestamp(9), secret: distinct(0x80) };
    let keyring = [&1u32.to_le_bytes()[..], &key.id.0, &9i64.to_le_bytes(), &key.secret].concat();
    assert_eq!(encode_keyring(std::slice::from_ref(&key))[..], keyring);
    let doc = flat();
    assert!(doc.contains(
        "`u32` number of keys, then for each: key id (8), creation time (8, i64), master key (32)"
    ));
    assert!(
        doc.contains(&format!(
            "the first {CHECKSUM_LEN} bytes of BLAKE3 over everything before it"
        ))
    );
}

fn manifest() -> Manifest {
    let commit = CommitRecord {
        seq: Seq(0x1_0000_0003),
        time: Timestamp(-4),
        pages: 11,
        changed: 12,
        digest: Digest(distinct(0x90)),
        stored: 13,
        kind: CommitKind::Transaction,
    };
    Manifest {
        history: HistoryId(distinct(1)),
        term: Term(0x0102_0304_0506_0708),
        token: WriterToken(distinct(0x11)),
        kind: SegmentKind::Delta,
        page_size: PageSize::new(8192).unwrap(),
        parent: Some(SegmentRef { id: SegmentId(distinct(0x22)), digest: distinct(0x33) }),
        covers: Some(SegmentRef { id: SegmentId(distinct(0x55)), digest: distinct(0x66) }),
        carries: true,
        first: Seq(0x1_0000_0001),
        versions: 14,
        batches: 15,
        inline_len: 16,
        commits: vec![commit],
        parts: vec![17],
        origins: vec![Origin { key: KeyId(distinct(0xa0)), segment: SegmentId(distinct(0xb0)) }],
        blocks: vec![BlockRef {
            first_page: 18,
            last_page: 19,
            entries: 20,
            batches: 21,
            at: Location { part: 22, offset: 23, len: 24 },
        }],
    }
}

#[test]
fn manifests_lie_as_the_document_says() {
    let m = manifest();
    let bytes = m.encode();
    let [fixed, commit] = tables(section("Manifest")).try_into().unwrap();
    let (parent, covers) = (m.parent.unwrap(), m.covers.unwrap());
    let end = check_layout(
        &fixed,
        &bytes,
        &[
            ("history id", &m.history.0),
            ("term", &m.term.0.to_le_bytes()),
            ("token", &m.token.0),
            ("kind", &[SegmentKind::Delta as u8]),
            ("1 if a last covered segment", &[1]),
            ("1 if the last commit is *carried* (only in sparse segments)", &[1]),
            ("reserved", &[0; 1]),
            ("page size", &8192u32.to_le_bytes()),
            ("parent's segment id", &parent.id.0),
            ("parent's digest", &parent.digest),
            ("last covered segment's id", &covers.id.0),
            ("last covered segment's digest", &covers.digest),
            ("first seq", &m.first.0.to_le_bytes()),
            ("page versions", &14u64.to_le_bytes()),
            ("number of batches", &15u64.to_le_bytes()),
            ("inline data", &16u64.to_le_bytes()),
            ("number of commits", &1u32.to_le_bytes()),
        ],
    );
    let tail: Vec<&str> = fixed[17..].iter().map(|row| row[2]).collect();
    let begin = ["number of parts", "number of origins", "number of index blocks"];
    assert!(tail.len() == 3 && tail.iter().zip(begin).all(|(row, b)| row.starts_with(b)));
    assert!(fixed[17..].iter().all(|row| row[..2] == [".", "4"]));

    let bytes = &bytes[end..];
    let commit_len = check_layout(
        &commit,
        bytes,
        &[
            ("capture time", &(-4i64).to_le_bytes()),
            ("size of the database", &11u32.to_le_bytes()),
            ("page versions", &12u32.to_le_bytes()),
            ("database digest", &m.commits[0].digest.0),
            ("bytes stored", &13u64.to_le_bytes()),
            ("kind", &[CommitKind::Transaction as u8]),
            ("reserved", &[0; 3]),
            ("less the segment's first seq", &2u32.to_le_bytes()),
        ],
    );
    assert!(flat().contains(&format!("Commit record, {commit_len} bytes")));

    let one = 1u32.to_le_bytes();
    let part = [&one[..], &17u64.to_le_bytes()].concat();
    let origin = [&one[..], &m.origins[0].key.0, &m.origins[0].segment.0].concat();
    let numbers = [18u32, 19, 20, 21, 22].map(u32::to_le_bytes).concat();
    let block = [&numbers[..], &23u64.to_le_bytes(), &24u32.to_le_bytes()].concat();
    let tail = [&part[..], &origin, &one, &block].concat();
    assert_eq!(bytes[commit_len..], tail);
    for sentence in [
        "for each: length of the part object, u64",
        "for each: key id 8, segment id 16",
        "BLAKE3 (32 bytes) of its sealed prefix and sealed manifest",
        "first page number u32, last page number u32, entries u32, batches u32, then a location",
        "A **location** is part u32, offset u64, length u32.",
        &format!("Directory entry, {} bytes", block.len()),
    ] {
        assert!(flat().contains(sentence), "the document lacks: {sentence}");
    }
}

#[test]
fn parts_and_what_data_seals_bind_lie_as_the_document_says() {
    let part = PartHeader { key: KeyId(distinct(1)), segment: SegmentId(distinct(0x11)), part: 7 };
    let bytes = part.encode();
    let table = &tables(section("Parts"))[0];
    let end = check_layout(
        table,
        &bytes,
        &[
            (&*format!("kind {}", ObjectKind::Part.number()), &bytes[..Header::LEN]),
            ("key id", &part.key.0),
            ("segment id", &part.segment.0),
            ("part number", &7u32.to_le_bytes()),
            ("reserved", &[0; 4]),
        ],
    );
    assert_eq!(u64::try_from(end).unwrap(), PART_HEADER_LEN);
    assert_eq!(table.last().unwrap()[0], end.to_string(), "where a part's data begin");

    let ids = (RepositoryId(distinct(1)), HistoryId(distinct(0x21)), SegmentId(distinct(0x41)));
    let bytes = data_binding(DataKind::Index, ids, 0x61, 0x62, 0x63);
    let end = check_layout(
        &tables(section("Data seals"))[0],
        &bytes,
        &[
            ("PGKP", &MAGIC),
            ("format version", &[FORMAT_VERSION]),
            ("index block", &[DataKind::Index as u8]),
            ("zero", &[0; 2]),
            ("repository id", &ids.0.0),
            ("history id", &ids.1.0),
            ("segment id", &ids.2.0),
            ("batch number", &0x61u32.to_le_bytes()),
            ("entries of the index block", &0x62u32.to_le_bytes()),
            ("batches of the index block", &0x63u32.to_le_bytes()),
        ],
    );
    assert_eq!(end, bytes.len());
    assert!(flat().contains(&format!("one component of {end} bytes")));
}

#[test]
fn index_blocks_lie_as_the_document_says() {
    let entry = |page, commit, slot, from| IndexEntry {
        page: PageNo(page),
        commit,
        batch: 0,
        slot,
        digest: Digest(distinct(from)),
    };
    let block = IndexBlock {
        batches: vec![BatchRef {
            at: Location { part: 1, offset: 2, len: 3 },
            number: 4,
            pages: 5,
            origin: 6,
            codec: BatchCodec::Zstd,
        }],
        entries: vec![entry(10, 7, 1, 0x10), entry(300, 8, 2, 0x40)],
    };
    let bytes = block.encode();
    let sizes: BTreeMap<&str, u64> = rows(section("Index blocks"))
        .iter()
        .map(|row| (row[2].split([',', ':', ';']).next().unwrap(), number(row[1])))
        .collect();
    let names = ["location 16", "page number", "commit", "batch", "slot", "page digest"];
    assert_eq!(names.map(|name| sizes[name]), [28, 4, 4, 2, 2, 16]);
    assert_eq!(sizes.len(), names.len());
    let batch = [&1u32.to_le_bytes()[..], &2u64.to_le_bytes(), &3u32.to_le_bytes()].concat();
    let batch = [&batch[..], &4u32.to_le_bytes(), &[5, 0, 6, 0, 1, 0, 0, 0]].concat();
    let columns = [
        [10u32, 290].map(u32::to_le_bytes).concat(),
        [7u32, 8].map(u32::to_le_bytes).concat(),
        [0u16, 0].map(u16::to_le_bytes).concat(),
        [1u16, 2].map(u16::to_le_bytes).concat(),
        [distinct::<16>(0x10), distinct(0x40)].concat(),
    ];
    assert_eq!(bytes, [&batch[..], &columns.concat()].concat());
    let doc = flat();
    assert!(doc.contains(
        "batch number u32; pages u16; origin u16; codec u8 (0 stored, 1 zstd); reserved 3"
    ));
    assert!(doc.contains("28 × batches + 28 × entries bytes"));
    assert_eq!(IndexBlock::plain_len(1, 2), Some(3 * 28));
}

#[test]
fn small_bodies_lie_as_the_document_says() {
    let about = About {
        created: Timestamp(-1),
        digest_key: DigestKey(distinct(1)),
        name: "n".into(),
        source: "s".into(),
        host: "h".into(),
    };
    let claim = WriterClaim {
        term: Term(1),
        since: Timestamp(-2),
        process: 3,
        host: "h".into(),
        role: "r".into(),
    };
    let snapshot = SnapshotRecord {
        seq: Seq(1),
        time: Timestamp(-2),
        kind: SnapshotKind::Safety,
        takes_back: Some(SnapshotId(distinct(4))),
        label: "l".into(),
        digest: None,
        until: None,
    };
    let hold = HoldRecord {
        seq: Seq(1),
        time: Timestamp(-2),
        takes_back: Some(HoldId(distinct(4))),
        reason: "r".into(),
        host: "h".into(),
        digest: None,
    };
    let proof = Proof {
        seq: Seq(1),
        digest: Digest(distinct(2)),
        started: Timestamp(-3),
        micros: 4,
        level: Level::Data,
        failure: Some("f".into()),
        coverage_ppm: 5,
        page_bytes: 6,
        assertions: 7,
        host: "h".into(),
    };
    let signed = |n: i64| n.to_le_bytes().to_vec();
    let long = |n: u64| n.to_le_bytes().to_vec();
    let short = |n: u32| n.to_le_bytes().to_vec();
    let text = |t: &str| [&[1, 0], t.as_bytes()].concat();
    let bytes = |from: u8, n: usize| distinct::<32>(from)[..n].to_vec();
    // What the document says of each body, field by field, and the bytes of an example.
    type Field = (&'static str, Vec<u8>);
    let bodies: [(&str, Vec<u8>, Vec<Field>); 5] = [
        (
            "**about**",
            about.encode(),
            vec![
                ("creation time i64", signed(-1)),
                ("page digest key 32", bytes(1, 32)),
                ("name text", text("n")),
                ("source path text", text("s")),
                ("host text", text("h")),
            ],
        ),
        (
            "**writer**",
            claim.encode(),
            vec![
                ("term u64", long(1)),
                ("since i64", signed(-2)),
                ("process u32", short(3)),
                ("host text", text("h")),
                ("role text", text("r")),
            ],
        ),
        (
            "**snapshot**",
            snapshot.encode(),
            vec![
                ("seq u64", long(1)),
                ("time i64", signed(-2)),
                ("kind u8 (1 manual, 2 scheduled, 3 safety, 4 mark)", vec![3]),
                ("take-back flag u8", vec![1]),
                ("reserved 6", vec![0; 6]),
                ("id taken back 8", bytes(4, 8)),
                ("label text", text("l")),
            ],
        ),
        (
            "**hold**",
            hold.encode(),
            vec![
                ("seq u64", long(1)),
                ("time i64", signed(-2)),
                ("take-back flag u8", vec![1]),
                ("reserved 7", vec![0; 7]),
                ("id taken back 8", bytes(4, 8)),
                ("reason text", text("r")),
                ("host text", text("h")),
            ],
        ),
        (
            "**proof**",
            proof.encode(),
            vec![
                ("seq u64", long(1)),
                ("database digest 16", bytes(2, 16)),
                ("start i64", signed(-3)),
                ("duration in microseconds u64", long(4)),
                ("level u8 (1 chain, 2 data, 3 restore)", vec![2]),
                ("outcome u8 (1 passed, 2 failed)", vec![2]),
                ("reserved 2", vec![0; 2]),
                ("share of the batches opened, in millionths, u32", short(5)),
                ("bytes of pages compared u64", long(6)),
                ("assertions u32", short(7)),
                ("host text", text("h")),
                ("what failed, text, empty if it passed", text("f")),
            ],
        ),
    ];
    let doc = flat();
    for (name, encoded, fields) in bodies {
        let words: Vec<&str> = fields.iter().map(|(words, _)| *words).collect();
        let sentence = format!("{name}: {}.", words.join("; "));
        assert!(doc.contains(&sentence), "the document lacks: {sentence}");
        let expected: Vec<u8> = fields.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(encoded, expected, "{name}");
    }
}

#[test]
fn a_mark_ends_with_its_end_as_the_document_says() {
    let label = SnapshotRecord {
        seq: Seq(1),
        time: Timestamp(-2),
        kind: SnapshotKind::Manual,
        takes_back: None,
        label: "l".into(),
        digest: Some(Digest(distinct(2))),
        until: None,
    };
    let (kind, until) = (SnapshotKind::Mark, Some(Timestamp(-3)));
    let mark = SnapshotRecord { kind, until, ..label.clone() };
    assert_eq!((label.required(), mark.required()), (DIGEST, DIGEST | UNTIL));
    let mut expected = label.encode();
    expected[16] = 4;
    expected.extend((-3i64).to_le_bytes());
    assert_eq!(mark.encode(), expected);
    assert_eq!(SnapshotRecord::decode_as(DIGEST | UNTIL, &expected).as_ref(), Ok(&mark));
    for required in [0, DIGEST, UNTIL] {
        assert!(SnapshotRecord::decode_as(required, &expected).is_err(), "{required}");
    }
    let sentence = "A snapshot of kind *mark* has the required feature *until*, and no other one has it: it ends with the time \
                    when it is over, i64, behind all the rest.";
    assert!(flat().contains(sentence), "the document lacks: {sentence}");
}

#[test]
fn heads_lie_as_the_document_says() {
    let segment = SegmentRef { id: SegmentId([2; 16]), digest: [3; 32] };
    let head = HeadRecord { term: Term(1), segment, written: Term(4), first: Seq(5) };
    let [term, written, first] = [1u64, 4, 5].map(u64::to_le_bytes);
    let expected = [&term[..], &[2; 16], &[3; 32], &written, &first].concat();
    assert_eq!(head.encode(), expected);
    assert_eq!(HeadRecord::decode(&expected).as_ref(), Ok(&head));
    let sentence = "**head**: term u64; segment id 16; segment digest 32; term of the segment u64; first seq of the \
                    segment u64.";
    assert!(flat().contains(sentence), "the document lacks: {sentence}");
}

#[test]
fn expiries_lie_as_the_document_says() {
    let ranges = vec![(Seq(3), Seq(4)), (Seq(6), Seq(6))];
    let mut expiry = Expiry { term: Term(1), time: Timestamp(-2), ranges };
    let numbers = [3u64, 4, 6, 6].map(u64::to_le_bytes).concat();
    let expected = [&1u64.to_le_bytes()[..], &(-2i64).to_le_bytes(), &2u32.to_le_bytes(), &numbers];
    assert_eq!(expiry.encode(), expected.concat());
    let doc = flat();
    for sentence in [
        "**expiry**: term u64; time i64; u32 number of ranges, then for each: first seq u64, last seq u64.",
        "Ranges ascend, and a seq lies between any two.",
    ] {
        assert!(doc.contains(sentence), "the document lacks: {sentence}");
    }
    let mut accepts = |ranges: &[(u64, u64)]| {
        expiry.ranges = ranges.iter().map(|(first, last)| (Seq(*first), Seq(*last))).collect();
        Expiry::decode(&expiry.encode()).as_ref() == Ok(&expiry)
    };
    assert!(accepts(&[]) && accepts(&[(1, 1), (3, u64::MAX)]));
    assert!(!accepts(&[(1, 2), (3, 4)]), "no seq lies between them");
    assert!(!accepts(&[(5, 6), (1, 2)]) && !accepts(&[(2, 1)]) && !accepts(&[(0, 1)]));
    let many: Vec<(u64, u64)> = (1..=4001).map(|n| (n * 2, n * 2)).collect();
    let most = limits::EXPIRY_RANGES;
    assert!(accepts(&many[..most]) && !accepts(&many[..=most]));
}
