//! A small HTTP server, bounded in size, time and number: one request a connection.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Bytes and lines of a request before its body.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_LINES_MAX: usize = 32;
/// The pause after the system refused a connection: too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server does not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// How long a request's head may take.
    pub head_max: Duration,
    /// How long a whole connection may take.
    pub connection_max: Duration,
}

/// What a request is answered with.
pub type Answer = Response<Full<Bytes>>;

/// Answers requests for ever. A source for which `admit` has no place is not listened to; others
/// hold theirs as long as the connection lasts.
pub async fn serve<P, A, F>(
    listener: TcpListener,
    limits: Limits,
    admit: impl Fn(IpAddr) -> Option<P>,
    answer: A,
) where
    P: Send + 'static,
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, source)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(share) = admit(source.ip()) else { continue };
        let connection = serve_one(stream, limits.head_max, answer.clone());
        tokio::spawn(async move {
            // A connection that breaks is its other end's business.
            let _ = timeout(limits.connection_max, connection).await;
            drop((place, share));
        });
    }
}

async fn serve_one<F: Future<Output = Answer>>(
    stream: TcpStream,
    head_max: Duration,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(head_max)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// One line of `words`.
pub fn text(status: StatusCode, words: &str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", format!("{words}\n").into())
}

/// A body of the media type `kind`.
pub fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The refusal of a method that is none of `methods`.
pub fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use another method");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}
