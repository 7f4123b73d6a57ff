//! The fuzzer's entry to the target `envelope`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::envelope::run(input);
});
