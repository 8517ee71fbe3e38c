//! Citus: three nodes that are set up as in `docs/citus.md`.

mod needs_citus;
mod nodes;
