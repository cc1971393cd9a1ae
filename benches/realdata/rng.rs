//! A small deterministic generator of pseudo-random numbers and of words that look like text.
//!
//! Invariant: the same seed gives the same sequence, on every machine and with every version of
//! every dependency; that is why none is used.

/// SplitMix64: one word of state, and good enough for test data.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of one purpose: streams with different labels do not follow each other.
    pub fn new(seed: u64, label: &str) -> Self {
        let hash = blake3::hash(format!("{label}/{seed}").as_bytes());
        let mut word = [0; 8];
        word.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_le_bytes(word))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low) as u64) as i64
    }

    /// A float in (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Whether an event of one in `n` happens.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// `digits` lower-case hex digits.
    pub fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(digits);
        text
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }
}

/// Invented words, some much more frequent than others as in any language.
#[derive(Clone, Debug)]
pub struct Words(Vec<String>);

impl Words {
    pub fn new(seed: u64) -> Self {
        const PARTS: [&str; 40] = [
            "ba", "ker", "lo", "min", "ta", "ren", "so", "vi", "du", "pal", "ne", "tor", "li",
            "gas", "he", "mo", "cri", "an", "fe", "sul", "or", "pi", "wen", "za", "the", "ing",
            "un", "dra", "co", "il", "est", "ju", "ran", "qui", "o", "bel", "sto", "ma", "ger",
            "ye",
        ];
        let mut rng = Rng::new(seed, "words");
        let word = |rng: &mut Rng| -> String {
            (0..1 + rng.below(4)).map(|_| *rng.pick(&PARTS)).collect()
        };
        Self((0..30_000).map(|_| word(&mut rng)).collect())
    }

    /// A word; the first of the list come far more often than the last.
    pub fn word(&self, rng: &mut Rng) -> &str {
        let rank = (self.0.len() as f64).powf(rng.unit()) as usize;
        &self.0[rank.saturating_sub(1)]
    }

    /// One line of `count` words that ends like a sentence.
    pub fn line(&self, rng: &mut Rng, count: u64) -> String {
        let mut line = String::new();
        for i in 0..count {
            if i > 0 {
                line.push_str(if rng.one_in(9) { ", " } else { " " });
            }
            line.push_str(self.word(rng));
        }
        line.push('.');
        line
    }

    /// Lines and paragraphs, of about `bytes` bytes.
    pub fn text(&self, rng: &mut Rng, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 128);
        while text.len() < bytes {
            let count = 4 + rng.below(12);
            text.push_str(&self.line(rng, count));
            text.push_str(if rng.one_in(6) { "\n\n" } else { "\n" });
        }
        text
    }
}
