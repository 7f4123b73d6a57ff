//! Texts that people write or pass on: configuration files, addresses.

use mixline::config::{
    self, CLIENT_KEYS, ClientFile, ConfigError, Key, NETWORK_KEYS, NODE_KEYS, NodeFile,
};
use mixline::crypto::random::Rng;
use mixline::pki::{MailboxAddress, MailboxKeys, NodeId, SigningKey};
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

/// Each kind of file with all its keys, and an address.
pub fn seeds() -> Vec<Vec<u8>> {
    let authority = SigningKey::from_secret(&[7; 32]).public();
    let digits: String = authority.iter().map(|byte| format!("{byte:02x}")).collect();
    let own = [("network.authorities", format!("[\"{digits}\"]"))];
    let address = MailboxKeys::generate(&mut Rng::from_seed([1; 32])).address(NodeId([2; 32]));
    let files = [(NODE_KEYS, &[][..]), (CLIENT_KEYS, &[]), (NETWORK_KEYS, &own)];
    let texts = files.map(|(keys, own)| whole_file(keys, own));
    texts.into_iter().chain([address.to_string()]).map(String::into_bytes).collect()
}

/// A file in which every key stands: with the value from `own`, or that of its example.
fn whole_file(keys: &[Key], own: &[(&str, String)]) -> String {
    let paths: Vec<String> = keys.iter().map(|key| format!("{}.{}", key.table, key.name)).collect();
    let examples = paths.iter().zip(keys).map(|(path, key)| (&path[..], key.example.to_owned()));
    let values: Vec<(&str, String)> = own.iter().cloned().chain(examples).collect();
    config::example("all keys", keys, &values)
}
