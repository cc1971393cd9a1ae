//! Feeds [`pagekeep_fuzz::batch_sealed`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::batch_sealed(data);
});
