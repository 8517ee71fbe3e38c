//! What can be done with what was sent, or waits to be, by somebody who may not write to the queue?
//!
//! Each of these asks in the caller's name what he sees, and then changes that in ours.

mod again;
mod allowance;
mod cancel;
mod expunge;
mod pace;
mod past_parking;
mod replay;
mod sent;
mod visible;
