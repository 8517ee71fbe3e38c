//! The cost of other signatures and of encrypted secrets for deliveries.

use std::path::Path;

use serde::Serialize;
use webhook_harness::private_file;

use crate::progress::wait_for;
use crate::report::median;
use crate::testbed::Testbed;
use crate::throughput;

/// Events of one run.
const EVENTS: usize = 20_000;

/// Number of rounds, in each of which every kind has a run.
const ROUNDS: usize = 5;

/// Deliveries/s as a share of those of an endpoint with HMAC and a secret that is not encrypted.
#[derive(Default, Serialize)]
pub struct SigningRatio {
    pub ed25519: f64,
    pub encrypted: f64,
}

pub fn measure(testbed: &Testbed) -> SigningRatio {
    // A key of 32 bytes.
    let key_file = private_file("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n");
    set_key_file(testbed, &key_file);
    testbed.set_endpoints(1);
    let (mut ed25519, mut encrypted) = (Vec::new(), Vec::new());
    let speed = |change: &str| {
        testbed.cluster.execute(change);
        throughput::deliver(testbed, EVENTS).per_s
    };
    for _ in 0..ROUNDS {
        encrypted.push(speed("select webhook_delivery.reencrypt_secrets()"));
        let plain = speed("select webhook_delivery.reencrypt_secrets(plain => true)");
        let asymmetric = speed(
            "update webhook_endpoints set signature = 'ed25519'; select webhook_delivery.reencrypt_secrets(plain => true)",
        );
        testbed.cluster.execute("update webhook_endpoints set signature = 'hmac'");
        ed25519.push(asymmetric / plain);
        let last = encrypted.len() - 1;
        encrypted[last] /= plain;
    }
    testbed.cluster.execute("alter system reset webhook_delivery.secret_key_file");
    testbed.cluster.execute("select pg_reload_conf()");
    SigningRatio { ed25519: median(&ed25519), encrypted: median(&encrypted) }
}

fn set_key_file(testbed: &Testbed, path: &Path) {
    testbed.cluster.execute(&format!("alter system set webhook_delivery.secret_key_file = '{}'", path.display()));
    testbed.cluster.execute("select pg_reload_conf()");
    let mut session = testbed.connect();
    wait_for("the setting", 1, || {
        let is_set = "select (current_setting('webhook_delivery.secret_key_file') <> '')::int::bigint";
        session.query_one(is_set, &[]).expect("a setting").get::<_, i64>(0).unsigned_abs()
    });
}
