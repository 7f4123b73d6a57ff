//! The file of a directory authority, `mixline-authority.toml`.

use super::error::Source;
use super::values::{self, Count, Span};
use super::{ConfigError, LogLevel, read};
use crate::authority::{Policy, Seat};
use crate::clock::Nanos;
use crate::pki::{Epochs, NodeId, Parameters, Rate, Rates};
use crate::sphinx::Geometry;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The most bytes of a payload that anybody can ask for; the geometry knows the real bound.
const PAYLOAD_BYTES_MAX: usize = 1 << 16;
/// The highest weight of a mix relative to the others.
const WEIGHT_MAX: usize = 1_000_000;

/// The options of an authority, checked.
#[derive(Clone, Debug)]
pub struct AuthorityFile {
    /// The file with the trust anchor.
    pub network: PathBuf,
    /// The folder of its key.
    pub keys: PathBuf,
    /// The address of its HTTP server.
    pub listen: SocketAddr,
    /// The folder of its state.
    pub state: PathBuf,
    /// What the network shall be.
    pub policy: Policy,
    /// What is logged.
    pub log: LogLevel,
}

impl AuthorityFile {
    /// Reads and checks the file `path`.
    ///
    /// # Errors
    /// When it cannot be read or says something that cannot be.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path)
    }

    /// Checks `text`, the contents of the file `path`.
    ///
    /// # Errors
    /// When it says something that cannot be.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let Text { authority, network, rates, admission, log } = source.parse()?;
        let parameters = parameters(&network, &rates, source)?;
        let epochs = epochs(&network.get_ref().epoch, source)?;
        let seats = admission.seats.as_deref();
        let seats = seats.map(|seats| seat_list(seats, parameters.layers, source)).transpose()?;
        let listen = authority.listen.get_ref();
        Ok(AuthorityFile {
            network: source.beside(&authority.network),
            keys: source.beside(&authority.keys),
            listen: values::listen(listen)
                .map_err(|message| source.fault(authority.listen.span(), message))?,
            state: source.beside(&authority.state),
            policy: Policy { epochs, parameters, seats },
            log: log.level,
        })
    }
}

/// The epochs of the length that was written.
pub(super) fn epochs(written: &Spanned<Span>, source: Source<'_>) -> Result<Epochs, ConfigError> {
    let span = written.get_ref().0;
    let whole = Some(span.as_secs()).filter(|_| span.subsec_nanos() == 0);
    let epochs = whole.map_or_else(|| Epochs::new(0), Epochs::new);
    epochs.map_err(|error| source.fault(written.span(), error.to_string()))
}

fn parameters(
    network: &Spanned<NetworkText>,
    rates: &RatesText,
    source: Source<'_>,
) -> Result<Parameters, ConfigError> {
    let refused = |message: String| source.fault(network.span(), message);
    let NetworkText { layers, delay_mean, payload_bytes, .. } = network.get_ref();
    let parameters = Parameters {
        layers: u8::try_from(layers.0).unwrap_or(u8::MAX),
        delay_mean: Nanos::from(delay_mean.0),
        rates: rates.rates(),
        geometry: Geometry::new(payload_bytes.0).map_err(|error| refused(error.to_string()))?,
    };
    parameters.check().map_err(|error| refused(error.to_string()))?;
    Ok(parameters)
}

fn seat_list(
    written: &[SeatText],
    layers: u8,
    source: Source<'_>,
) -> Result<BTreeMap<NodeId, Seat>, ConfigError> {
    let mut seats = BTreeMap::new();
    for seat in written {
        let refused = |message: &str| {
            let text = seat.node.get_ref();
            source.fault(seat.node.span(), format!("{text:?} {message} in `admission.seats`"))
        };
        let id: NodeId = seat.node.get_ref().parse().map_err(|_| {
            refused("is no node: `mixline key show` prints the 64 digits of its identity")
        })?;
        let layer = u8::try_from(seat.layer.0).ok().filter(|layer| *layer <= layers);
        let layer = layer.ok_or_else(|| refused("is in a layer that the network does not have"))?;
        let weight = u32::try_from(seat.weight.0).unwrap_or(1);
        if seats.insert(id, Seat { layer: (layer > 0).then_some(layer), weight }).is_some() {
            return Err(refused("has two seats"));
        }
    }
    Ok(seats)
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    authority: AuthorityText,
    #[serde(default = "network_default")]
    network: Spanned<NetworkText>,
    #[serde(default)]
    rates: RatesText,
    #[serde(default)]
    admission: AdmissionText,
    #[serde(default)]
    log: LogText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityText {
    #[serde(deserialize_with = "values::path")]
    network: PathBuf,
    #[serde(default = "keys_default", deserialize_with = "values::path")]
    keys: PathBuf,
    #[serde(default = "listen_default")]
    listen: Spanned<String>,
    #[serde(default = "state_default", deserialize_with = "values::path")]
    state: PathBuf,
}

fn keys_default() -> PathBuf {
    "keys".into()
}

fn listen_default() -> Spanned<String> {
    Spanned::new(0..0, "127.0.0.1:7780".to_owned())
}

fn state_default() -> PathBuf {
    "state".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NetworkText {
    epoch: Spanned<Span>,
    layers: Count<1, 255>,
    delay_mean: Span,
    payload_bytes: Count<1, PAYLOAD_BYTES_MAX>,
}

impl Default for NetworkText {
    fn default() -> Self {
        NetworkText {
            epoch: values::epoch_default(),
            layers: Count(3),
            delay_mean: Span::from_millis(200),
            payload_bytes: Count(Geometry::DEFAULT.payload_bytes()),
        }
    }
}

fn network_default() -> Spanned<NetworkText> {
    Spanned::new(0..0, NetworkText::default())
}

/// Packets a second.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RatesText {
    #[serde(deserialize_with = "values::rate")]
    payload: Rate,
    #[serde(deserialize_with = "values::rate")]
    client_loop: Rate,
    #[serde(deserialize_with = "values::rate")]
    client_drop: Rate,
    #[serde(deserialize_with = "values::rate")]
    mix_loop: Rate,
    #[serde(deserialize_with = "values::rate")]
    gateway_loop: Rate,
}

impl Default for RatesText {
    fn default() -> Self {
        let Rates { payload, client_loop, client_drop, mix_loop, gateway_loop } = Rates::default();
        RatesText { payload, client_loop, client_drop, mix_loop, gateway_loop }
    }
}

impl RatesText {
    fn rates(&self) -> Rates {
        let RatesText { payload, client_loop, client_drop, mix_loop, gateway_loop } = *self;
        Rates { payload, client_loop, client_drop, mix_loop, gateway_loop }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdmissionText {
    seats: Option<Vec<SeatText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeatText {
    node: Spanned<String>,
    layer: Count<0, 255>,
    #[serde(default = "weight_default")]
    weight: Count<1, WEIGHT_MAX>,
}

fn weight_default() -> Count<1, WEIGHT_MAX> {
    Count(1)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogText {
    level: LogLevel,
}
