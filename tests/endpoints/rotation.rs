//! Rotation of secrets: a customer gets a new secret while receivers still accept every request.

use uuid::Uuid;
use webhook_harness::verify::{assert_signed, with_standard_webhooks};
use webhook_harness::{Request, refusal, tenant};

use crate::scene::Scene;

impl Scene {
    fn rotate(&mut self, keep_old_for: &str) -> String {
        let sql = format!("select rotate_webhook_secret(endpoint_id => $1, keep_old_for => '{keep_old_for}')");
        self.admin.query_one(&sql, &[&self.endpoint.id]).unwrap_or_else(|e| panic!("{:?}", e.as_db_error())).get(0)
    }
}

fn is_valid(secret: &str, requests: &[Request]) -> bool {
    with_standard_webhooks(secret, requests)[0].is_ok()
}

#[test]
fn kept_old_secret_and_new_secret_both_verify() {
    let mut scene = Scene::new();
    let old = scene.endpoint.secret.clone();
    let sql = "select rotate_webhook_secret($1)";
    let new: String = scene.admin.query_one(sql, &[&scene.endpoint.id]).unwrap().get(0);
    assert!(new.starts_with("whsec_") && new != old);
    let requests = scene.next_request();
    assert_signed(&new, &requests);
    assert!(is_valid(&old, &requests));
    assert_eq!(requests[0].header("webhook-signature").unwrap().split(' ').count(), 2);
    // After this time the old secret is invalid.
    scene
        .application
        .client
        .batch_execute("update webhook_delivery.endpoint_secrets set signs_until = now() where is_previous")
        .unwrap();
    let requests = scene.next_request();
    assert_signed(&new, &requests);
    assert!(!is_valid(&old, &requests));
}

#[test]
fn rotation_keeps_at_most_the_previous_secret() {
    let mut scene = Scene::new();
    let first = scene.endpoint.secret.clone();
    let second = scene.rotate("1 hour");
    let third = scene.rotate("1 hour");
    let requests = scene.next_request();
    assert_eq!([&first, &second, &third].map(|secret| is_valid(secret, &requests)), [false, true, true]);
    let fourth = scene.rotate("0");
    let requests = scene.next_request();
    assert_eq!([&second, &third, &fourth].map(|secret| is_valid(secret, &requests)), [false, false, true]);
}

#[test]
fn replaced_secret_and_its_predecessor_sign_no_more() {
    let mut scene = Scene::new();
    let first = scene.endpoint.secret.clone();
    let second = scene.rotate("1 hour");
    let own = "a secret of my own, as it leaked";
    scene.admin.execute("update webhook_endpoints set secret = $1", &[&own]).unwrap();
    let requests = scene.next_request();
    assert_eq!([&first, &second, own].map(|secret| is_valid(secret, &requests)), [false, false, true]);
}

#[test]
fn rotated_secret_is_shown_once_and_survives_an_update() {
    let mut scene = Scene::new();
    let mut transaction = scene.admin.transaction().unwrap();
    let secret: String =
        transaction.query_one("select rotate_webhook_secret($1)", &[&scene.endpoint.id]).unwrap().get(0);
    transaction.batch_execute("update webhook_endpoints set description = 'x'").unwrap();
    let shown = "select secret, generated_secret(webhook_endpoints) from webhook_endpoints";
    let row = transaction.query_one(shown, &[]).unwrap();
    assert_eq!((row.get(0), row.get(1)), (format!("...{}", &secret[secret.len() - 4..]), None::<String>));
    transaction.commit().unwrap();
    assert_signed(&secret, &scene.next_request());
}

#[test]
fn failed_rotation_does_not_affect_a_later_update() {
    let mut scene = Scene::new();
    let secret = scene.endpoint.secret.clone();
    let client = &mut scene.application.client;
    client
        .batch_execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
             create trigger refuse before update on webhook_endpoints for each row execute function refuse()",
        )
        .unwrap();
    let mut transaction = client.transaction().unwrap();
    transaction.batch_execute("savepoint here").unwrap();
    assert!(transaction.query("select rotate_webhook_secret($1)", &[&scene.endpoint.id]).is_err());
    transaction
        .batch_execute("rollback to here; drop trigger refuse on webhook_endpoints; update webhook_endpoints set description = 'x'")
        .unwrap();
    transaction.commit().unwrap();
    assert_signed(&secret, &scene.next_request());
}

#[test]
fn only_administrators_of_an_endpoint_rotate_its_secret() {
    let mut scene = Scene::new();
    let mut other = tenant::session_of(&scene.application.cluster, "tenant", Uuid::new_v4());
    for id in [scene.endpoint.id, Uuid::new_v4()] {
        let error = refusal(&mut other, "select rotate_webhook_secret($1)", &[&id]);
        assert_eq!(error.code().code(), "PT404");
        assert_eq!(error.message(), format!("webhook endpoint {id} does not exist"));
        assert!(error.hint().is_some());
    }
    // A rotation begun by a tenant without access does not turn a later update into a rotation.
    let note = "select webhook_delivery.begin_rotation($1, 60)";
    other.execute(note, &[&scene.endpoint.id]).unwrap();
    scene.application.client.batch_execute("update webhook_endpoints set description = 'x'").unwrap();
    assert_signed(&scene.endpoint.secret.clone(), &scene.next_request());
    for keep in ["-1 hour", "31 days"] {
        let sql = format!("select rotate_webhook_secret($1, '{keep}')");
        let error = refusal(&mut scene.admin, &sql, &[&scene.endpoint.id]);
        assert_eq!(error.code().code(), "22023");
        assert!(error.hint().unwrap().contains("30 days"));
    }
}
