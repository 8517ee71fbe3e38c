//! The address guard: the rules in force, and the checks of URLs, addresses and connections.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use crate::address::NotAllowed;
use crate::url::{InvalidUrl, Rules};

/// Stands between all threads and the network. The operator may change the rules while requests are under way.
#[derive(Debug, Default)]
pub struct AddressGuard(RwLock<InForce>);

#[derive(Debug, Default)]
struct InForce {
    rules: Rules,
    /// Counts up when they change.
    version: u64,
}

impl AddressGuard {
    pub fn new(rules: Rules) -> Self {
        Self(RwLock::new(InForce { rules, version: 0 }))
    }

    /// From now on these rules hold.
    pub fn set(&self, rules: Rules) {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        in_force.rules = rules;
        in_force.version += 1;
    }

    /// Another number when the rules are others.
    pub fn version(&self) -> u64 {
        self.look(|in_force| in_force.version)
    }

    /// The URL as it is to be called.
    pub fn normal_url(&self, url: &str) -> Result<String, InvalidUrl> {
        self.look(|in_force| in_force.rules.normal_url(url))
    }

    /// Whether every one of these may be called.
    pub fn check(&self, addresses: &[IpAddr]) -> Result<(), NotAllowed> {
        let all = |in_force: &InForce| addresses.iter().all(|address| in_force.rules.allow(*address));
        if self.look(all) { Ok(()) } else { Err(NotAllowed) }
    }

    /// Whether a connection between these two may be used: with somebody who may be called, and not with this machine itself.
    pub fn check_connection(&self, peer: IpAddr, own: IpAddr) -> Result<(), NotAllowed> {
        if peer == own && !self.look(|in_force| in_force.rules.networks.list(peer)) {
            return Err(NotAllowed);
        }
        self.check(&[peer])
    }

    fn look<T>(&self, at: impl FnOnce(&InForce) -> T) -> T {
        at(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
