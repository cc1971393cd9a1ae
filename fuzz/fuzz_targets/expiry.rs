//! Feeds [`pagekeep_fuzz::expiry`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::expiry(data);
});
