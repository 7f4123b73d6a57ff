//! The fuzzer's entry to the target `wire`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::wire::run(input);
});
