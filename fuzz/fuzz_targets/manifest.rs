//! Feeds [`pagekeep_fuzz::manifest`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::manifest(data);
});
