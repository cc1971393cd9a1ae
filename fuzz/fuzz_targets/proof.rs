//! Feeds [`pagekeep_fuzz::proof`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::proof(data);
});
