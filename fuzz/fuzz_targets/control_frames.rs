//! The fuzzer's entry to the target `control_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mixline_fuzz::control_frames::run(input);
});
