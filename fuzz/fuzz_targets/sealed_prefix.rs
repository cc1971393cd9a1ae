//! Feeds [`pagekeep_fuzz::sealed_prefix`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::sealed_prefix(data);
});
