//! A batch: a run of page versions compressed and sealed as one unit.
//!
//! [`Encoder`] opens, decompresses and compares what it made before it gives it away: every batch
//! with [`SelfCheck::Every`], and with [`SelfCheck::Sampled`] the first ones of each worker and
//! then one in [`SAMPLE`]. So a compressor that is wrong, or memory that flips bits in more than
//! one batch, fails the backup instead of spoiling it. Whatever slips through is still found by its
//! page digest when it is verified.

use zstd::bulk::{Compressor, Decompressor};

use super::CodecError;
use super::seal::{DataKind, SealKey, TAG_LEN, data_binding};
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::{BatchCodec, BatchRef, IndexBlock};
use crate::types::{HistoryId, RepositoryId, SegmentId};

/// Bytes of pages in a batch, as a writer fills it.
pub const BATCH_LEN: usize = 256 * 1024;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    Off,
    /// zstd 1.
    #[default]
    Fast,
    /// zstd 3.
    Default,
    /// zstd 19.
    Max,
}

impl Compression {
    const fn level(self) -> Option<i32> {
        match self {
            Self::Off => None,
            Self::Fast => Some(1),
            Self::Default => Some(3),
            Self::Max => Some(19),
        }
    }
}

/// How much of its own output an encoder decodes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SelfCheck {
    /// The first [`SAMPLE`] batches of each worker, which is all of a small delta, and then one in
    /// [`SAMPLE`]. Decoding all of a large backup costs a third more processor time
    /// (`docs/performance.md`).
    #[default]
    Sampled,
    /// Every batch.
    Every,
}

/// One in how many batches a sampled self-check decodes.
pub const SAMPLE: u64 = 8;

/// What a zstd frame begins with (RFC 8878).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whose data a batch or an index block is: the key that seals it and what the seal binds.
#[derive(Clone, Debug)]
pub struct DataSeal {
    /// The segment's key.
    pub key: SealKey,
    /// The segment, within its history and repository.
    pub ids: (RepositoryId, HistoryId, SegmentId),
}

impl DataSeal {
    fn batch(&self, number: u32, pages: u16, codec: BatchCodec) -> [u8; 68] {
        data_binding(DataKind::Batch, self.ids, number, pages.into(), codec as u32)
    }

    /// Opens a batch's seal, and no more: the bytes are those that were sealed.
    ///
    /// # Errors
    /// [`CodecError::Seal`] when they are not.
    pub fn open(&self, batch: &BatchRef, sealed: &mut [u8]) -> Result<(), CodecError> {
        let bound = self.batch(batch.number, batch.pages, batch.codec);
        self.key.open_in_place(&[&bound], sealed).map(|_| ())
    }

    fn index(&self, number: u32, entries: u32, batches: u32) -> [u8; 68] {
        data_binding(DataKind::Index, self.ids, number, entries, batches)
    }
}

/// A sealed batch, on its way to the store.
#[derive(Clone, Debug)]
pub struct SealedBatch {
    /// Its number within the segment.
    pub number: u32,
    /// How many pages it holds.
    pub pages: u16,
    /// How they were packed.
    pub codec: BatchCodec,
    /// Tag and ciphertext.
    pub bytes: Vec<u8>,
}

/// Turns pages into sealed batches; one for each worker, since it keeps its contexts and buffers.
pub struct Encoder {
    compressor: Option<Compressor<'static>>,
    decoder: Decoder,
    scratch: Vec<u8>,
    check: SelfCheck,
    encoded: u64,
}

impl Encoder {
    /// An encoder of the given strength.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when zstd gets no memory.
    pub fn new(compression: Compression, check: SelfCheck) -> Result<Self> {
        let compressor =
            compression.level().map(Compressor::new).transpose().map_err(zstd_failed)?;
        let decoder = Decoder::new()?;
        Ok(Self { compressor, decoder, scratch: Vec::new(), check, encoded: 0 })
    }

    /// Compresses and seals the pages, and as [`SelfCheck`] says makes sure that they come back.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when what was encoded does not decode to the pages.
    pub fn encode(
        &mut self,
        seal: &DataSeal,
        number: u32,
        pages: u16,
        plain: &[u8],
    ) -> Result<SealedBatch> {
        let (codec, mut bytes) = self.pack(plain)?;
        let bound = seal.batch(number, pages, codec);
        seal.key.seal_in_place(&[&bound], &mut bytes).map_err(unsound)?;
        let batch = SealedBatch { number, pages, codec, bytes };
        let sampled = self.encoded < SAMPLE || self.encoded.is_multiple_of(SAMPLE);
        if sampled || self.check == SelfCheck::Every {
            self.decode_again(seal, &batch, plain)?;
        }
        self.encoded += 1;
        Ok(batch)
    }

    /// The packed pages behind room for a tag.
    fn pack(&mut self, plain: &[u8]) -> Result<(BatchCodec, Vec<u8>)> {
        if let Some(compressor) = &mut self.compressor {
            self.scratch.resize(zstd::zstd_safe::compress_bound(plain.len()), 0);
            let n =
                compressor.compress_to_buffer(plain, &mut self.scratch[..]).map_err(zstd_failed)?;
            if let Some(frame) = self.scratch.get(..n).filter(|_| n < plain.len()) {
                return Ok((BatchCodec::Zstd, with_tag_room(frame)));
            }
        }
        Ok((BatchCodec::Stored, with_tag_room(plain)))
    }

    fn decode_again(&mut self, seal: &DataSeal, batch: &SealedBatch, plain: &[u8]) -> Result<()> {
        let mut sealed = std::mem::take(&mut self.scratch);
        sealed.clear();
        sealed.extend_from_slice(&batch.bytes);
        let SealedBatch { number, pages, codec, .. } = *batch;
        let back = self.decoder.decode(seal, number, pages, codec, &mut sealed, plain.len());
        let same = back.is_ok_and(|back| back == plain);
        self.scratch = sealed;
        same.then_some(()).ok_or_else(|| unsound(CodecError::Unsound))
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder(..)")
    }
}

/// Turns sealed batches into pages; one for each worker.
pub struct Decoder {
    decompressor: Decompressor<'static>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder(..)")
    }
}

impl Decoder {
    /// A decoder.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when zstd gets no memory.
    pub fn new() -> Result<Self> {
        let decompressor = Decompressor::new().map_err(zstd_failed)?;
        Ok(Self { decompressor, plain: Vec::new() })
    }

    /// Opens a sealed batch, using its bytes as working memory, and answers its pages. `plain_len`
    /// is their length, which the caller has bounded.
    ///
    /// # Errors
    /// [`CodecError`] when the batch is not as it was sealed.
    pub fn decode<'d>(
        &'d mut self,
        seal: &DataSeal,
        number: u32,
        pages: u16,
        codec: BatchCodec,
        sealed: &'d mut [u8],
        plain_len: usize,
    ) -> Result<&'d [u8], CodecError> {
        let bound = seal.batch(number, pages, codec);
        let packed = seal.key.open_in_place(&[&bound], sealed)?;
        match codec {
            BatchCodec::Stored if packed.len() == plain_len => Ok(packed),
            BatchCodec::Stored => Err(CodecError::Compression),
            BatchCodec::Zstd => self.inflate(packed, plain_len),
        }
    }

    fn inflate(&mut self, frame: &[u8], plain_len: usize) -> Result<&[u8], CodecError> {
        // Exactly one frame, as the format says: no second one, and none that is to be skipped.
        let one = frame.starts_with(&ZSTD_MAGIC)
            && zstd::zstd_safe::find_frame_compressed_size(frame) == Ok(frame.len());
        if !one {
            return Err(CodecError::Compression);
        }
        self.plain.resize(plain_len, 0);
        let n = self
            .decompressor
            .decompress_to_buffer(frame, &mut self.plain[..])
            .map_err(|_| CodecError::Compression)?;
        if n != plain_len {
            return Err(CodecError::Compression);
        }
        Ok(&self.plain)
    }

    /// Opens a sealed index block.
    ///
    /// # Errors
    /// [`CodecError`] when the block is not as it was sealed.
    pub fn decode_index(
        &mut self,
        seal: &DataSeal,
        number: u32,
        entries: u32,
        batches: u32,
        sealed: &mut [u8],
    ) -> Result<&[u8], CodecError> {
        let plain_len = IndexBlock::plain_len(batches, entries).ok_or(CodecError::Compression)?;
        let bound = seal.index(number, entries, batches);
        let frame = seal.key.open_in_place(&[&bound], sealed)?;
        self.inflate(frame, plain_len)
    }
}

/// Compresses and seals an index block.
///
/// # Errors
/// [`ErrorKind::Failure`] when zstd fails.
pub fn encode_index(seal: &DataSeal, number: u32, block: &IndexBlock) -> Result<Vec<u8>> {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (entries, batches) = (count(block.entries.len()), count(block.batches.len()));
    let frame = zstd::bulk::compress(&block.encode(), 1).map_err(zstd_failed)?;
    let mut bytes = with_tag_room(&frame);
    let bound = seal.index(number, entries, batches);
    seal.key.seal_in_place(&[&bound], &mut bytes).map_err(unsound)?;
    Ok(bytes)
}

/// The most bytes that [`encode_index`] can make of a block.
pub fn index_bound(block: &IndexBlock) -> usize {
    TAG_LEN + zstd::zstd_safe::compress_bound(block.encoded_len())
}

fn with_tag_room(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TAG_LEN + packed.len());
    bytes.resize(TAG_LEN, 0);
    bytes.extend_from_slice(packed);
    bytes
}

fn zstd_failed(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Failure, "zstd failed").with_source(e)
}

fn unsound(e: CodecError) -> Error {
    Error::new(ErrorKind::Failure, "pages did not come back from their own encoding")
        .with_hint("nothing was published; test this machine's memory")
        .with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::slot::MasterKey;
    use crate::types::{KeyId, Timestamp};

    fn seal() -> DataSeal {
        let master = MasterKey { id: KeyId([1; 8]), created: Timestamp(0), secret: [2; 32] };
        let ids = (RepositoryId([1; 16]), HistoryId([2; 16]), SegmentId([3; 16]));
        DataSeal { key: SealKey::for_data(&master, ids.0, ids.1, ids.2), ids }
    }

    #[test]
    fn batches_come_back_at_every_strength() {
        let plain = b"the same words again and again. ".repeat(256);
        for strength in
            [Compression::Off, Compression::Fast, Compression::Default, Compression::Max]
        {
            let batch = Encoder::new(strength, SelfCheck::Every)
                .unwrap()
                .encode(&seal(), 5, 2, &plain)
                .unwrap();
            assert_eq!(batch.codec == BatchCodec::Stored, strength == Compression::Off);
            let mut decoder = Decoder::new().unwrap();
            let mut sealed = batch.bytes.clone();
            let back = decoder.decode(&seal(), 5, 2, batch.codec, &mut sealed, plain.len());
            assert_eq!(back.unwrap(), plain);
            let mut open = |number, pages, codec, len| {
                decoder
                    .decode(&seal(), number, pages, codec, &mut batch.bytes.clone(), len)
                    .map(<[u8]>::to_vec)
            };
            assert_eq!(open(6, 2, batch.codec, plain.len()), Err(CodecError::Seal));
            assert_eq!(open(5, 3, batch.codec, plain.len()), Err(CodecError::Seal));
            assert_eq!(open(5, 2, batch.codec, plain.len() + 1), Err(CodecError::Compression));
            assert_eq!(open(5, 2, batch.codec, plain.len() - 1), Err(CodecError::Compression));
        }
    }

    #[test]
    fn exactly_one_frame_is_taken() {
        let frame = zstd::bulk::compress(&[7; 512], 1).unwrap();
        let skip = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &frame].concat();
        let mut decoder = Decoder::new().unwrap();
        assert!(decoder.inflate(&frame, 512).is_ok());
        assert!(decoder.inflate(&[&frame[..], &frame].concat(), 1024).is_err());
        assert!(decoder.inflate(&skip, 512).is_err());
        assert!(decoder.inflate(&[&frame[..], &[0]].concat(), 512).is_err());
    }

    #[test]
    fn what_does_not_shrink_is_stored() {
        let plain: Vec<u8> =
            (0..512u32).flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes()).collect();
        let batch = Encoder::new(Compression::Fast, SelfCheck::Sampled)
            .unwrap()
            .encode(&seal(), 0, 4, &plain)
            .unwrap();
        assert_eq!(batch.codec, BatchCodec::Stored);
        assert_eq!(batch.bytes.len(), plain.len() + TAG_LEN);
    }
}
