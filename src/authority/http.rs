//! What others see of an authority: three paths, bounded in size, time and number.

use super::publish::{Desk, EnterError};
use super::sources::Sources;
use crate::clock;
use crate::directory::{CONSENSUS_PATH, DESCRIPTOR_PATH, HEALTH_PATH};
use crate::http::{self, Answer, Limits, not_allowed, text, with_type};
use crate::pki::DESCRIPTOR_BYTES_MAX;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// How long a request's body may take.
const BODY_MAX: Duration = Duration::from_secs(5);
const LIMITS: Limits = Limits {
    connections_max: 256,
    head_max: Duration::from_secs(5),
    connection_max: Duration::from_secs(60),
};

/// Serves connections for ever.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let sources = Sources::default();
    let admit = |source| sources.place(source);
    http::serve(listener, LIMITS, admit, move |request| {
        let desk = desk.clone();
        async move { answer(request, &desk).await }
    })
    .await;
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
