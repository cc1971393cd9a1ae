//! Restoring through a merged segment.

use super::*;
use crate::codec::batch::Decoder;
use crate::codec::batch::encode_index;
use crate::format::ObjectKind;
use crate::format::segment::{BlockRef, Location, Manifest, Origin};
use crate::format::slot::KdfParams;
use crate::ops::backup::BackupOptions;
use crate::ops::point::RestorePoint;
use crate::ops::verify::VerifyOptions;
use crate::progress::Silent;
use crate::repo::keys::secret::Secret;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::{MemoryStore, Store};
use std::fs;
use std::sync::Arc;

/// Puts a merged segment in the place of the history's base: the same sealed batches under another
/// segment, as a merge copies them.
fn replace_base(history: &History, store: &MemoryStore) {
    let chain = history.chain().unwrap();
    let base = &chain.segments()[0];
    let id = SegmentId([0x77; 16]);
    let repository = history.repository();
    let block_ref = base.manifest.blocks[0];
    let mut block = base.block(0, &block_ref, &mut Decoder::new().unwrap()).unwrap();
    let mut inline = Vec::new();
    for batch in &mut block.batches {
        let sealed = base.fetch(batch.at).unwrap();
        batch.at.offset = u64::try_from(inline.len()).unwrap();
        batch.origin = 1;
        inline.extend(sealed);
    }
    let mut seal = base.seal(0).unwrap();
    let origin = Origin { key: repository.newest_key().unwrap().id, segment: seal.ids.2 };
    seal.ids.2 = id;
    seal.key = crate::codec::seal::SealKey::for_data(
        &repository.newest_key().unwrap(),
        seal.ids.0,
        seal.ids.1,
        id,
    );
    let index = encode_index(&seal, 0, &block).unwrap();
    let at = Location {
        part: 0,
        offset: u64::try_from(inline.len()).unwrap(),
        len: u32::try_from(index.len()).unwrap(),
    };
    inline.extend(index);
    let manifest = Manifest {
        covers: Some(base.reference),
        origins: vec![origin],
        inline_len: u64::try_from(inline.len()).unwrap(),
        blocks: vec![BlockRef { at, ..block_ref }],
        ..base.manifest.clone()
    };
    let name = history.names().merged_segment(base.manifest.first, base.manifest.last(), id);
    let mut bytes = repository
        .seal_object(
            &name,
            (ObjectKind::Segment, 0),
            id.0,
            &manifest.encode(),
            &repository.newest_key().unwrap(),
        )
        .unwrap();
    bytes.extend(inline);
    store.create(&name, &bytes).unwrap();
    store.delete(base.name()).unwrap();
}

#[test]
fn a_merged_segment_stands_in_for_what_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let shared = Arc::new(store.clone());
    let repository = Repository::init(
        shared,
        &[(&secret, "")],
        kdf,
        &RepositoryOptions::new(dir.path().join("state")).threads(1),
    )
    .unwrap();
    let path = dir.path().join("a.db");
    let app = rusqlite::Connection::open(&path).unwrap();
    let mut expected = Vec::new();
    for sql in ["CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(9000))", "DELETE FROM t"] {
        app.execute_batch(sql).unwrap();
        repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
        expected.push(fs::read(&path).unwrap());
    }
    let history = repository.history("a").unwrap();
    replace_base(&history, &store);
    let chain = history.chain().unwrap();
    assert!(chain.segments()[0].manifest.covers.is_some());
    for (commit, expected) in chain.commits().zip(expected) {
        let target = dir.path().join(format!("{}.db", commit.seq));
        RestorePoint::of(&history, &chain, &commit)
            .restore(&target, &RestoreOptions::default(), &Silent)
            .unwrap();
        assert!(fs::read(&target).unwrap() == expected, "commit {}", commit.seq);
    }
    let level = crate::format::proof::Level::Data;
    let options = VerifyOptions::new(level, dir.path());
    let report = history.verify(None, &options, &Silent).unwrap();
    assert_eq!(report.findings, vec![]);
}
