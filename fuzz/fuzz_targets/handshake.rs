//! The fuzzer's entry to the target `handshake`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::handshake::run(input);
});
