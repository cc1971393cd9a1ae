//! The test vectors by the formulas of `docs/format.md`, without the library: BLAKE3, AES-SIV and Argon2id come from their crates,
//! and every layout is written down by hand once more. Section numbers are the document's.

use std::collections::BTreeMap;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use serde_json::{Value, json};

use super::inputs::*;

/// The marks, as `marks/vectors.json` has them: objects of the repository that the vectors are.
pub fn marks() -> Value {
    let mut book = Book::default();
    let snapshot = |id: &[u8; 8], seq: u64| {
        let object: [u8; 16] = [[0; 8], *id].concat().try_into().unwrap();
        (in_history(&format!("snapshots/{seq:016x}-{}", hex(id))), object)
    };
    for Mark { id, seq, label, until } in MARKS {
        let body = Layout::default().u64(seq).i64(TIME).u8(4).u8(0).zeros(6).zeros(8).text(label);
        let digest = database_digest(usize::try_from(seq).unwrap() - 1);
        let (name, object) = snapshot(&id, seq);
        // Both features: a digest, and an end behind it.
        let body = body.bytes(&digest).i64(until);
        book.sealed_with(header_with(7, 2 | 4), &name, 1, object, &body.0);
    }
    let Label { id, seq, label, takes_back } = MARK_ENDED;
    let body = Layout::default().u64(seq).i64(TIME).u8(1).u8(1).zeros(6);
    let (name, object) = snapshot(&id, seq);
    book.sealed(7, &name, 1, object, &body.bytes(&takes_back.unwrap()).text(label).0);
    json!({
        "about": "Marks, which are labels with an end: objects that belong to the repository of ../v1/vectors.json. One counts; \
                  the other one is over and taken back.",
        "objects": book.objects,
    })
}

/// All vectors, as `vectors.json` has them.
pub fn vectors() -> Value {
    let mut book = Book::default();
    let secrets = secrets();
    book.plain("repository", 1, header(1).bytes(&REPOSITORY).i64(TIME));
    for slot in &SLOTS {
        book.slot(slot, &secret(slot.kind));
    }
    let about = Layout::default().i64(TIME).bytes(&DIGEST_KEY);
    let about = about.text("app").text("/srv/app.db").text("example");
    book.sealed(3, &in_history("about"), 0, HISTORY, &about.0);
    for (term, token) in (1u64..).zip(TOKENS) {
        let body = Layout::default().u64(term).i64(TIME).u32(4711).text("example").text("backup");
        let master = if term == 1 { 0 } else { 1 };
        book.sealed(4, &in_history(&format!("writers/{term:016x}")), master, token, &body.0);
    }
    let mut made: Vec<Made> = Vec::new();
    for segment in &SEGMENTS {
        let next = book.segment(segment, &made);
        made.push(next);
    }
    for Label { id, seq, label, takes_back } in LABELS {
        let body = Layout::default().u64(seq).i64(TIME).u8(1).u8(takes_back.is_some().into());
        let body = body.zeros(6).bytes(&takes_back.unwrap_or_default()).text(label);
        let object: [u8; 16] = [[0; 8], id].concat().try_into().unwrap();
        let name = in_history(&format!("snapshots/{seq:016x}-{}", hex(&id)));
        book.sealed(7, &name, 1, object, &body.0);
    }
    let body = Layout::default().u64(3).bytes(&database_digest(2)).i64(TIME).u64(1500);
    let body = body.u8(2).u8(1).zeros(2).u32(1_000_000).u64(1536).u32(0).text("example").text("");
    let name = in_history(&format!("proofs/{:016x}-{TIME:016x}-{}", 3, hex(&PROOF[..4])));
    book.sealed(8, &name, 1, PROOF, &body.0);
    for Hold { id, seq, reason, takes_back } in HOLDS {
        let body = Layout::default().u64(seq).i64(TIME).u8(takes_back.is_some().into()).zeros(7);
        let body = body.bytes(&takes_back.unwrap_or_default()).text(reason).text("example");
        let object: [u8; 16] = [[0; 8], id].concat().try_into().unwrap();
        let name = in_history(&format!("holds/{seq:016x}-{}", hex(&id)));
        book.sealed(9, &name, 1, object, &body.0);
    }
    let mut body = Layout::default().u64(2).i64(TIME).u32(len(&EXPIRED));
    for (first, last) in EXPIRED {
        body = body.u64(first).u64(last);
    }
    book.sealed(10, &expiry_name(), 1, EXPIRY, &body.0);
    let body = Layout::default().u64(2).i64(TIME).u32(1).u64(7).u64(7);
    let name = in_history(&format!("expiring/{:016x}-{}", 2, hex(&ANNOUNCED[..4])));
    book.sealed(10, &name, 1, ANNOUNCED, &body.0);
    let body = Layout::default().u64(2).bytes(&SEGMENTS[1].id).bytes(&made[1].digest);
    let body = body.u64(SEGMENTS[1].term).u64(SEGMENTS[1].commits[0].0);
    let name = in_history(&format!("heads/{:016x}-{}", 2, hex(&HEAD[..4])));
    book.sealed(11, &name, 1, HEAD, &body.0);
    json!({
        "about": "Test vectors of docs/format.md. Bytes are lower-case hex. Written to files of their names, the objects are \
                  a repository with one history, whose commits restore to the databases. Which commits those are, \
                  when all objects are there and when some are not, the readings say: of all there are, the merged \
                  segments stand in for those that they cover, one commit is carried, and an expiry lists others.",
        "secrets": secrets,
        "objects": book.objects,
        "data": book.data,
        "page_digest_key": hex(&DIGEST_KEY),
        "page_digests": page_digests(),
        "databases": (1..).zip(DATABASES).map(|(seq, pages)| json!({
            "seq": seq,
            "digest": hex(&database_digest(seq - 1)),
            "bytes": hex(&database(pages)),
        })).collect::<Vec<_>>(),
        "readings": readings(),
    })
}

/// The objects, by name.
pub fn objects(vectors: &Value) -> BTreeMap<String, Vec<u8>> {
    let list = vectors["objects"].as_array().unwrap().iter();
    list.map(|object| (object["name"].as_str().unwrap().to_owned(), unhex(&object["bytes"])))
        .collect()
}

pub fn database(pages: &[(u32, u64)]) -> Vec<u8> {
    pages.iter().flat_map(|(number, seq)| page(*number, *seq)).collect()
}

// Section 8.

/// Which commits there are without some of the objects.
fn readings() -> Value {
    let name = |i: &usize| segment_name(&SEGMENTS[*i]);
    let merged = || [3, 6].iter().map(name);
    let part = in_history(&format!("data/{}/{:08x}", hex(&SEGMENTS[1].id), 0));
    let covered = || [0, 1, 2, 4].iter().map(name).chain([part.clone()]);
    let reading =
        |without: Vec<String>, commits: &[u64]| json!({"without": without, "commits": commits});
    json!([
        reading(vec![], &[1, 4, 7]),
        reading(covered().collect(), &[1, 4, 7]),
        reading(merged().collect(), &[1, 2, 4, 7]),
        reading(vec![expiry_name()], &[1, 3, 4, 7]),
        reading(covered().chain([expiry_name()]).collect(), &[1, 3, 4, 7]),
        reading(merged().chain([expiry_name()]).collect(), &[1, 2, 3, 4, 5, 6, 7]),
        reading(vec![name(&3)], &[1, 2, 4, 7]),
        reading(vec![name(&6)], &[1, 4, 7]),
    ])
}

// Section 3.

/// The 32-byte secret that opens a kind of slot.
pub fn secret(kind: u8) -> [u8; 32] {
    match kind {
        1 => {
            let Slot { costs: [memory, passes, lanes], salt, .. } = SLOTS[0];
            let params = argon2::Params::new(memory, passes, lanes, Some(32)).unwrap();
            let argon2 =
                argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
            let mut output = [0; 32];
            argon2.hash_password_into(PASSPHRASE.as_bytes(), &salt, &mut output).unwrap();
            output
        }
        2 => KEY_FILE,
        _ => RECOVERY_KEY,
    }
}

fn secrets() -> Value {
    let Slot { costs: [memory, passes, lanes], salt, .. } = SLOTS[0];
    json!({
        "passphrase": {
            "text": PASSPHRASE,
            "argon2id": {"version": 0x13, "memory_kib": memory, "passes": passes, "lanes": lanes, "salt": hex(&salt)},
            "secret": hex(&secret(1)),
        },
        "key_file": {"text": format!("# A comment.\n{}\n", hex(&KEY_FILE)), "secret": hex(&KEY_FILE)},
        "recovery_key": {
            "text": recovery_text(),
            "checksum": derivation("recovery checksum", &RECOVERY_KEY, 3),
            "secret": hex(&RECOVERY_KEY),
        },
    })
}

fn recovery_text() -> String {
    let sum = derive("recovery checksum", &RECOVERY_KEY, 3);
    let bits: String = RECOVERY_KEY.iter().chain(&sum).map(|byte| format!("{byte:08b}")).collect();
    let symbols: Vec<u8> = bits
        .as_bytes()
        .chunks(5)
        .map(|five| {
            let value = usize::from_str_radix(std::str::from_utf8(five).unwrap(), 2).unwrap();
            b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value]
        })
        .collect();
    let groups: Vec<_> = symbols.chunks(7).map(|g| std::str::from_utf8(g).unwrap()).collect();
    groups.join("-")
}

// Section 4.

fn derive(context: &str, material: &[u8], len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("pagekeep 2026 v1 {context}"));
    hasher.update(material);
    let mut key = vec![0; len];
    hasher.finalize_xof().fill(&mut key);
    key
}

fn derivation(context: &str, material: &[u8], len: usize) -> Value {
    json!({
        "context": format!("pagekeep 2026 v1 {context}"),
        "material": hex(material),
        "value": hex(&derive(context, material, len)),
    })
}

/// A seal, and all that went into it.
fn seal(context: &str, material: &[u8], bound: &[&[u8]], plain: &[u8]) -> (Vec<u8>, Value) {
    let key: [u8; 64] = derive(context, material, 64).try_into().unwrap();
    let mut text = plain.to_vec();
    let mut cipher = Aes256Siv::new((&key).into());
    let tag = cipher.encrypt_inout_detached(bound, (&mut text[..]).into()).unwrap();
    let sealed = [&tag[..], &text].concat();
    let facts = json!({
        "key": derivation(context, material, 64),
        "associated_data": bound.iter().map(|bytes| hex(bytes)).collect::<Vec<_>>(),
        "plain": hex(plain),
        "sealed": hex(&sealed),
    });
    (sealed, facts)
}

// Section 7.

fn page_digest(number: u32, seq: u64) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(&DIGEST_KEY);
    hasher.update(&page(number, seq)).update(&number.to_le_bytes());
    hasher.finalize().as_bytes()[..16].try_into().unwrap()
}

pub fn database_digest(commit: usize) -> [u8; 16] {
    let mut sum = [0; 16];
    for (number, seq) in DATABASES[commit] {
        for (byte, other) in sum.iter_mut().zip(page_digest(*number, *seq)) {
            *byte ^= other;
        }
    }
    sum
}

fn page_digests() -> Vec<Value> {
    let pages: std::collections::BTreeSet<_> = DATABASES.iter().copied().flatten().collect();
    let facts = |&&(number, seq): &&(u32, u64)| {
        let (content, digest) = (hex(&page(number, seq)), hex(&page_digest(number, seq)));
        json!({"page": number, "content": content, "digest": digest})
    };
    pages.iter().map(facts).collect()
}

/// The objects as they come about.
#[derive(Default)]
struct Book {
    objects: Vec<Value>,
    data: Vec<Value>,
}

/// A segment that others refer to.
struct Made {
    digest: [u8; 32],
    /// Its sealed batches.
    batches: Vec<Vec<u8>>,
}

impl Book {
    fn add(&mut self, kind: u8, name: &str, bytes: &[u8], facts: Value) {
        let mut object = json!({"name": name, "kind": kind, "bytes": hex(bytes)});
        object.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        self.objects.push(object);
    }

    fn plain(&mut self, name: &str, kind: u8, layout: Layout) {
        self.add(kind, name, &layout.checksum().0, json!({}));
    }

    fn slot(&mut self, slot: &Slot, secret: &[u8; 32]) {
        let material = [secret, &REPOSITORY[..], &slot.id, &slot.salt].concat();
        let mut keyring = Layout::default().u32(2);
        for master in &MASTERS {
            keyring = keyring.bytes(&master.id).i64(TIME).bytes(&master.key);
        }
        let mut front =
            header(2).bytes(&slot.id).bytes(&REPOSITORY).u8(slot.kind).zeros(3).i64(TIME);
        for cost in slot.costs {
            front = front.u32(cost);
        }
        let front = front.bytes(&slot.salt).text(slot.label);
        let front = front.bytes(&derive("slot commitment", &material, 32));
        let front = front.u32(len(&keyring.0) + 16);
        let (sealed, facts) = seal("slot seal", &material, &[&front.0], &keyring.0);
        let commitment = derivation("slot commitment", &material, 32);
        let bytes = front.bytes(&sealed).checksum().0;
        let name = format!("keys/{}", hex(&slot.id));
        self.add(2, &name, &bytes, json!({"commitment": commitment, "seal": facts}));
    }

    fn sealed(&mut self, kind: u8, name: &str, master: usize, object: [u8; 16], body: &[u8]) {
        self.sealed_with(header(kind), name, master, object, body);
    }

    fn sealed_with(
        &mut self,
        header: Layout,
        name: &str,
        master: usize,
        object: [u8; 16],
        body: &[u8],
    ) {
        let kind = header.0[4];
        let (bytes, facts) = sealed_object(header, name, master, object, body);
        self.add(kind, name, &bytes, json!({"seal": facts}));
    }

    // Section 6.

    fn segment(&mut self, segment: &Segment, made: &[Made]) -> Made {
        let name = segment_name(segment);
        let part = in_history(&format!("data/{}/{:08x}", hex(&segment.id), 0));
        let data_name = if segment.parts { &part } else { &name };
        let mut data = Layout::default();
        if segment.parts {
            data = header(6).bytes(&MASTERS[segment.master].id).bytes(&segment.id).u32(0).zeros(4);
        }

        // Its own batches, or copies of others'.
        let mut batches = Vec::new();
        for batch in segment.batches {
            let content = database(batch.pages);
            let packed = if batch.codec == 1 { raw_frame(&content) } else { content };
            let numbers = [batch.number, len(batch.pages), batch.codec.into()];
            batches.push(self.data_seal(data_name, segment, 1, numbers, &packed));
        }
        let own = segment.batches.iter().map(|batch| (0, batch));
        let copied = (1u16..).zip(segment.origins).flat_map(|(origin, from)| {
            SEGMENTS[*from].batches.iter().map(move |batch| (origin, batch))
        });
        let batch_list: Vec<_> = own.chain(copied).collect();
        for from in segment.origins {
            batches.extend(made[*from].batches.iter().cloned());
        }

        let mut block = Layout::default();
        for ((origin, batch), sealed) in batch_list.iter().zip(&batches) {
            block = block.location(&data, sealed).u32(batch.number).u16(batch.pages.len());
            block = block.u16((*origin).into()).u8(batch.codec).zeros(3);
            data = data.bytes(sealed);
        }
        let mut before = 0;
        for version in segment.versions {
            block = block.u32(version.page - before);
            before = version.page;
        }
        for version in segment.versions {
            block = block.u32(version.commit);
        }
        for version in segment.versions {
            block = block.u16(version.batch.into());
        }
        for version in segment.versions {
            block = block.u16(version.slot.into());
        }
        for version in segment.versions {
            block = block.bytes(&page_digest(version.page, version.seq));
        }
        let numbers = [0, len(segment.versions), len(&batches)];
        let sealed_block = self.data_seal(data_name, segment, 2, numbers, &raw_frame(&block.0));

        let (first, last) = (segment.versions[0].page, segment.versions.last().unwrap().page);
        let directory = Layout::default().u32(first).u32(last).u32(numbers[1]).u32(numbers[2]);
        let directory = directory.location(&data, &sealed_block);
        data = data.bytes(&sealed_block);
        let body = manifest(segment, made, &data.0, &directory.0);
        let front = header_with(5, segment.carries.into());
        let (mut bytes, facts) = sealed_object(front, &name, segment.master, segment.id, &body);
        let digest = *blake3::hash(&bytes).as_bytes();
        if segment.parts {
            self.add(6, &part, &data.0, json!({}));
        } else {
            bytes.extend(&data.0);
        }
        self.add(5, &name, &bytes, json!({"seal": facts, "digest": hex(&digest)}));
        Made { digest, batches }
    }

    fn data_seal(
        &mut self,
        object: &str,
        segment: &Segment,
        kind: u8,
        numbers: [u32; 3],
        packed: &[u8],
    ) -> Vec<u8> {
        let master = MASTERS[segment.master];
        let material = [&master.key[..], &REPOSITORY, &HISTORY, &segment.id].concat();
        let mut bound = Layout::default().bytes(b"PGKP").u8(1).u8(kind).zeros(2);
        bound = bound.bytes(&REPOSITORY).bytes(&HISTORY).bytes(&segment.id);
        for number in numbers {
            bound = bound.u32(number);
        }
        let (sealed, facts) = seal("data seal", &material, &[&bound.0], packed);
        let what = if kind == 1 { "batch" } else { "index block" };
        self.data.push(json!({"in": object, "what": what, "seal": facts}));
        sealed
    }
}

fn sealed_object(
    front: Layout,
    name: &str,
    master: usize,
    object: [u8; 16],
    body: &[u8],
) -> (Vec<u8>, Value) {
    let Master { id, key } = MASTERS[master];
    let material = [&key[..], &REPOSITORY, &front.0[4..5], &object].concat();
    let prefix = front.bytes(&id).bytes(&object).u32(len(body) + 16);
    let bound = [&prefix.0[..], &REPOSITORY, name.as_bytes()];
    let (sealed, facts) = seal("object seal", &material, &bound, body);
    (prefix.bytes(&sealed).0, facts)
}

fn manifest(segment: &Segment, made: &[Made], data: &[u8], directory: &[u8]) -> Vec<u8> {
    let mut body = Layout::default().bytes(&HISTORY).u64(segment.term);
    body = body.bytes(&TOKENS[usize::try_from(segment.term).unwrap() - 1]);
    body = body.u8(if segment.base { 1 } else { 2 }).u8(segment.covers.is_some().into());
    body = body.u8(segment.carries.into()).zeros(1).u32(PAGE_SIZE);
    for other in [segment.parent, segment.covers] {
        body = match other {
            Some(other) => body.bytes(&SEGMENTS[other].id).bytes(&made[other].digest),
            None => body.zeros(16 + 32),
        };
    }
    let inline_size = if segment.parts { 0 } else { data.len() };
    let copied: usize = segment.origins.iter().map(|from| SEGMENTS[*from].batches.len()).sum();
    let batches = segment.batches.len() + copied;
    body = body.u64(segment.commits[0].0);
    for count in [segment.versions.len(), batches, inline_size] {
        body = body.u64(count.try_into().unwrap());
    }
    body = body.u32(len(segment.commits));
    for (index, (seq, pages, kind)) in (0u32..).zip(segment.commits) {
        let written = segment.versions.iter().filter(|version| version.commit == index).count();
        body = body.i64(TIME).u32(*pages).u32(written.try_into().unwrap());
        body = body.bytes(&database_digest(usize::try_from(*seq).unwrap() - 1));
        body = body.u64(1000 + seq).u8(*kind).zeros(3);
        body = body.u32((seq - segment.commits[0].0).try_into().unwrap());
    }
    body = body.u32(segment.parts.into());
    if segment.parts {
        body = body.u64(data.len().try_into().unwrap());
    }
    body = body.u32(len(segment.origins));
    for origin in segment.origins {
        let origin = &SEGMENTS[*origin];
        body = body.bytes(&MASTERS[origin.master].id).bytes(&origin.id);
    }
    body.u32(1).bytes(directory).0
}

fn segment_name(segment: &Segment) -> String {
    let (first, last) = (segment.commits[0].0, segment.commits.last().unwrap().0);
    in_history(&match segment.covers {
        Some(_) => format!("merged/{first:016x}-{last:016x}-{}", hex(&segment.id)),
        None => format!("log/{:016x}-{first:016x}", segment.term),
    })
}

fn expiry_name() -> String {
    in_history(&format!("expired/{:016x}-{}", 2, hex(&EXPIRY[..4])))
}

fn header(kind: u8) -> Layout {
    header_with(kind, 0)
}

fn header_with(kind: u8, required: usize) -> Layout {
    Layout::default().bytes(b"PGKP").u8(kind).u8(1).u16(required).u32(0).zeros(4)
}

fn len<T>(items: &[T]) -> u32 {
    items.len().try_into().unwrap()
}

/// A structure, from front to back.
#[derive(Clone, Default)]
struct Layout(Vec<u8>);

impl Layout {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u8(self, number: u8) -> Self {
        self.bytes(&[number])
    }

    fn u16(self, number: usize) -> Self {
        self.bytes(&u16::try_from(number).unwrap().to_le_bytes())
    }

    fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn i64(self, number: i64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn zeros(self, count: usize) -> Self {
        self.bytes(&vec![0; count])
    }

    fn text(self, text: &str) -> Self {
        self.u16(text.len()).bytes(text.as_bytes())
    }

    /// Where sealed bytes go that are about to be appended to the data.
    fn location(self, data: &Self, sealed: &[u8]) -> Self {
        self.u32(0).u64(data.0.len().try_into().unwrap()).u32(len(sealed))
    }

    fn checksum(self) -> Self {
        let sum = blake3::hash(&self.0);
        self.bytes(&sum.as_bytes()[..16])
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
