//! The event families of the application.

mod channel;
mod inspection;
mod member;
mod message;
mod problem;
mod submission;
