//! A client's port that notes what its wire shows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::rc::Rc;

use socket2::Socket;

use super::AuditError;
use super::neighbour::wall_nanos;
use crate::audit::uniformity::Sample;
use crate::clock::Nanos;
use crate::host::stamped;
use crate::io::{BATCH, OpenError, Port, PortCounters, Unsent};

/// When datagrams passed, by the wall clock.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// When datagrams left.
    pub(super) up: Vec<Nanos>,
    /// When datagrams came.
    pub(super) down: Vec<Nanos>,
}

/// A UDP socket.
pub(super) struct WirePort {
    socket: Socket,
    local: SocketAddr,
    buffer: Vec<u8>,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    counters: PortCounters,
    pub(super) trace: Rc<RefCell<Trace>>,
    /// What it shares with all clients of its kind.
    sample: Rc<RefCell<Sample>>,
}

impl WirePort {
    /// On a free port of `address`, for datagrams of `datagram_bytes`.
    pub(super) fn open(
        address: SocketAddr,
        datagram_bytes: usize,
        sample: Rc<RefCell<Sample>>,
    ) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Client { address, source };
        let socket = stamped::bind(address).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
        Ok(WirePort {
            socket,
            local,
            buffer: vec![0; datagram_bytes],
            outbox: VecDeque::new(),
            counters: PortCounters::default(),
            trace: Rc::default(),
            sample,
        })
    }
}

impl Port for WirePort {
    fn receive(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut count = 0;
        while count < most.min(BATCH) {
            // An error is of a datagram that was sent before: that one is lost.
            let came = stamped::receive(self.socket.as_raw_fd(), &mut self.buffer);
            let Some(stamped) = came.ok().flatten() else { break };
            self.counters.kernel_dropped = stamped.dropped.into();
            let whole = self.buffer.get(..stamped.bytes).filter(|one| one.len() == stamped.bytes);
            let (Some(datagram), Some(source)) = (whole, stamped.source()) else { continue };
            self.trace.borrow_mut().down.push(Nanos(stamped.unix_ns));
            self.sample.borrow_mut().add(source, datagram);
            if datagram.len() < self.buffer.len() {
                self.counters.wrong_length += 1;
                continue;
            }
            count += 1;
            take(source, datagram);
        }
        self.counters.received += count as u64;
        count
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        if self.outbox.len() >= BATCH {
            self.counters.send_full += 1;
            return Err(Unsent::Full);
        }
        let mut datagram = vec![0; self.buffer.len()];
        let to = fill(&mut datagram).map_err(Unsent::Refused)?;
        self.outbox.push_back((to, datagram));
        Ok(())
    }

    fn flush(&mut self) {
        while let Some((to, datagram)) = self.outbox.pop_front() {
            let at = wall_nanos();
            match self.socket.send_to(&datagram, &to.into()) {
                Ok(_) => self.counters.sent += 1,
                Err(_) => self.counters.send_failed += 1,
            }
            self.trace.borrow_mut().up.push(at);
            self.sample.borrow_mut().add(self.local, &datagram);
        }
    }

    fn queued(&self) -> usize {
        self.outbox.len()
    }

    fn datagram_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    /// A client has one thread.
    fn detach_sender(&mut self) -> Result<Self, OpenError> {
        let step = format!("send from {} by two threads", self.local);
        Err(OpenError::Refused { step, source: ErrorKind::Unsupported.into() })
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }
}
