//! The fuzzer's entry to the target `unwrap`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::unwrap::run(input);
});
