//! The address guard: the rules in force, and the checks of URLs, addresses and connections.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use crate::address::NotAllowed;
use crate::url::{InvalidUrl, Rules};

/// Checks the connections of all threads. The operator may change the rules while requests are in
/// flight.
#[derive(Debug, Default)]
pub struct AddressGuard(RwLock<CurrentRules>);

#[derive(Debug, Default)]
struct CurrentRules {
    rules: Rules,
    /// Increases when the rules change.
    version: u64,
}

impl AddressGuard {
    pub fn new(rules: Rules) -> Self {
        Self(RwLock::new(CurrentRules { rules, version: 0 }))
    }

    /// Applies these rules from now on.
    pub fn set(&self, rules: Rules) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        current.rules = rules;
        current.version += 1;
    }

    /// The version of the rules: a change of the rules changes it.
    pub fn version(&self) -> u64 {
        self.read(|current| current.version)
    }

    /// The normal form of the URL, which the request is sent to.
    pub fn normal_url(&self, url: &str) -> Result<String, InvalidUrl> {
        self.read(|current| current.rules.normal_url(url))
    }

    /// Checks that requests may go to all of these addresses.
    pub fn check(&self, addresses: &[IpAddr]) -> Result<(), NotAllowed> {
        let all = |current: &CurrentRules| addresses.iter().all(|address| current.rules.allow(*address));
        if self.read(all) { Ok(()) } else { Err(NotAllowed) }
    }

    /// Checks that a connection between these two may be used: requests may go to the peer, and the
    /// peer is not this machine itself.
    pub fn check_connection(&self, peer: IpAddr, own: IpAddr) -> Result<(), NotAllowed> {
        if peer == own && !self.read(|current| current.rules.networks.list(peer)) {
            return Err(NotAllowed);
        }
        self.check(&[peer])
    }

    fn read<T>(&self, at: impl FnOnce(&CurrentRules) -> T) -> T {
        at(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
