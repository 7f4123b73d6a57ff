//! HTTP by hand: what any program could say to an authority, and authorities that lie.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Status and body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Sends a request as it is; nothing if the other end says nothing.
pub(crate) fn exchange(to: SocketAddr, request: &[u8]) -> Option<Answer> {
    exchange_on(TcpStream::connect(to).ok()?, request)
}

/// The same on a connection that there is.
pub(crate) fn exchange_on(mut stream: TcpStream, request: &[u8]) -> Option<Answer> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    // An authority that has heard enough may close before all is written.
    let _ = stream.write_all(request);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: all[end + 4..].to_vec() })
}

pub(crate) fn fetch(to: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\n\r\n");
    exchange(to, request.as_bytes()).expect("an answer")
}

/// Posts a descriptor; the status and the reason.
pub(crate) fn post(to: SocketAddr, body: &[u8]) -> (u16, String) {
    let length = body.len();
    let head =
        format!("POST /v1/descriptor HTTP/1.1\r\nhost: {to}\r\ncontent-length: {length}\r\n\r\n");
    let answer = exchange(to, &[head.as_bytes(), body].concat()).expect("an answer");
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

/// An authority that answers every request with `body`, for ever.
pub(crate) fn liar(body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}
