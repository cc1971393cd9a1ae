//! Feeds [`pagekeep_fuzz::repository`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::repository(data);
});
