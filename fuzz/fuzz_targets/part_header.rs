//! Feeds [`pagekeep_fuzz::part_header`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::part_header(data);
});
