//! The fuzzer's entry to the target `deliveries`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::deliveries::run(input);
});
