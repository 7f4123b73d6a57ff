//! What others see of an authority: three paths, bounded in size, time and number.

use super::publish::{Desk, EnterError};
use super::sources::Sources;
use crate::clock;
use crate::directory::{CONSENSUS_PATH, DESCRIPTOR_PATH, HEALTH_PATH};
use crate::pki::DESCRIPTOR_BYTES_MAX;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Bytes and lines of a request before its body.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_LINES_MAX: usize = 32;
/// How long a request's head may take, then its body, and a whole connection.
const HEAD_MAX: Duration = Duration::from_secs(5);
const BODY_MAX: Duration = Duration::from_secs(5);
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// The pause after the system refused a connection: too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;

/// Serves connections for ever.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let sources = Sources::default();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, source)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(share) = sources.place(source.ip()) else { continue };
        let desk = desk.clone();
        tokio::spawn(async move {
            // A connection that breaks is its other end's business.
            let _ = timeout(CONNECTION_MAX, serve_one(stream, desk)).await;
            drop((place, share));
        });
    }
}

async fn serve_one(stream: TcpStream, desk: Arc<Desk>) -> Result<(), hyper::Error> {
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(request, &desk).await) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_LINES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: Request<Incoming>, desk: &Desk) -> Answer {
    let path = request.uri().path().to_owned();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match path.as_str() {
        DESCRIPTOR_PATH if request.method() == Method::POST => {
            take_descriptor(request.into_body(), desk).await
        }
        DESCRIPTOR_PATH => not_allowed("POST"),
        HEALTH_PATH if is_read => health(desk),
        HEALTH_PATH => not_allowed("GET, HEAD"),
        _ => match path.strip_prefix(CONSENSUS_PATH) {
            Some(which) if is_read => consensus(which, desk),
            Some(_) => not_allowed("GET, HEAD"),
            None => text(StatusCode::NOT_FOUND, "no such path"),
        },
    }
}

async fn take_descriptor(body: Incoming, desk: &Desk) -> Answer {
    let body = Limited::new(body, DESCRIPTOR_BYTES_MAX).collect();
    let bytes = match timeout(BODY_MAX, body).await {
        Ok(Ok(bytes)) => bytes.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "longer than any descriptor");
        }
        Ok(Err(_)) => return text(StatusCode::BAD_REQUEST, "the body is cut off"),
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body takes too long"),
    };
    match desk.enter(&bytes) {
        Ok(()) => text(StatusCode::OK, "entered"),
        Err(EnterError::Refused(refusal)) => {
            let status = StatusCode::from_u16(refusal.status());
            text(status.unwrap_or(StatusCode::BAD_REQUEST), &refusal.to_string())
        }
        Err(EnterError::Disk) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot be kept: try again later")
        }
    }
}

fn consensus(which: &str, desk: &Desk) -> Answer {
    let register = desk.register();
    let found = match which {
        "current" => register.current(clock::wall()).cloned(),
        epoch => epoch.parse().ok().and_then(|epoch| register.consensus(epoch).cloned()),
    };
    match found {
        Some(bytes) => with_type(StatusCode::OK, "application/cbor", bytes),
        None => text(StatusCode::NOT_FOUND, "no consensus of this epoch"),
    }
}

fn health(desk: &Desk) -> Answer {
    let register = desk.register();
    let epoch = register.epochs().at(clock::wall());
    let health = serde_json::json!({
        "network": register.anchor().network(),
        "epoch": epoch,
        "consensus": register.newest(),
        "nodes": register.nodes(),
    });
    with_type(StatusCode::OK, "application/json", format!("{health}\n").into())
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use another method");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn text(status: StatusCode, words: &str) -> Answer {
    with_type(status, "text/plain; charset=utf-8", format!("{words}\n").into())
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
