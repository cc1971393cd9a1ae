//! The endless streams of rows that fill the tables.
//!
//! Invariant: a stream always has a next row. A source that is used up is gone through again with
//! a salt; a source that the machine does not have is replaced by invented data.

use std::path::PathBuf;

use rusqlite::types::Value;
use serde_json::json;

use super::rng::{Rng, Words};
use super::sources::{Cycle, Sources, read_bytes, read_text, salted};

/// The values of one row, in the order of the table's insert statement.
pub type Row = Vec<Value>;

/// An endless stream of rows.
pub type Rows = Box<dyn FnMut() -> Row>;

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// What a row counts for against its table's share of the bytes.
pub fn weight(row: &Row) -> i64 {
    let bytes: usize = row
        .iter()
        .map(|value| match value {
            Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 5,
            Value::Text(text) => text.len(),
            Value::Blob(blob) => blob.len(),
        })
        .sum();
    bytes as i64 + 4
}

/// Package records: names, versions, descriptions and the record as it is.
pub fn packages(records: Vec<String>, seed: u64, words: Words) -> Rows {
    let mut rng = Rng::new(seed, "package rows");
    let mut records = Cycle::new(records);
    Box::new(move || {
        let (record, round) = match records.next() {
            Some((record, 0)) => (record.clone(), 0),
            Some((record, round)) => (salted(record, &mut rng, &words), round),
            None => (invented_record(&mut rng, &words), 0),
        };
        let field = |name: &str| {
            let line = record.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
        };
        let word = words.word(&mut rng).to_owned();
        let name = field("Package:").unwrap_or_else(|| format!("lib{word}"));
        let version = field("Version:").unwrap_or_else(|| format!("1.{}", rng.below(90)));
        let description = match record.find("Description:") {
            Some(at) => record[at + 12..].trim().to_owned(),
            None => words.line(&mut rng, 12),
        };
        vec![
            text(name),
            text(if round == 0 { version } else { format!("{version}+r{round}") }),
            text(field("Section:").unwrap_or(word)),
            field("Maintainer:").map_or(Value::Null, Value::Text),
            Value::Integer(rng.between(16, 90_000)),
            text(rng.hex(64)),
            field("Depends:").map_or(Value::Null, Value::Text),
            text(description),
            text(record),
        ]
    })
}

fn invented_record(rng: &mut Rng, words: &Words) -> String {
    let name = format!("{}-{}", words.word(rng), words.word(rng));
    let depends: Vec<&str> = (0..1 + rng.below(9)).map(|_| words.word(rng)).collect();
    format!(
        "Package: {name}\nSection: {}\nMaintainer: {}\nVersion: {}.{}\nDepends: {}\nDescription: {}\n {}",
        words.word(rng),
        words.word(rng),
        rng.below(9),
        rng.below(40),
        depends.join(", "),
        words.line(rng, 8),
        words.text(rng, 500).replace('\n', "\n "),
    )
}

/// Short rows about files: owner, path, digest, size, time.
pub fn files(lists: Vec<PathBuf>, seed: u64, words: Words) -> Rows {
    let mut rng = Rng::new(seed, "file rows");
    let mut lists = Cycle::new(lists);
    let mut pending: Vec<(String, String, String)> = Vec::new();
    Box::new(move || {
        // A list may be empty or unreadable; after a few of those, invent one.
        for _ in 0..8 {
            if !pending.is_empty() {
                break;
            }
            let Some((path, round)) = lists.next() else { break };
            let owner = path.file_stem().and_then(|s| s.to_str()).unwrap_or("?").to_owned();
            let listed = read_bytes(path, 16 << 20).unwrap_or_default();
            for line in String::from_utf8_lossy(&listed).lines() {
                let Some((digest, path)) = line.split_once("  ") else { continue };
                pending.push(if round == 0 {
                    (owner.clone(), format!("/{path}"), digest.to_owned())
                } else {
                    (owner.clone(), format!("/old/{round}/{path}"), rng.hex(32))
                });
            }
            pending.reverse();
        }
        let (owner, path, digest) = pending.pop().unwrap_or_else(|| {
            let parts: Vec<&str> = (0..3 + rng.below(4)).map(|_| words.word(&mut rng)).collect();
            (parts[0].to_owned(), format!("/{}", parts.join("/")), rng.hex(32))
        });
        vec![
            text(owner),
            text(path),
            text(digest),
            Value::Integer(rng.between(40, 400) * rng.between(1, 4000)),
            Value::Integer(1_600_000_000 + rng.between(0, 150_000_000)),
        ]
    })
}

/// Documents of at most `most` bytes, for full-text search.
pub fn documents(files: Vec<PathBuf>, seed: u64, words: Words, most: usize) -> Rows {
    let mut rng = Rng::new(seed, "document rows");
    let mut files = Cycle::new(files);
    Box::new(move || {
        let mut found = None;
        for _ in 0..files.len().min(1000) {
            let Some((path, round)) = files.next() else { break };
            if let Some(body) = read_text(path, most) {
                found = Some((path.display().to_string(), round, body));
                break;
            }
        }
        let (path, body) = match found {
            Some((path, 0, body)) => (path, body),
            Some((path, round, body)) => {
                (format!("{path}?v={round}"), salted(&body, &mut rng, &words))
            }
            None => {
                let bytes = 200 + rng.below(most as u64 / 4) as usize;
                (format!("/notes/{}", rng.hex(12)), words.text(&mut rng, bytes))
            }
        };
        let kind = path.rsplit_once('.').map_or("text", |(_, extension)| extension);
        let title = body.lines().map(str::trim).find(|line| line.len() > 3).unwrap_or("untitled");
        let title: String = title.chars().take(120).collect();
        vec![text(kind), text(path), text(title), text(body)]
    })
}

/// Measurements: slow walks, few very busy devices and many quiet ones.
pub fn events(seed: u64) -> Rows {
    let mut rng = Rng::new(seed, "event rows");
    let mut values: Vec<f64> = (0..2000).map(|_| rng.unit() * 100.0 - 50.0).collect();
    let mut time = 1_700_000_000_000_i64;
    Box::new(move || {
        time += (-rng.unit().ln() * 40.0) as i64 + 1;
        let device = (rng.unit().powf(-0.9) as usize - 1).min(values.len() - 1);
        values[device] += (rng.unit() + rng.unit() - 1.0) * 1.2;
        let kind = match rng.below(100) {
            0..60 => 1,
            60..80 => 2,
            80..90 => 3,
            90..97 => 4,
            _ => 5,
        };
        vec![
            Value::Integer(time),
            Value::Integer(device as i64),
            Value::Integer(kind),
            Value::Real((values[device] * 1000.0).round() / 1000.0),
            Value::Integer(rng.between(0, if kind >= 4 { 1 << 31 } else { 200 })),
            if kind < 3 { Value::Null } else { text(format!("code-{:03}", rng.below(400))) },
        ]
    })
}

/// Sessions of a web service: random keys, JSON payloads.
pub fn sessions(seed: u64, words: Words) -> Rows {
    let mut rng = Rng::new(seed, "session rows");
    let mut time = 1_700_000_000_i64;
    Box::new(move || {
        time += rng.between(1, 30);
        let hits: Vec<_> = (0..1 + rng.below(6))
            .map(|_| {
                let page = format!("/{}/{}", words.word(&mut rng), words.word(&mut rng));
                let status = *rng.pick(&[200, 200, 200, 304, 404]);
                json!({"p": page, "ms": rng.between(5, 900), "s": status})
            })
            .collect();
        let address = format!("10.{}.{}.{}", rng.below(256), rng.below(256), rng.below(256));
        let agent = format!("Mozilla/5.0 (X11; Linux x86_64) Engine/{}.0", 90 + rng.below(40));
        let payload = json!({"ip": address, "ua": agent, "token": rng.hex(32), "hits": hits});
        vec![
            text(rng.uuid()),
            Value::Integer(time),
            Value::Integer(rng.between(1, 50_000)),
            text(payload.to_string()),
        ]
    })
}

/// Pieces of programs, and for every third row of a compressed file, of at most `most` bytes.
pub fn blobs(sources: &mut Sources, seed: u64, words: Words, most: usize) -> Rows {
    let mut rng = Rng::new(seed, "blob rows");
    let mut plain = Pieces::new(std::mem::take(&mut sources.binaries));
    let mut packed = Pieces::new(std::mem::take(&mut sources.packed));
    let mut count = 0_u64;
    Box::new(move || {
        count += 1;
        let bytes = (*rng.pick(&[8, 20, 48, 100, 250]) * 1024).min(most);
        let pieces = if count.is_multiple_of(3) { &mut packed } else { &mut plain };
        let (path, offset, data) = pieces.next(bytes).unwrap_or_else(|| {
            let mut data = vec![0; bytes];
            if rng.one_in(3) {
                rng.fill(&mut data);
            } else {
                data = words.text(&mut rng, bytes).into_bytes();
            }
            (format!("/invented/{}", rng.hex(8)), 0, data)
        });
        vec![text(path), Value::Integer(offset), Value::Blob(data)]
    })
}

/// Files cut into pieces.
struct Pieces {
    files: Cycle<PathBuf>,
    path: String,
    bytes: Vec<u8>,
    offset: usize,
}

impl Pieces {
    const fn new(files: Vec<PathBuf>) -> Self {
        Self { files: Cycle::new(files), path: String::new(), bytes: Vec::new(), offset: 0 }
    }

    fn next(&mut self, size: usize) -> Option<(String, i64, Vec<u8>)> {
        for _ in 0..self.files.len().min(1000) + 1 {
            if self.offset < self.bytes.len() {
                let end = (self.offset + size).min(self.bytes.len());
                let piece = self.bytes[self.offset..end].to_vec();
                let offset = std::mem::replace(&mut self.offset, end);
                return Some((self.path.clone(), offset as i64, piece));
            }
            let (path, round) = self.files.next()?;
            self.bytes = read_bytes(path, 16 << 20).unwrap_or_default();
            self.path = path.display().to_string();
            // Another start each time, or the same bytes would stand in the same page layout.
            self.offset = (round as usize * 1237) % self.bytes.len().max(1);
        }
        None
    }
}
