//! The fuzzer's entry to the target `rings`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::rings::run(input);
});
