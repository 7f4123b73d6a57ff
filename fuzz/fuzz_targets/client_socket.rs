//! The fuzzer's entry to the target `client_socket`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::client_socket::run(input);
});
