//! The fuzzer's entry to the target `configuration`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::configuration::run(input);
});
