//! What applications send to the client daemon, and what it answers them.

use mixline::client::protocol::{
    self, Answer, BODY_BYTES_MAX, Call, Reason, Reply, Request, Status,
};

/// The input as a stream of frames, each of them as a request and as an answer. What is read is
/// written, and reads the same. Accepted when one of them is a request.
pub fn run(input: &[u8]) -> bool {
    let (mut stream, mut accepted) = (input, false);
    while let Ok(Some(body)) = protocol::read_frame(&mut stream) {
        assert!(body.len() <= BODY_BYTES_MAX && body.len() <= input.len());
        if let Ok(request) = protocol::decode::<Request>(&body) {
            let again = protocol::encode(&request);
            assert_eq!(protocol::decode(&again[4..]).as_ref(), Ok(&request));
            accepted = true;
        }
        if let Ok(answer) = protocol::decode::<Answer>(&body) {
            let again = protocol::encode(&answer);
            assert_eq!(protocol::decode(&again[4..]).as_ref(), Ok(&answer));
        }
    }
    accepted
}

/// Each request, several in one stream, some answers, a length that is too long.
pub fn seeds() -> Vec<Vec<u8>> {
    let calls = [
        Call::Send { to: "a".repeat(160), message: vec![1, 2, 3], deadline_ms: 60_000 },
        Call::Receive { wait_ms: 1000 },
        Call::Acknowledge { number: 7 },
        Call::Address,
        Call::Status,
    ];
    let requests = (1..).zip(calls).map(|(id, call)| protocol::encode(&Request { id, call }));
    let mut seeds: Vec<_> = requests.collect();
    seeds.push(seeds.concat());
    let replies = [
        Reply::Refused { reason: Reason::QueueFull, text: "later".into() },
        Reply::Message { number: 9, message: vec![4; 20] },
        Reply::Status { status: Status { refusal: Some("full".into()), ..Status::default() } },
    ];
    seeds.extend((1..).zip(replies).map(|(id, reply)| protocol::encode(&Answer { id, reply })));
    seeds.push(vec![0xff; 8]);
    seeds
}
