//! The forge: repositories over gRPC and HTTP.
//!
//! ```text
//! peer, spaced → settings, work, telemetry, transport, requests → forge → { grpc │ http } → router → service → start → main
//!                                           neither sees the other
//! ```
//!
//! [`Service::start`] opens a port from settings and parts; [`start`] is the only place that picks
//! implementations, and `main` the only one that reads the environment or exits.

pub mod args;
pub mod commands;
pub mod descriptors;
pub mod forge;
pub mod grpc;
pub mod http;
pub mod lock;
pub mod meaning;
pub mod origin;
pub mod peer;
pub mod reading;
pub mod requests;
pub mod router;
pub mod service;
pub mod settings;
pub mod signals;
pub mod spaced;
pub mod start;
pub mod telemetry;
pub mod transport;
pub mod waiting;
pub mod work;

pub use service::{Handle, Parts, Service, StartError};
pub use settings::Settings;
