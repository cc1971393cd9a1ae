//! Feeds [`pagekeep_fuzz::hold`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::hold(data);
});
