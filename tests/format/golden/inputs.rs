//! What the test vectors are made of: fixed ids, keys, times and pages. Bytes count upwards, so that a field in the wrong
//! place or order shows.

/// `N` bytes from `first` upwards.
#[allow(clippy::cast_possible_truncation)]
pub const fn run<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = first.wrapping_add(i as u8);
        i += 1;
    }
    bytes
}

/// Microseconds since 1970 of the one moment at which all of this was made: 2026-01-02T03:04:05.000006Z.
pub const TIME: i64 = 1_767_323_045_000_006;

pub const REPOSITORY: [u8; 16] = run(0x10);
pub const HISTORY: [u8; 16] = run(0x20);
pub const DIGEST_KEY: [u8; 32] = run(0xd0);
pub const TOKENS: [[u8; 16]; 2] = [run(0x60), run(0x70)];
pub const PROOF: [u8; 16] = run(0xb0);
pub const EXPIRY: [u8; 16] = run(0xb1);
/// An announcement that nobody decided about, of the newest commit.
pub const ANNOUNCED: [u8; 16] = run(0xb2);
/// What the second writer builds on: the second segment.
pub const HEAD: [u8; 16] = run(0xb3);
pub const PAGE_SIZE: u32 = 512;

/// A master key.
#[derive(Clone, Copy)]
pub struct Master {
    pub id: [u8; 8],
    pub key: [u8; 32],
}

/// The keyring, oldest first: the older one sealed the history's beginning.
pub const MASTERS: [Master; 2] =
    [Master { id: run(0x01), key: run(0x80) }, Master { id: run(0x09), key: run(0xa0) }];

/// A key slot, and the secret of the user that opens it.
pub struct Slot {
    pub id: [u8; 8],
    pub kind: u8,
    pub costs: [u32; 3],
    pub salt: [u8; 16],
    pub label: &'static str,
}

pub const PASSPHRASE: &str = "grün und geheim";
pub const KEY_FILE: [u8; 32] = run(0x31);
pub const RECOVERY_KEY: [u8; 32] = run(0xe1);

pub const SLOTS: [Slot; 3] = [
    Slot { id: run(0x41), kind: 1, costs: [64, 3, 2], salt: run(0x51), label: "passphrase" },
    Slot { id: run(0x42), kind: 2, costs: [0; 3], salt: run(0x52), label: "" },
    Slot {
        id: run(0x43), kind: 3, costs: [0; 3], salt: run(0x53), label: "Tresor, 2. Fach: grün"
    },
];

/// A label on a commit, or the record that takes one back.
pub struct Label {
    pub id: [u8; 8],
    pub seq: u64,
    pub label: &'static str,
    pub takes_back: Option<[u8; 8]>,
}

/// One that counts, one that does not, and the record that takes it back.
pub const LABELS: [Label; 3] = [
    Label { id: run(0xc1), seq: 2, label: "before the sale", takes_back: None },
    Label { id: run(0xc2), seq: 3, label: "mistake", takes_back: None },
    Label { id: run(0xc3), seq: 3, label: "mistake", takes_back: Some(run(0xc2)) },
];

/// A label that a program gave by itself.
pub struct Mark {
    pub id: [u8; 8],
    pub seq: u64,
    pub label: &'static str,
    pub until: i64,
}

/// Marks came after the vectors, which never change; so they stand beside those. One counts. The other is over, and a record of
/// an ordinary kind takes it back.
pub const MARKS: [Mark; 2] = [
    Mark {
        id: run(0xc7),
        seq: 4,
        label: "before-schema-change-5",
        until: TIME + 2_592_000_000_000,
    },
    Mark { id: run(0xc8), seq: 1, label: "before-large-delete-2", until: -1 },
];
pub const MARK_ENDED: Label =
    Label { id: run(0xc9), seq: 1, label: "before-large-delete-2", takes_back: Some(run(0xc8)) };

/// A hold on a commit, or the record that takes one back.
pub struct Hold {
    pub id: [u8; 8],
    pub seq: u64,
    pub reason: &'static str,
    pub takes_back: Option<[u8; 8]>,
}

/// As the labels.
pub const HOLDS: [Hold; 3] = [
    Hold { id: run(0xc4), seq: 4, reason: "Prüfung 2026", takes_back: None },
    Hold { id: run(0xc5), seq: 1, reason: "mistake", takes_back: None },
    Hold { id: run(0xc6), seq: 1, reason: "mistake", takes_back: Some(run(0xc5)) },
];

/// The commits that expired, first and last of each range: one that the merged segments have still, one that they dropped, and
/// one that they carry.
pub const EXPIRED: [(u64, u64); 2] = [(3, 3), (5, 6)];

/// One version of a page: its page, its commit as an index into the segment's, and its place in a batch.
#[derive(Clone, Copy)]
pub struct Version {
    pub page: u32,
    pub commit: u32,
    pub batch: u16,
    pub slot: u16,
    /// The commit that first wrote it.
    pub seq: u64,
}

/// A batch as its segment seals it.
pub struct Batch {
    pub number: u32,
    /// Page and seq of each slot.
    pub pages: &'static [(u32, u64)],
    /// 0 stored, 1 zstd.
    pub codec: u8,
}

/// A segment. All but the second have their data inside.
pub struct Segment {
    pub id: [u8; 16],
    pub master: usize,
    pub term: u64,
    /// Seq, size in pages, and how it was captured, of each commit.
    pub commits: &'static [(u64, u32, u8)],
    pub base: bool,
    pub parent: Option<usize>,
    /// The last segment that a merged one covers.
    pub covers: Option<usize>,
    /// Whether the last commit is carried, and so the segment sparse.
    pub carries: bool,
    pub parts: bool,
    /// Its own batches, and for a merged segment the segments whose batches it copied.
    pub batches: &'static [Batch],
    pub origins: &'static [usize],
    pub versions: &'static [Version],
}

const fn version(page: u32, commit: u32, batch: u16, slot: u16, seq: u64) -> Version {
    Version { page, commit, batch, slot, seq }
}

/// A base; a delta of two commits with a part; a delta of another term that makes the database smaller; what a merge makes of
/// the first two when it drops commit 2; two more deltas; and what a merge makes of the third and the fourth delta when commits
/// 5 and 6 expired, of which commit 7 needs page versions.
pub const SEGMENTS: [Segment; 7] = [
    Segment {
        id: run(0x90),
        master: 0,
        term: 1,
        commits: &[(1, 2, 1)],
        base: true,
        parent: None,
        covers: None,
        carries: false,
        parts: false,
        batches: &[Batch { number: 0, pages: &[(1, 1), (2, 1)], codec: 0 }],
        origins: &[],
        versions: &[version(1, 0, 0, 0, 1), version(2, 0, 0, 1, 1)],
    },
    Segment {
        id: run(0x91),
        master: 1,
        term: 1,
        commits: &[(2, 2, 2), (3, 3, 3)],
        base: false,
        parent: Some(0),
        covers: None,
        carries: false,
        parts: true,
        batches: &[Batch { number: 7, pages: &[(2, 2), (2, 3), (3, 3)], codec: 1 }],
        origins: &[],
        versions: &[version(2, 0, 0, 0, 2), version(2, 1, 0, 1, 3), version(3, 1, 0, 2, 3)],
    },
    Segment {
        id: run(0x92),
        master: 1,
        term: 2,
        commits: &[(4, 2, 1)],
        base: false,
        parent: Some(1),
        covers: None,
        carries: false,
        parts: false,
        batches: &[Batch { number: 0, pages: &[(1, 4)], codec: 0 }],
        origins: &[],
        versions: &[version(1, 0, 0, 0, 4)],
    },
    Segment {
        id: run(0x93),
        master: 1,
        term: 2,
        commits: &[(1, 2, 1), (3, 3, 3)],
        base: true,
        parent: None,
        covers: Some(1),
        carries: false,
        parts: false,
        batches: &[],
        origins: &[0, 1],
        versions: &[
            version(1, 0, 0, 0, 1),
            version(2, 0, 0, 1, 1),
            version(2, 1, 1, 1, 3),
            version(3, 1, 1, 2, 3),
        ],
    },
    Segment {
        id: run(0x94),
        master: 1,
        term: 2,
        commits: &[(5, 2, 3), (6, 3, 3)],
        base: false,
        parent: Some(2),
        covers: None,
        carries: false,
        parts: false,
        batches: &[Batch { number: 0, pages: &[(2, 5), (1, 6), (3, 6)], codec: 1 }],
        origins: &[],
        versions: &[version(1, 1, 0, 1, 6), version(2, 0, 0, 0, 5), version(3, 1, 0, 2, 6)],
    },
    Segment {
        id: run(0x95),
        master: 1,
        term: 2,
        commits: &[(7, 3, 2)],
        base: false,
        parent: Some(4),
        covers: None,
        carries: false,
        parts: false,
        batches: &[Batch { number: 0, pages: &[(3, 7)], codec: 0 }],
        origins: &[],
        versions: &[version(3, 0, 0, 0, 7)],
    },
    Segment {
        id: run(0x96),
        master: 1,
        term: 2,
        commits: &[(4, 2, 1), (6, 3, 3)],
        base: false,
        parent: Some(1),
        covers: Some(4),
        carries: true,
        parts: false,
        batches: &[Batch { number: 0, pages: &[(1, 6), (2, 5)], codec: 1 }],
        origins: &[2],
        versions: &[version(1, 0, 1, 0, 4), version(1, 1, 0, 0, 6), version(2, 1, 0, 1, 5)],
    },
];

/// Which version each page has, by commit from the first.
pub const DATABASES: [&[(u32, u64)]; 7] = [
    &[(1, 1), (2, 1)],
    &[(1, 1), (2, 2)],
    &[(1, 1), (2, 3), (3, 3)],
    &[(1, 4), (2, 3)],
    &[(1, 4), (2, 5)],
    &[(1, 6), (2, 5), (3, 6)],
    &[(1, 6), (2, 5), (3, 7)],
];

/// The content of a page as a commit wrote it.
pub fn page(page: u32, seq: u64) -> Vec<u8> {
    let text = format!("page {page} as commit {seq} wrote it. ");
    text.bytes().cycle().take(PAGE_SIZE as usize).collect()
}

/// The name of an object of the history.
pub fn in_history(rest: &str) -> String {
    let id: String = HISTORY.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("histories/{id}/{rest}")
}

/// One zstd frame whose content is not compressed: the same bytes whatever the compressor's version.
pub fn raw_frame(content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(size.to_le_bytes());
    frame.extend(&(size << 3 | 1).to_le_bytes()[..3]);
    frame.extend(content);
    frame
}
