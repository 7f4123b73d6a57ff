//! The signals by which an operator ends a process.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Failure, Status};

/// Set when somebody asks this process to end.
pub(super) fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).map_err(|error| deaf(&error))?;
    }
    Ok(stop)
}

/// Those of `signals` that come from now on.
pub(super) fn hear(signals: &[c_int]) -> Result<Signals, Failure> {
    Signals::new(signals).map_err(|error| deaf(&error))
}

fn deaf(error: &std::io::Error) -> Failure {
    Failure::new(Status::Failure, format!("cannot hear signals: {error}"))
}
