//! Feeds [`pagekeep_fuzz::snapshot`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::snapshot(data);
});
