//! Feeds [`pagekeep_fuzz::recovery_key`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::recovery_key(data);
});
