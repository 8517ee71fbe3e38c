//! Asymmetric signatures: an endpoint whose requests are verified with a public key.

use webhook_harness::verify::{assert_signed, with_public_key, with_python};
use webhook_harness::{Request, sample};

use crate::scene::Scene;

impl Scene {
    fn update(&mut self, change: &str) {
        let sql = format!("update webhook_endpoints set {change} where id = $1");
        self.admin.execute(&sql, &[&self.endpoint.id]).unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
    }

    fn public_key(&mut self) -> Option<String> {
        let sql = "select public_key from webhook_endpoints where id = $1";
        self.admin.query_one(sql, &[&self.endpoint.id]).unwrap().get(0)
    }
}

fn is_valid(public_key: &str, requests: &[Request]) -> bool {
    with_public_key(public_key, requests)[0].is_ok()
}

fn x_webhook_signature(requests: &[Request]) -> &str {
    requests[0].header("x-webhook-signature").unwrap()
}

#[test]
fn ed25519_endpoint_signs_with_its_private_key() {
    let mut scene = Scene::new();
    assert_eq!(scene.public_key(), None);
    scene.update("signature = 'ed25519'");
    let key = scene.public_key().expect("a public key");
    assert!(key.starts_with("whpk_") && key.len() == 49, "{key}");
    let requests = scene.next_request();
    assert!(is_valid(&key, &requests), "{requests:?}");
    let mut altered = requests.clone();
    altered[0].body.push(b' ');
    assert!(!is_valid(&key, &altered));
    // X-Webhook-Signature is that of the secret; Python objects to the other header alone.
    let verdict = with_python(&scene.endpoint.secret, &requests)[0].clone().unwrap_err();
    assert!(verdict.starts_with("webhook-signature is v1a,"), "{verdict}");
    assert!(x_webhook_signature(&requests).starts_with("sha256="));
}

#[test]
fn new_ed25519_endpoint_has_a_key_pair_of_its_own() {
    let mut scene = Scene::new();
    let insert = "insert into webhook_endpoints (auction_id, url, events, signature)
        select $1, 'https://example.com/', '{*}', 'ed25519' from generate_series(1, 2) returning public_key";
    let rows = scene.application.client.query(insert, &[&sample::RIVERSIDE]).unwrap();
    let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn rotation_replaces_secret_and_key_pair() {
    let mut scene = Scene::new();
    scene.update("signature = 'ed25519'");
    let first = scene.public_key().unwrap();
    let rotate = "select rotate_webhook_secret($1)";
    let secret: String = scene.admin.query_one(rotate, &[&scene.endpoint.id]).unwrap().get(0);
    let second = scene.public_key().unwrap();
    assert_ne!(first, second);
    let requests = scene.next_request();
    assert!(is_valid(&first, &requests) && is_valid(&second, &requests));
    assert_eq!(requests[0].header("webhook-signature").unwrap().split(' ').count(), 2);
    assert_eq!(x_webhook_signature(&requests).len(), "sha256=".len() + 64);
    scene
        .application
        .client
        .batch_execute("update webhook_delivery.endpoint_secrets set signs_until = now() where is_previous")
        .unwrap();
    let requests = scene.next_request();
    assert!(!is_valid(&first, &requests) && is_valid(&second, &requests));
    scene.update("signature = 'hmac'");
    assert_signed(&secret, &scene.next_request());
}

#[test]
fn only_the_server_sets_the_public_key() {
    let mut scene = Scene::new();
    scene.update("public_key = 'whpk_mine'");
    assert_eq!(scene.public_key(), None);
    scene.update("signature = 'ed25519', public_key = 'whpk_mine'");
    let key = scene.public_key().unwrap();
    assert_ne!(key, "whpk_mine");
    for change in ["public_key = null", "description = 'x'", "secret = 'a secret of our own, long enough'"] {
        scene.update(change);
        assert_eq!(scene.public_key().as_ref(), Some(&key), "{change}");
    }
    // An upsert of the row as it was read.
    let upsert = "insert into webhook_endpoints select * from webhook_endpoints where id = $1
        on conflict (id) do update set signature = excluded.signature, public_key = excluded.public_key";
    scene.admin.execute(upsert, &[&scene.endpoint.id]).unwrap();
    assert_eq!(scene.public_key().as_ref(), Some(&key));
    assert!(is_valid(&key, &scene.next_request()));
}

#[test]
fn key_pair_ends_with_the_signature() {
    let mut scene = Scene::new();
    scene.update("signature = 'ed25519'");
    let first = scene.public_key().unwrap();
    scene.update("signature = 'hmac'");
    assert_eq!(scene.public_key(), None);
    assert_signed(&scene.endpoint.secret.clone(), &scene.next_request());
    scene.update("signature = 'ed25519'");
    let second = scene.public_key().unwrap();
    let requests = scene.next_request();
    assert_eq!([&first, &second].map(|key| is_valid(key, &requests)), [false, true]);
}
