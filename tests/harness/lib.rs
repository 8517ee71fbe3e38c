//! The harness: what every test of this extension stands on.
//!
//! A private PostgreSQL cluster ([`Cluster`]), real HTTP receivers ([`Receiver`] in this process, [`ReceiverProgram`] in one of its own),
//! waiting that names what it waits for ([`wait_until`]), and judges of signatures that are not our own code ([`verify`]).
//! Nothing here is a stand-in: rows are written over the protocol, requests arrive over TCP.

pub mod application;
mod cluster;
mod copy;
mod endpoint;
mod guard;
mod http;
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
pub mod serve;
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
pub use installation::{Installation, checkout, installation};
pub use inventory::inventory;
pub use life_cycle::StopMode;
pub use listener::Listener;
pub use receiver::Receiver;
pub use receiver_program::{ReceiverProgram, ReceiverStats};
pub use refusal::{refusal, refused};
pub use reply::{Reply, by_path};
pub use request::Request;
pub use rest::Rest;
pub use supabase::Supabase;
pub use wait::{DEADLINE, wait_until};
