//! The harness that all tests of this extension use.
//!
//! It has private PostgreSQL clusters ([`Cluster`]), HTTP receivers ([`Receiver`] in this process,
//! [`ReceiverProgram`] in a process of its own), waiting for a named condition ([`wait_until`]),
//! and verifiers of signatures that are not our own code ([`verify`]). There are no mocks: rows are
//! written over the PostgreSQL protocol, and requests arrive over TCP.

pub mod application;
mod cluster;
mod copy;
mod endpoint;
mod guard;
mod http;
pub mod http_server;
mod installation;
mod inventory;
mod life_cycle;
pub mod listener;
mod receiver;
mod receiver_program;
mod refusal;
mod reply;
mod request;
pub mod rest;
mod session;
mod settings;
mod supabase;
mod template;
pub mod tenant;
pub mod tls;
pub mod verify;
mod wait;

pub use application::{Application, Submission, sample};
pub use cluster::{Cluster, ClusterBuilder};
pub use endpoint::{AttemptRow, Delivery, Endpoint};
pub use installation::{Installation, checkout, installation, private_file};
pub use inventory::inventory;
pub use life_cycle::StopMode;
pub use listener::Listener;
pub use receiver::Receiver;
pub use receiver_program::{ReceiverProgram, ReceiverStats};
pub use refusal::{refusal, server_error};
pub use reply::{Reply, by_path};
pub use request::Request;
pub use rest::Rest;
pub use supabase::Supabase;
pub use wait::{DEADLINE, wait_until};
