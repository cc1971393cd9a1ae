//! Feeds [`pagekeep_fuzz::index_frame`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::index_frame(data);
});
