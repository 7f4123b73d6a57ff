//! The Sphinx packet format: geometry, header, payload, unwrap, build, reply blocks.

pub mod geometry;

pub use geometry::{Geometry, GeometryError};
