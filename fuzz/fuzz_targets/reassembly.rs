//! The fuzzer's entry to the target `reassembly`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::reassembly::run(input);
});
