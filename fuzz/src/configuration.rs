//! Texts that people write or pass on: configuration files, addresses.

use mixline::config::{self, ClientFile, ConfigError, NodeFile};
use mixline::pki::{MailboxAddress, MailboxKeys, NodeId};
use mixline::crypto::random::Rng;
use std::path::Path;

/// The input as each of the files and as an address. Accepted when it is one of them.
pub fn run(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let path = Path::new("mixline.toml");
    let address = text.parse::<MailboxAddress>();
    if let Ok(address) = &address {
        assert_eq!(address.to_string().parse::<MailboxAddress>().as_ref(), Ok(address));
    }
    is_good(NodeFile::parse(&text, path))
        | is_good(ClientFile::parse(&text, path))
        | is_good(config::parse_anchor(&text, path))
        | address.is_ok()
}

/// An error must point at a place in the file, and can be shown.
fn is_good<T>(outcome: Result<T, ConfigError>) -> bool {
    if let Err(error) = &outcome {
        let fault = error.fault().expect("only the text can be wrong");
        assert!(fault.line >= 1 && fault.column >= 1);
        assert!(!error.to_string().is_empty());
    }
    outcome.is_ok()
}
