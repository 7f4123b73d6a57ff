//! One request to one authority: a connection, an answer of bounded length, the end.

use super::AuthorityAddress;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, header};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an authority may take to accept the connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long it may take for all the rest.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody accepts the connection.
    #[error("cannot connect: {0}: is it running, is the address right?")]
    Connect(io::Error),
    /// It takes too long.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke, or what came is not HTTP.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// The answer is too long, or was cut off.
    #[error("the answer is cut off, or longer than {0} bytes")]
    Body(usize),
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Request {
    method: Method,
    path: String,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn get(path: String) -> Self {
        Request { method: Method::GET, path, body: Vec::new() }
    }

    pub(super) fn post(path: String, body: Vec<u8>) -> Self {
        Request { method: Method::POST, path, body }
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks `authority`; an answer of more than `bytes_max` bytes is not read to its end.
pub(super) async fn ask(
    authority: &AuthorityAddress,
    request: Request,
    bytes_max: usize,
) -> Result<Answer, HttpError> {
    let host = authority.host_and_port();
    let stream = match timeout(CONNECT_MAX, TcpStream::connect(&host)).await {
        Ok(stream) => stream.map_err(HttpError::Connect)?,
        Err(_) => return Err(HttpError::TimedOut),
    };
    let exchange = exchange(stream, &host, request, bytes_max);
    timeout(ANSWER_MAX, exchange).await.unwrap_or(Err(HttpError::TimedOut))
}

async fn exchange(
    stream: TcpStream,
    host: &str,
    request: Request,
    bytes_max: usize,
) -> Result<Answer, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut asked = hyper::Request::new(Full::new(Bytes::from(request.body)));
    *asked.method_mut() = request.method;
    // Both come from a parsed address and our own paths, which have no character to escape.
    if let (Ok(path), Ok(host)) = (request.path.parse(), host.parse()) {
        *asked.uri_mut() = path;
        asked.headers_mut().insert(header::HOST, host);
    }
    let answer = async {
        let response = sender.send_request(asked).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let body = body.map_err(|_| HttpError::Body(bytes_max))?.to_bytes().to_vec();
        Ok(Answer { status, body })
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end, because the authority closed it, before the last bytes of the
        // answer are taken; they are there.
        ended = connection => { ended?; answer.await }
    }
}
