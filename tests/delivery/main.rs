//! Delivery: the worker, its requests, and what fails.

mod breaker;
mod clock;
mod failures;
mod fairness;
mod guarantees;
mod guard;
mod hostile;
mod kills;
mod locking;
mod parking;
mod pause;
mod proxy;
mod rate_limit;
mod request;
mod retention;
mod retries;
mod row_order;
mod shutdown;
mod strict_order;
mod tls;
mod worker;
mod worker_role;
