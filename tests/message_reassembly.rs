//! The inbox beside a slow model of it, over random letters. The fuzzer searches the same space;
//! this walks through it.

#[path = "../fuzz/src/reassembly.rs"]
#[allow(unreachable_pub, dead_code, reason = "it is a part of the fuzzer's library")]
mod reassembly;

use mixline::crypto::random::Rng;

#[test]
fn the_inbox_does_what_its_model_does_with_random_letters() {
    let mut rng = Rng::from_seed([1; 32]);
    let mut whole = 0;
    for _ in 0..500 {
        let mut letters = [[0; 4]; 48];
        rng.fill(letters.as_flattened_mut());
        // Few messages of few lengths: they contradict themselves at times, and get whole at times.
        for [message, number, length, _] in &mut letters {
            let is_odd = *length < 10;
            (*message, *number) = (*message % 3, *number % 4);
            *length = 5 * *message + 4 + u8::from(is_odd);
        }
        whole += u32::from(reassembly::run(letters.as_flattened()));
    }
    assert!(whole > 400, "{whole} of 500 runs complete a message");
}
