//! The bodies of the fuzz targets, one for each decoder of bytes that somebody else may have written.
//!
//! They stand here once: the programs in `fuzz/fuzz_targets/` feed them with what libFuzzer finds, and
//! `tests/format/corpus.rs` replays the committed seeds on the stable toolchain. They don't stand in
//! `fuzz/`, which the published package leaves out. What holds in all of them:
//! - No input makes a decoder panic, and an error's offset lies within the input.
//! - What is accepted encodes to the bytes that were read. The one exception are optional feature flags,
//!   which a reader ignores and so does not write again.
//! - What stands behind a checksum or a seal is reached too: a target mends the checksum, or seals the
//!   input itself, since chance never would.
//!
//! A target answers whether it accepted the input as it is. Seeds are meant to be accepted, and so cannot
//! grow stale unnoticed.

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, TimeZone, Utc};
use pagekeep::internals::codec::CodecError;
use pagekeep::internals::codec::batch::{
    Compression, DataSeal, Decoder, Encoder, SelfCheck, encode_index,
};
use pagekeep::internals::codec::seal::{DataKind, SealKey, data_binding};
use pagekeep::internals::format::about::About;
use pagekeep::internals::format::expiry::Expiry;
use pagekeep::internals::format::header::{DIGEST, UNTIL};
use pagekeep::internals::format::hold::HoldRecord;
use pagekeep::internals::format::index::{BatchCodec, IndexBlock};
use pagekeep::internals::format::names::{self, HistoryNames, LogName};
use pagekeep::internals::format::proof::Proof;
use pagekeep::internals::format::record::Record;
use pagekeep::internals::format::repository::{CHECKSUM_LEN, RepositoryObject};
use pagekeep::internals::format::segment::{Manifest, PartHeader};
use pagekeep::internals::format::slot::{MasterKey, SlotObject, decode_keyring, encode_keyring};
use pagekeep::internals::format::snapshot::SnapshotRecord;
use pagekeep::internals::format::writer::WriterClaim;
use pagekeep::internals::format::{DecodeError, ObjectKind, SealedPrefix, limits};
use pagekeep::internals::policy::selector::{Selector, parse_span, split_target};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::types::{HistoryId, KeyId, RepositoryId, SegmentId, Seq, Timestamp};
use zeroize::Zeroizing;

/// Feeds one input to a decoder, and answers whether it was accepted as it is.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is also that of its program and of its folder of seeds.
pub const ALL: [(&str, Target); 19] = [
    ("repository", repository),
    ("slot", slot),
    ("keyring", keyring),
    ("about", about),
    ("writer", writer),
    ("snapshot", snapshot),
    ("proof", proof),
    ("hold", hold),
    ("expiry", expiry),
    ("manifest", manifest),
    ("part_header", part_header),
    ("sealed_prefix", sealed_prefix),
    ("index_block", index_block),
    ("index_frame", index_frame),
    ("batch_sealed", batch_sealed),
    ("batch_frame", batch_frame),
    ("names", object_names),
    ("recovery_key", recovery_key),
    ("selector", selector),
];

/// The repository object.
pub fn repository(data: &[u8]) -> bool {
    let one = |bytes: &[u8]| {
        let Some(object) = within(RepositoryObject::decode(bytes), bytes) else { return false };
        let again = object.encode();
        // Whatever follows belongs to nothing.
        assert!(bytes.starts_with(&again) || has_optional_flags(bytes));
        assert_eq!(RepositoryObject::decode(&again), Ok(object));
        true
    };
    one(&with_mended_checksum(data));
    one(data)
}

/// A key slot. What its sealed keyring holds is [`keyring`]'s.
pub fn slot(data: &[u8]) -> bool {
    let one = |bytes: &[u8]| {
        let Some(slot) = within(SlotObject::decode(bytes), bytes) else { return false };
        assert!(slot.front.kdf.is_none_or(|cost| cost.is_acceptable()));
        let again = slot.encode();
        // Whatever follows belongs to nothing.
        assert!(bytes.starts_with(&again) || has_optional_flags(bytes));
        let bound = SlotObject::associated_data(&slot.front, &slot.commitment, slot.sealed.len());
        assert!(again.starts_with(&bound));
        assert_eq!(SlotObject::decode(&again), Ok(slot));
        true
    };
    one(&with_mended_checksum(data));
    one(data)
}

/// An opened keyring.
pub fn keyring(data: &[u8]) -> bool {
    let Some(keys) = within(decode_keyring(data), data) else { return false };
    assert!(!keys.is_empty());
    assert_eq!(encode_keyring(&keys)[..], *data);
    true
}

/// The opened description of a history.
pub fn about(data: &[u8]) -> bool {
    record::<About>(data)
}

/// The opened claim of a term.
pub fn writer(data: &[u8]) -> bool {
    record::<WriterClaim>(data)
}

/// An opened snapshot record.
pub fn snapshot(data: &[u8]) -> bool {
    // With each of its features, which say what follows the label.
    let read = |required| {
        let decoded = SnapshotRecord::decode_as(required, data);
        let Some(record) = within(decoded, data) else { return false };
        assert_eq!((record.required(), &*record.encode()), (required, data));
        true
    };
    [0, DIGEST, UNTIL, DIGEST | UNTIL].map(read).contains(&true)
}

/// An opened proof.
pub fn proof(data: &[u8]) -> bool {
    record::<Proof>(data)
}

/// An opened hold.
pub fn hold(data: &[u8]) -> bool {
    record::<HoldRecord>(data)
}

/// An opened expiry.
pub fn expiry(data: &[u8]) -> bool {
    if let Ok(expiry) = Expiry::decode(data) {
        assert!(expiry.ranges.len() <= limits::EXPIRY_RANGES);
        assert!(expiry.ranges.iter().all(|(first, last)| first.0 > 0 && first <= last));
        let apart = |pair: &[(Seq, Seq)]| match pair {
            [(_, end), (begin, _)] => end.0 + 1 < begin.0,
            _ => true,
        };
        assert!(expiry.ranges.windows(2).all(apart));
    }
    record::<Expiry>(data)
}

fn record<R: Record>(data: &[u8]) -> bool {
    let Some(record) = within(R::decode(data), data) else { return false };
    assert_eq!(record.encode(), data);
    true
}

/// An opened manifest.
pub fn manifest(data: &[u8]) -> bool {
    let Some(manifest) = within(Manifest::decode(data), data) else { return false };
    assert_eq!(manifest.encode(), data);
    assert!(manifest.blocks.iter().all(|block| manifest.contains(block.at)));
    assert!(manifest.commits.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert!(manifest.first <= manifest.commits[0].seq);
    // All but a carried one are found by their seqs.
    let (states, last) = (manifest.states(), manifest.last());
    assert!(states.iter().all(|c| manifest.commit(c.seq) == Some(c)));
    assert_eq!(states.len() + usize::from(manifest.carries), manifest.commits.len());
    assert_eq!(manifest.commit(last).is_some(), !manifest.carries);
    assert!(!manifest.carries || manifest.is_sparse());
    true
}

/// The plain bytes in front of a part's data.
pub fn part_header(data: &[u8]) -> bool {
    let Some(header) = within(PartHeader::decode(data), data) else { return false };
    let again = header.encode();
    assert!(again == data || has_optional_flags(data));
    assert_eq!(PartHeader::decode(&again), Ok(header));
    true
}

/// The plain bytes in front of a sealed body, read as every kind of object in turn.
pub fn sealed_prefix(data: &[u8]) -> bool {
    let mut accepted = 0;
    for kind in ObjectKind::ALL {
        for limit in [limits::RECORD_BODY, limits::MANIFEST_BODY] {
            let Some(prefix) = within(SealedPrefix::decode(data, kind, limit), data) else {
                continue;
            };
            let len = usize::try_from(prefix.body_len).unwrap();
            assert!((SealedPrefix::TAG_LEN..=limit).contains(&len));
            assert_eq!(prefix.header.kind, kind);
            assert!(data.starts_with(&prefix.encode()));
            accepted |= 1u32 << kind.number();
        }
    }
    assert!(accepted.count_ones() <= 1, "one object is of two kinds");
    accepted != 0
}

/// A decompressed index block. The input begins with the counts that a directory entry would tell: batches,
/// entries and commits, two bytes each.
pub fn index_block(data: &[u8]) -> bool {
    let Some((counts, body)) = data.split_first_chunk() else { return false };
    let [batches, entries, commits] = u16s::<6, 3>(counts);
    let one = |bytes: &[u8]| {
        let decoded =
            IndexBlock::decode(bytes, batches, entries, usize::try_from(commits).unwrap());
        let Some(block) = within(decoded, bytes) else { return false };
        assert_eq!(block.encode(), bytes);
        let ordered = |pair: &[_]| match pair {
            [a, b] => sort_key(a) < sort_key(b),
            _ => true,
        };
        assert!(block.entries.windows(2).all(ordered));
        assert!(block.entries.iter().all(|e| {
            let batch = block.batches.get(usize::from(e.batch));
            e.commit < commits && batch.is_some_and(|b| e.slot < b.pages)
        }));
        true
    };
    // With the length that the counts ask for, so that a changed count is not the end of it.
    if let Some(len) = IndexBlock::plain_len(batches, entries).filter(|len| *len <= 64 * 1024) {
        let mut fitted = body.to_vec();
        fitted.resize(len, 0);
        one(&fitted);
    }
    one(body)
}

fn sort_key(entry: &pagekeep::internals::format::index::IndexEntry) -> (u32, u32) {
    (entry.page.0, entry.commit)
}

/// What stands in the seal of an index block: the input is the number of batches and of entries, two bytes
/// each, and then the frame.
pub fn index_frame(data: &[u8]) -> bool {
    let Some((counts, frame)) = data.split_first_chunk() else { return false };
    let [batches, entries] = u16s::<4, 2>(counts);
    let seal = data_seal();
    let open = |sealed: &mut [u8]| {
        let mut decoder = Decoder::new().unwrap();
        decoder.decode_index(&seal, NUMBER, entries, batches, sealed).map(<[u8]>::to_vec)
    };
    let bound = data_binding(DataKind::Index, seal.ids, NUMBER, entries, batches);
    let Ok(plain) = open(&mut seal.key.seal(&[&bound], frame).unwrap()) else { return false };
    assert_eq!(Some(plain.len()), IndexBlock::plain_len(batches, entries));
    let decoded = IndexBlock::decode(&plain, batches, entries, usize::MAX);
    let Some(block) = within(decoded, &plain) else { return false };
    let mut again = encode_index(&seal, NUMBER, &block).unwrap();
    assert_eq!(open(&mut again), Ok(plain));
    true
}

/// A sealed batch as a store may give it back. The input begins with what an index block tells: codec one
/// byte, pages two, plain length four.
pub fn batch_sealed(data: &[u8]) -> bool {
    let Some((&[codec, p0, p1, l0, l1, l2, l3], sealed)) = data.split_first_chunk() else {
        return false;
    };
    let codec = if codec & 1 == 0 { BatchCodec::Stored } else { BatchCodec::Zstd };
    let pages = u16::from_le_bytes([p0, p1]);
    let plain_len = bounded_len([l0, l1, l2, l3]);
    let opened = open_batch(codec, pages, sealed, plain_len);
    let Ok(plain) = opened else { return false };
    if codec == BatchCodec::Stored {
        // The cipher is deterministic: only one seal opens to these pages.
        let seal = data_seal();
        let bound = data_binding(DataKind::Batch, seal.ids, NUMBER, pages.into(), codec as u32);
        assert_eq!(seal.key.seal(&[&bound], &plain).unwrap(), sealed);
    }
    comes_back(pages, &plain);
    true
}

/// What stands in the seal of a batch: the input is pages two bytes, plain length four, and then the frame.
pub fn batch_frame(data: &[u8]) -> bool {
    let Some((&[p0, p1, l0, l1, l2, l3], frame)) = data.split_first_chunk() else { return false };
    let pages = u16::from_le_bytes([p0, p1]);
    let plain_len = bounded_len([l0, l1, l2, l3]);
    let seal = data_seal();
    let sealed_as = |codec: BatchCodec| {
        let bound = data_binding(DataKind::Batch, seal.ids, NUMBER, pages.into(), codec as u32);
        seal.key.seal(&[&bound], frame).unwrap()
    };
    let stored = open_batch(BatchCodec::Stored, pages, &sealed_as(BatchCodec::Stored), plain_len);
    assert_eq!(stored.is_ok(), frame.len() == plain_len);
    let opened = open_batch(BatchCodec::Zstd, pages, &sealed_as(BatchCodec::Zstd), plain_len);
    let Ok(plain) = opened else {
        assert_eq!(opened, Err(CodecError::Compression), "the seal is sound");
        return false;
    };
    comes_back(pages, &plain);
    true
}

fn open_batch(
    codec: BatchCodec,
    pages: u16,
    sealed: &[u8],
    plain_len: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut decoder = Decoder::new().unwrap();
    let mut sealed = sealed.to_vec();
    let plain = decoder.decode(&data_seal(), NUMBER, pages, codec, &mut sealed, plain_len)?;
    assert_eq!(plain.len(), plain_len);
    Ok(plain.to_vec())
}

fn comes_back(pages: u16, plain: &[u8]) {
    let mut encoder = Encoder::new(Compression::Fast, SelfCheck::Every).unwrap();
    let batch = encoder.encode(&data_seal(), NUMBER, pages, plain).unwrap();
    assert_eq!(open_batch(batch.codec, pages, &batch.bytes, plain.len()), Ok(plain.to_vec()));
}

/// Names below a repository: whole ones, and what follows each of the prefixes.
pub fn object_names(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let of = HistoryNames(HistoryId([0xab; 16]));
    let mut accepted = false;
    let mut check = |name: &str, again: Option<String>| {
        if let Some(again) = again {
            assert_eq!(again, name);
            accepted = true;
        }
    };
    let prefixes = [
        "".to_owned(),
        names::KEYS.to_owned(),
        names::HISTORIES.to_owned(),
        of.writers(),
        of.signs(),
        of.log(),
        of.merged(),
        of.data(),
        of.snapshots(),
        of.holds(),
        of.expiries(),
        of.proofs(),
    ];
    for name in prefixes.map(|prefix| prefix + text) {
        check(&name, names::parse_slot(&name).map(names::slot));
        let history = names::parse_history(&name);
        check(&name, history.map(|id| format!("{}{id}", names::HISTORIES)));
        check(&name, of.parse_writer(&name).map(|term| of.writer(term)));
        check(&name, of.parse_sign(&name).map(|(term, number)| of.sign(term, number)));
        let log = of.parse_segment(&name);
        check(&name, log.map(|LogName { term, first }| of.segment(LogName { term, first })));
        let merged = of.parse_merged(&name);
        check(&name, merged.map(|(first, last, id)| of.merged_segment(first, last, id)));
        check(&name, of.parse_part(&name).map(|(segment, part)| of.part(segment, part)));
        check(&name, of.parse_snapshot(&name).map(|(seq, id)| of.snapshot(seq, id)));
        check(&name, of.parse_hold(&name).map(|(seq, id)| of.hold(seq, id)));
        // Of an expiry only the term is told, so the token is taken from the name.
        if let Some(term) = of.parse_expiry(&name) {
            let token = name.strip_prefix(&format!("{}{:016x}-", of.expiries(), term.0)).unwrap();
            assert!(token.len() == 8 && is_hex(token), "{name}");
            check(&name, Some(name.clone()));
        }
        // Of a proof only the seq is told, so time and token are taken from the name.
        if let Some(seq) = of.parse_proof(&name) {
            let tail = name.strip_prefix(&format!("{}{:016x}-", of.proofs(), seq.0)).unwrap();
            let (time, token) = tail.split_once('-').unwrap();
            assert!(time.len() == 16 && is_hex(time), "{name}");
            assert!(token.len() == 8 && is_hex(token), "{name}");
            check(&name, Some(name.clone()));
        }
    }
    accepted
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A recovery key as somebody typed it.
pub fn recovery_key(data: &[u8]) -> bool {
    // Any 32 bytes are a key: print it, and type it in with what may vary.
    if let Some(key) = data.first_chunk::<32>() {
        let printed = Secret::Recovery(Zeroizing::new(*key)).print_recovery().unwrap();
        let typed = printed.to_lowercase().replace('-', " \t").replace('0', "o");
        assert_eq!(recovery_bits(&printed), Some(*key));
        assert_eq!(recovery_bits(&typed.replace('1', "i")), Some(*key));
    }
    let text = String::from_utf8_lossy(data);
    let Some(key) = recovery_bits(&text) else { return false };
    let printed = Secret::Recovery(Zeroizing::new(key)).print_recovery().unwrap();
    let symbols: String = text
        .chars()
        .filter(|c| *c != '-' && !c.is_whitespace())
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .collect();
    assert_eq!(printed.replace('-', ""), symbols);
    true
}

fn recovery_bits(text: &str) -> Option<[u8; 32]> {
    match Secret::parse_recovery(text).ok()? {
        Secret::Recovery(key) => Some(*key),
        other => panic!("a recovery key was read as {other:?}"),
    }
}

/// A commit as somebody names it. The first byte chooses the present time and the time zone.
pub fn selector(data: &[u8]) -> bool {
    let Some((&choice, text)) = data.split_first() else { return false };
    let text = String::from_utf8_lossy(text);
    let nows = ["2026-05-03T08:30:00Z", "2026-03-29T01:30:00Z", "2026-10-25T00:30:00Z"];
    let now = nows[usize::from(choice % 3)].parse::<DateTime<Utc>>().unwrap();
    match choice / 3 % 3 {
        0 => select(&text, &now.with_timezone(&Shifting)),
        1 => select(&text, &now.with_timezone(&FixedOffset::east_opt(14 * 3600).unwrap())),
        _ => select(&text, &now.with_timezone(&FixedOffset::west_opt(12 * 3600).unwrap())),
    }
}

fn select<Z: TimeZone>(text: &str, now: &DateTime<Z>) -> bool {
    let (name, when) = split_target(text);
    match text.contains('@') {
        true => assert_eq!(format!("{name}@{when}"), text),
        false => assert_eq!((name, when), (text, "latest")),
    }
    let _ = parse_span(text);
    let Ok(selector) = Selector::parse(text, now) else { return false };
    let reads_as = |text: String| {
        assert_eq!(Selector::parse(&text, now).ok().as_ref(), Some(&selector), "{text:?}");
    };
    reads_as(format!(" {text}\n"));
    match &selector {
        Selector::Latest(n) => reads_as(format!("latest~{n}")),
        Selector::Seq(seq) => {
            assert!(seq.0 > 0);
            reads_as(format!("seq:{seq}"));
        }
        Selector::Label(label) => reads_as(format!("label:{label}")),
        Selector::Moment(moment) => {
            let (text, time) = (moment.time.to_string(), moment.time);
            match Selector::parse(&text, now) {
                Ok(Selector::Moment(again)) => assert_eq!(again.time, time, "{text:?}"),
                _ => assert!(time.to_utc().is_none(), "{text:?}"),
            }
        }
    }
    true
}

/// A time zone whose clocks are set forward and back once, as those of central Europe in 2026.
#[derive(Clone, Copy, Debug)]
struct Shifting;

impl Shifting {
    fn at_hour(month: u32, day: u32, hour: u32) -> NaiveDateTime {
        let date = NaiveDate::from_ymd_opt(2026, month, day).unwrap();
        date.and_hms_opt(hour, 0, 0).unwrap()
    }

    fn hours_east(hours: i32) -> FixedOffset {
        FixedOffset::east_opt(hours * 3600).unwrap()
    }
}

impl TimeZone for Shifting {
    type Offset = FixedOffset;

    fn from_offset(_: &FixedOffset) -> Self {
        Self
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<FixedOffset> {
        self.offset_from_local_datetime(&local.and_hms_opt(0, 0, 0).unwrap())
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
        let fits = |offset: &FixedOffset| {
            let utc = local.checked_sub_offset(*offset);
            utc.is_some_and(|utc| self.offset_from_utc_datetime(&utc) == *offset)
        };
        let summer = Some(Self::hours_east(2)).filter(fits);
        let winter = Some(Self::hours_east(1)).filter(fits);
        match (summer, winter) {
            (Some(first), Some(second)) => MappedLocalTime::Ambiguous(first, second),
            (Some(only), None) | (None, Some(only)) => MappedLocalTime::Single(only),
            (None, None) => MappedLocalTime::None,
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> FixedOffset {
        self.offset_from_utc_datetime(&utc.and_hms_opt(0, 0, 0).unwrap())
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> FixedOffset {
        let summer = Self::at_hour(3, 29, 1)..Self::at_hour(10, 25, 1);
        Self::hours_east(if summer.contains(utc) { 2 } else { 1 })
    }
}

/// The number of the batch or index block that sealed inputs pretend to be.
pub const NUMBER: u32 = 5;

/// The seal of the batches and index blocks among the seeds.
pub fn data_seal() -> DataSeal {
    let master = MasterKey { id: KeyId([1; 8]), created: Timestamp(0), secret: [2; 32] };
    let ids = (RepositoryId([1; 16]), HistoryId([2; 16]), SegmentId([3; 16]));
    DataSeal { key: SealKey::for_data(&master, ids.0, ids.1, ids.2), ids }
}

/// What was decoded, having made sure that an error points into the input.
fn within<T>(decoded: Result<T, DecodeError>, bytes: &[u8]) -> Option<T> {
    decoded.inspect_err(|e| assert!(e.offset <= bytes.len(), "{e} of {}", bytes.len())).ok()
}

/// Whether the header has optional feature flags, which a reader ignores.
fn has_optional_flags(bytes: &[u8]) -> bool {
    bytes.get(8..12) != Some(&[0; 4])
}

/// The input with the checksum of a plain object at its end.
fn with_mended_checksum(data: &[u8]) -> Vec<u8> {
    let body = &data[..data.len().saturating_sub(CHECKSUM_LEN)];
    [body, &blake3::hash(body).as_bytes()[..CHECKSUM_LEN]].concat()
}

fn u16s<const BYTES: usize, const N: usize>(bytes: &[u8; BYTES]) -> [u32; N] {
    std::array::from_fn(|i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).into())
}

/// A plain length within the limit of a batch.
fn bounded_len(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap() % (limits::BATCH_PLAIN + 1)
}
