//! The objects of the test vectors as the library encodes, seals and digests them.

use std::collections::BTreeMap;

use pagekeep::internals::codec::batch::{Compression, DataSeal, Encoder, SelfCheck};
use pagekeep::internals::codec::digest::PageHasher;
use pagekeep::internals::codec::seal::{DataKind, SealKey, data_binding};
use pagekeep::internals::format::about::{About, DigestKey};
use pagekeep::internals::format::expiry::Expiry;
use pagekeep::internals::format::head::HeadRecord;
use pagekeep::internals::format::header::SPARSE;
use pagekeep::internals::format::hold::HoldRecord;
use pagekeep::internals::format::index::{BatchCodec, BatchRef, IndexBlock, IndexEntry};
use pagekeep::internals::format::names::{self, HistoryNames, LogName};
use pagekeep::internals::format::proof::{Level, Proof};
use pagekeep::internals::format::record::Record;
use pagekeep::internals::format::repository::RepositoryObject;
use pagekeep::internals::format::segment::{
    BlockRef, CommitKind, CommitRecord, Location, Manifest, Origin, PartHeader, SegmentKind,
    SegmentRef,
};
use pagekeep::internals::format::slot::{
    KdfParams, MasterKey, SecretKind, SlotFront, SlotObject, encode_keyring,
};
use pagekeep::internals::format::snapshot::{SnapshotKind, SnapshotRecord};
use pagekeep::internals::format::writer::WriterClaim;
use pagekeep::internals::format::{Header, ObjectKind, SealedPrefix};
use pagekeep::internals::types::{
    Digest, HistoryId, HoldId, KeyId, PageNo, PageSize, RepositoryId, SegmentId, Seq, SlotId,
    SnapshotId, Term, Timestamp, WriterToken,
};

use super::document;
use super::inputs::*;

const NAMES: HistoryNames = HistoryNames(HistoryId(HISTORY));
const MOMENT: Timestamp = Timestamp(TIME);

type Objects = BTreeMap<String, Vec<u8>>;

/// The marks, by name.
pub fn marks() -> Objects {
    let mut objects = Objects::new();
    let mut snapshot = |id: [u8; 8], record: SnapshotRecord| {
        let name = NAMES.snapshot(record.seq, SnapshotId(id));
        put(&mut objects, name, 1, [[0; 8], id].concat().try_into().unwrap(), &record);
    };
    let record = |seq, label: &str| SnapshotRecord {
        seq: Seq(seq),
        time: MOMENT,
        kind: SnapshotKind::Manual,
        takes_back: None,
        label: label.into(),
        digest: None,
        until: None,
    };
    for Mark { id, seq, label, until } in MARKS {
        let digest = Some(database_digest(usize::try_from(seq).unwrap()));
        let (kind, until) = (SnapshotKind::Mark, Some(Timestamp(until)));
        snapshot(id, SnapshotRecord { kind, digest, until, ..record(seq, label) });
    }
    let Label { id, seq, label, takes_back } = MARK_ENDED;
    let takes_back = takes_back.map(SnapshotId);
    snapshot(id, SnapshotRecord { takes_back, ..record(seq, label) });
    objects
}

/// Every object, by name.
pub fn objects() -> Objects {
    let mut objects = Objects::new();
    let repository = RepositoryObject { id: RepositoryId(REPOSITORY), created: MOMENT };
    objects.insert(names::REPOSITORY.to_owned(), repository.encode());
    for input in &SLOTS {
        objects.insert(names::slot(SlotId(input.id)), slot(input).encode());
    }
    let about = About {
        created: MOMENT,
        digest_key: DigestKey(DIGEST_KEY),
        name: "app".into(),
        source: "/srv/app.db".into(),
        host: "example".into(),
    };
    put(&mut objects, NAMES.about(), 0, HISTORY, &about);
    for (term, token) in (1..).zip(TOKENS) {
        let (host, role) = ("example".into(), "backup".into());
        let claim = WriterClaim { term: Term(term), since: MOMENT, process: 4711, host, role };
        put(&mut objects, NAMES.writer(Term(term)), (term != 1).into(), token, &claim);
    }
    let mut made = Vec::new();
    for input in &SEGMENTS {
        let next = segment(&mut objects, input, &made);
        made.push(next);
    }
    for Label { id, seq, label, takes_back } in LABELS {
        let record = SnapshotRecord {
            seq: Seq(seq),
            time: MOMENT,
            kind: SnapshotKind::Manual,
            takes_back: takes_back.map(SnapshotId),
            label: label.into(),
            digest: None,
            until: None,
        };
        let name = NAMES.snapshot(Seq(seq), SnapshotId(id));
        put(&mut objects, name, 1, [[0; 8], id].concat().try_into().unwrap(), &record);
    }
    let proof = Proof {
        seq: Seq(3),
        digest: database_digest(3),
        started: MOMENT,
        micros: 1500,
        level: Level::Data,
        failure: None,
        coverage_ppm: 1_000_000,
        page_bytes: 1536,
        assertions: 0,
        host: "example".into(),
    };
    let name = NAMES.proof(Seq(3), MOMENT, WriterToken(PROOF));
    put(&mut objects, name, 1, PROOF, &proof);
    for Hold { id, seq, reason, takes_back } in HOLDS {
        let record = HoldRecord {
            seq: Seq(seq),
            time: MOMENT,
            takes_back: takes_back.map(HoldId),
            reason: reason.into(),
            host: "example".into(),
            digest: None,
        };
        let name = NAMES.hold(Seq(seq), HoldId(id));
        put(&mut objects, name, 1, [[0; 8], id].concat().try_into().unwrap(), &record);
    }
    let ranges = EXPIRED.map(|(first, last)| (Seq(first), Seq(last))).to_vec();
    let expiry = Expiry { term: Term(2), time: MOMENT, ranges };
    put(&mut objects, NAMES.expiry(Term(2), WriterToken(EXPIRY)), 1, EXPIRY, &expiry);
    let announced = Expiry { ranges: vec![(Seq(7), Seq(7))], ..expiry };
    let name = NAMES.announcement(Term(2), WriterToken(ANNOUNCED));
    put(&mut objects, name, 1, ANNOUNCED, &announced);
    let head = HeadRecord {
        term: Term(2),
        segment: made[1].reference,
        written: Term(SEGMENTS[1].term),
        first: Seq(SEGMENTS[1].commits[0].0),
    };
    put(&mut objects, NAMES.head(Term(2), WriterToken(HEAD)), 1, HEAD, &head);
    objects
}

fn master(index: usize) -> MasterKey {
    let Master { id, key } = MASTERS[index];
    MasterKey { id: KeyId(id), created: MOMENT, secret: key }
}

fn slot(input: &Slot) -> SlotObject {
    let [memory_kib, passes, lanes] = input.costs;
    let kinds = [SecretKind::Passphrase, SecretKind::KeyFile, SecretKind::Recovery];
    let front = SlotFront {
        id: SlotId(input.id),
        repository: RepositoryId(REPOSITORY),
        secret: kinds[usize::from(input.kind) - 1],
        created: MOMENT,
        kdf: (input.kind == 1).then_some(KdfParams { memory_kib, passes, lanes }),
        salt: input.salt,
        label: input.label.into(),
        optional: 0,
    };
    // That the library stretches a passphrase in the same way shows when it opens the slot.
    let (key, commitment) = SealKey::for_slot(&document::secret(input.kind), &front);
    let keyring = encode_keyring(&[master(0), master(1)]);
    let bound = SlotObject::associated_data(&front, &commitment, keyring.len() + 16);
    let sealed = key.seal(&[&bound], &keyring).unwrap();
    SlotObject { front, commitment, sealed }
}

fn put<R: Record>(objects: &mut Objects, name: String, key: usize, id: [u8; 16], record: &R) {
    let header = Header { required: record.required(), ..Header::new(R::KIND) };
    let bytes = sealed_object(header, &name, key, id, &record.encode());
    objects.insert(name, bytes);
}

fn sealed_object(header: Header, name: &str, key: usize, object: [u8; 16], body: &[u8]) -> Vec<u8> {
    let key = master(key);
    let body_len = u32::try_from(body.len() + SealedPrefix::TAG_LEN).unwrap();
    let prefix = SealedPrefix { header, key: key.id, object, body_len }.encode();
    let seal = SealKey::for_object(&key, RepositoryId(REPOSITORY), header.kind, &object);
    let sealed = seal.seal(&[&prefix, &REPOSITORY, name.as_bytes()], body).unwrap();
    [prefix, sealed].concat()
}

pub fn page_digest(number: u32, seq: u64) -> Digest {
    PageHasher::new(DigestKey(DIGEST_KEY)).digest(PageNo(number), &page(number, seq))
}

pub fn database_digest(seq: usize) -> Digest {
    let mut sum = Digest::default();
    for (number, seq) in DATABASES[seq - 1] {
        sum.toggle(&page_digest(*number, *seq));
    }
    sum
}

/// What later segments need of one.
struct Made {
    reference: SegmentRef,
    batches: Vec<(BatchRef, Vec<u8>)>,
}

fn segment(objects: &mut Objects, input: &Segment, made: &[Made]) -> Made {
    let id = SegmentId(input.id);
    let ids = (RepositoryId(REPOSITORY), HistoryId(HISTORY), id);
    let key = SealKey::for_data(&master(input.master), ids.0, ids.1, id);
    let seal = DataSeal { key, ids };
    let mut data = Vec::new();
    if input.parts {
        data = PartHeader { key: master(input.master).id, segment: id, part: 0 }.encode();
    }
    let mut append = |bytes: &[u8]| {
        let offset = u64::try_from(data.len()).unwrap();
        data.extend_from_slice(bytes);
        Location { part: 0, offset, len: u32::try_from(bytes.len()).unwrap() }
    };

    let mut batches: Vec<(BatchRef, Vec<u8>)> =
        input.batches.iter().map(|b| batch(&seal, b)).collect();
    for (origin, from) in (1..).zip(input.origins) {
        let copies = made[*from].batches.iter().cloned();
        batches.extend(copies.map(|(batch, bytes)| (BatchRef { origin, ..batch }, bytes)));
    }
    for (batch, bytes) in &mut batches {
        batch.at = append(bytes);
    }
    let block = IndexBlock {
        batches: batches.iter().map(|(batch, _)| *batch).collect(),
        entries: input
            .versions
            .iter()
            .map(|v| IndexEntry {
                page: PageNo(v.page),
                commit: v.commit,
                batch: v.batch,
                slot: v.slot,
                digest: page_digest(v.page, v.seq),
            })
            .collect(),
    };
    let entries = u32::try_from(block.entries.len()).unwrap();
    let batch_count = u32::try_from(batches.len()).unwrap();
    let bound = data_binding(DataKind::Index, ids, 0, entries, batch_count);
    let at = append(&seal.key.seal(&[&bound], &raw_frame(&block.encode())).unwrap());
    let (first_page, last_page) = (input.versions[0].page, input.versions.last().unwrap().page);
    let blocks = vec![BlockRef { first_page, last_page, entries, batches: batch_count, at }];

    let manifest = manifest(input, made, &data, blocks);
    assert_eq!(manifest.is_sparse(), input.carries);
    let required = if manifest.is_sparse() { SPARSE } else { 0 };
    let header = Header { required, ..Header::new(ObjectKind::Segment) };
    let body = manifest.encode();
    let (first, last) = (Seq(input.commits[0].0), Seq(input.commits.last().unwrap().0));
    let name = match input.covers {
        Some(_) => NAMES.merged_segment(first, last, id),
        None => NAMES.segment(LogName { term: Term(input.term), first }),
    };
    let mut bytes = sealed_object(header, &name, input.master, input.id, &body);
    let reference = SegmentRef { id, digest: *blake3::hash(&bytes).as_bytes() };
    if input.parts {
        objects.insert(NAMES.part(id, 0), data);
    } else {
        bytes.extend(data);
    }
    objects.insert(name, bytes);
    Made { reference, batches }
}

/// A sealed batch; its place is known later.
fn batch(seal: &DataSeal, input: &Batch) -> (BatchRef, Vec<u8>) {
    let content = document::database(input.pages);
    let pages = u16::try_from(input.pages.len()).unwrap();
    let (codec, bytes) = if input.codec == 0 {
        let mut encoder = Encoder::new(Compression::Off, SelfCheck::Every).unwrap();
        let batch = encoder.encode(seal, input.number, pages, &content).unwrap();
        (batch.codec, batch.bytes)
    } else {
        let bound = data_binding(DataKind::Batch, seal.ids, input.number, pages.into(), 1);
        (BatchCodec::Zstd, seal.key.seal(&[&bound], &raw_frame(&content)).unwrap())
    };
    let at = Location { part: 0, offset: 0, len: 0 };
    (BatchRef { at, number: input.number, pages, origin: 0, codec }, bytes)
}

fn manifest(input: &Segment, made: &[Made], data: &[u8], blocks: Vec<BlockRef>) -> Manifest {
    let kinds = [CommitKind::Scan, CommitKind::Wal, CommitKind::Transaction];
    let commits = (0..).zip(input.commits).map(|(index, (seq, pages, kind))| CommitRecord {
        seq: Seq(*seq),
        time: MOMENT,
        pages: *pages,
        changed: input.versions.iter().map(|v| u32::from(v.commit == index)).sum(),
        digest: database_digest(usize::try_from(*seq).unwrap()),
        stored: 1000 + seq,
        kind: kinds[usize::from(*kind) - 1],
    });
    let data_len = u64::try_from(data.len()).unwrap();
    let origin = |from: &usize| Origin {
        key: master(SEGMENTS[*from].master).id,
        segment: SegmentId(SEGMENTS[*from].id),
    };
    Manifest {
        history: HistoryId(HISTORY),
        term: Term(input.term),
        token: WriterToken(TOKENS[usize::try_from(input.term).unwrap() - 1]),
        kind: if input.base { SegmentKind::Base } else { SegmentKind::Delta },
        page_size: PageSize::new(PAGE_SIZE).unwrap(),
        parent: input.parent.map(|parent| made[parent].reference),
        covers: input.covers.map(|covered| made[covered].reference),
        carries: input.carries,
        first: Seq(input.commits[0].0),
        versions: u64::try_from(input.versions.len()).unwrap(),
        batches: u64::from(blocks[0].batches),
        inline_len: if input.parts { 0 } else { data_len },
        commits: commits.collect(),
        parts: if input.parts { vec![data_len] } else { vec![] },
        origins: input.origins.iter().map(origin).collect(),
        blocks,
    }
}
