//! A switch in a network namespace of its own, which joins the hosts of a test.

use crate::hosts::{Host, Namespace, ip, namespace, wire};

/// A switch that joins hosts.
pub(crate) struct Switch(Namespace);

impl Switch {
    pub(crate) fn new() -> Self {
        let switch = namespace();
        switch.enter(|| {
            ip("link add bridge type bridge");
            ip("link set bridge up");
        });
        Switch(switch)
    }

    /// Another host, whose interface has `queues` queues.
    pub(crate) fn host(&self, number: u8, queues: u32) -> Host {
        let (host, plug) = (namespace(), format!("plug{number}"));
        wire(&host, (&self.0, &plug), queues);
        self.0.enter(|| ip(&format!("link set {plug} master bridge up")));
        Host::new(host, number)
    }
}
