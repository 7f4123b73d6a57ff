//! The fuzzer's entry to the target `consensus`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::consensus::run(input);
});
