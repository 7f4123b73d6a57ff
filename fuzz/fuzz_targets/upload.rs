//! The fuzzer's entry to the target `upload`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::upload::run(input);
});
