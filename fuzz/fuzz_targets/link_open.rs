//! The fuzzer's entry to the target `link_open`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::link_open::run(input);
});
