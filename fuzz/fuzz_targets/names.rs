//! Feeds [`pagekeep_fuzz::object_names`] with what libFuzzer finds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    pagekeep_fuzz::object_names(data);
});
