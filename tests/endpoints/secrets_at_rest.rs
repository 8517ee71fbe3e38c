//! Secrets at rest: with a key file, the database has no secret that is of use without it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postgres::Client;
use webhook_harness::verify::{assert_signed, with_public_key};
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, private_file, refusal, sample, wait_until};

const SETTING: &str = "webhook_delivery.secret_key_file";

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32]) + "\n"
}

struct Scene {
    application: Application,
    receiver: Receiver,
    endpoint: Endpoint,
    /// The key file.
    file: PathBuf,
}

impl Scene {
    /// An endpoint whose secret is encrypted.
    fn encrypted() -> Scene {
        Scene::new(true)
    }

    /// An endpoint whose secret is not encrypted, and a key file that no setting names.
    fn plain() -> Scene {
        Scene::new(false)
    }

    fn new(is_encrypted: bool) -> Scene {
        let file = private_file(&key(1));
        let path = file.display().to_string();
        let settings = [(SETTING, path.as_str())];
        let mut application = Application::start(if is_encrypted { &settings } else { &[] });
        let receiver = Receiver::start(|_| Reply::ok());
        let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        Scene { application, receiver, endpoint, file }
    }

    fn client(&mut self) -> &mut Client {
        &mut self.application.client
    }

    fn write_keys(&self, keys: &str) {
        fs::write(&self.file, keys).unwrap();
    }

    fn reencrypt(&mut self, plain: bool) -> i64 {
        self.client().query_one("select webhook_delivery.reencrypt_secrets($1)", &[&plain]).unwrap().get(0)
    }

    /// The keys that encrypt the stored secrets.
    fn key_ids(&mut self) -> Vec<Option<String>> {
        let query = "select distinct key_id from webhook_delivery.endpoint_secrets order by 1";
        self.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    fn assert_next_request_is_signed(&mut self) {
        self.receiver.clear();
        let Self { application, endpoint, receiver, .. } = self;
        endpoint.emit(&mut application.client, 1);
        assert_signed(&endpoint.secret, &receiver.wait_for(1, DEADLINE));
    }
}

/// Files under a folder that contain a text.
fn containing(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(containing(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes())) {
            found.push(path);
        }
    }
    found
}

#[test]
fn encrypted_secret_signs_and_is_nowhere_in_the_database() {
    let mut scene = Scene::encrypted();
    scene
        .client()
        .batch_execute(
            "update webhook_endpoints set signature = 'ed25519'; update webhook_endpoints set signature = 'hmac'",
        )
        .unwrap();
    scene.assert_next_request_is_signed();
    let secret = scene.endpoint.secret.clone();
    scene.client().batch_execute("checkpoint").unwrap();
    // Tables and write-ahead log.
    assert_eq!(containing(&scene.application.cluster.data_dir(), &secret), Vec::<PathBuf>::new());
    let dump = scene.application.cluster.client_command("pg_dump").output().unwrap();
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("endpoint_secrets") && !dump.contains(&secret));
    // As a control: without the setting it is in both.
    let mut plain = Scene::plain();
    plain.client().batch_execute("checkpoint").unwrap();
    assert!(!containing(&plain.application.cluster.data_dir(), &plain.endpoint.secret.clone()).is_empty());
}

#[test]
fn key_pair_and_rotated_secret_are_encrypted_too() {
    let mut scene = Scene::encrypted();
    scene.client().batch_execute("update webhook_endpoints set signature = 'ed25519'").unwrap();
    let rotate = "select rotate_webhook_secret(id), (select count(key_id) from webhook_delivery.endpoint_secrets) from webhook_endpoints";
    scene.client().query_one(rotate, &[]).unwrap();
    let counts = "select count(*), count(key_id) from webhook_delivery.endpoint_secrets";
    let row = scene.client().query_one(counts, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (4, 4));
    let public_key: String = scene.client().query_one("select public_key from webhook_endpoints", &[]).unwrap().get(0);
    scene.endpoint.emit(&mut scene.application.client, 1);
    let requests = scene.receiver.wait_for(1, DEADLINE);
    assert!(with_public_key(&public_key, &requests)[0].is_ok(), "{requests:?}");
}

#[test]
fn secrets_are_encrypted_reencrypted_and_decrypted_while_deliveries_go_on() {
    let mut scene = Scene::plain();
    assert_eq!(scene.key_ids(), [None]);
    let refused = refusal(scene.client(), "select webhook_delivery.reencrypt_secrets()", &[]);
    assert_eq!(refused.code().code(), "55000");
    let path = scene.file.display().to_string();
    scene.application.cluster.set(SETTING, &path);
    wait_until("the setting", DEADLINE, || {
        let shown: String = scene.client().query_one(&format!("show {SETTING}"), &[]).unwrap().get(0);
        (shown == path).then_some(())
    });
    // Until then the secret is used as it is.
    scene.assert_next_request_is_signed();
    assert_eq!((scene.reencrypt(false), scene.reencrypt(false)), (1, 0));
    let first = scene.key_ids();
    assert!(first[0].is_some());
    scene.assert_next_request_is_signed();
    // A new key, before the old one.
    scene.write_keys(&format!("# the new key\n{}{}", key(2), key(1)));
    scene.assert_next_request_is_signed();
    assert_eq!(scene.reencrypt(false), 1);
    assert_ne!(scene.key_ids(), first);
    scene.write_keys(&key(2));
    scene.assert_next_request_is_signed();
    assert_eq!((scene.reencrypt(true), scene.key_ids()), (1, vec![None]));
    scene.assert_next_request_is_signed();
}

#[test]
fn missing_key_stops_sending_until_it_is_there() {
    let mut scene = Scene::encrypted();
    scene.assert_next_request_is_signed();
    scene.receiver.clear();
    for (keys, problem) in [(key(2), "is encrypted with the key"), ("no key".into(), "line 1")] {
        scene.write_keys(&keys);
        scene.application.cluster.reload();
        scene.endpoint.emit(&mut scene.application.client, 1);
        let state = "select state::text, problem from webhook_delivery.status";
        wait_until("the state failing", DEADLINE, || {
            let row = scene.client().query_one(state, &[]).unwrap();
            let shown: Option<String> = row.get(1);
            (row.get::<_, String>(0) == "failing" && shown?.contains(problem)).then_some(())
        });
    }
    let diagnosis = "select result from diagnose_webhook($1) where code = 'signature'";
    let endpoint_id = scene.endpoint.id;
    let answer: String = scene.client().query_one(diagnosis, &[&endpoint_id]).unwrap().get(0);
    assert_eq!(answer, "The secret cannot be decrypted.");
    let waiting = "select count(*) from webhook_deliveries where status = 'pending'";
    assert_eq!(scene.application.count(waiting), 2);
    assert_eq!(scene.receiver.count(), 0);
    scene.write_keys(&key(1));
    scene.application.cluster.reload();
    assert_signed(&scene.endpoint.secret.clone(), &scene.receiver.wait_for(2, DEADLINE));
}

#[test]
fn unknown_key_of_one_endpoint_does_not_stop_the_others() {
    let mut scene = Scene::encrypted();
    let url = scene.receiver.url("/other");
    let other = scene.application.endpoint(sample::RIVERSIDE, &url, &["problem.created"]);
    let unknown = "update webhook_delivery.endpoint_secrets set key_id = '0000000000000000' where endpoint_id = $1";
    scene.client().execute(unknown, &[&other.id]).unwrap();
    let emit = "select webhook_delivery.emit('problem.created', $1, '{}')";
    scene.client().execute(emit, &[&sample::RIVERSIDE]).unwrap();
    // That of the other endpoint waits.
    scene.receiver.wait_for(1, DEADLINE);
    scene.assert_next_request_is_signed();
    assert_eq!(other.deliveries(scene.client())[0].status, "pending");
    let state = "select state || ': ' || problem from webhook_delivery.status";
    let state: String = scene.client().query_one(state, &[]).unwrap().get(0);
    assert!(state.starts_with("failing: the secret of endpoint") && state.contains("0000000000000000"), "{state}");
}

#[test]
fn reencryption_waits_for_transactions_that_write_secrets() {
    let mut scene = Scene::encrypted();
    let mut session = scene.application.cluster.connect();
    let mut transaction = session.transaction().unwrap();
    transaction.batch_execute("update webhook_endpoints set secret = 'written with the old key'").unwrap();
    scene.write_keys(&(key(2) + &key(1)));
    let refused = refusal(scene.client(), "select webhook_delivery.reencrypt_secrets()", &[]);
    assert_eq!(refused.code().code(), "55P03");
    transaction.commit().unwrap();
    assert_eq!(scene.reencrypt(false), 1);
    scene.write_keys(&key(2));
    scene.endpoint.secret = "written with the old key".into();
    scene.assert_next_request_is_signed();
    let refused = refusal(
        &mut session.build_transaction().isolation_level(postgres::IsolationLevel::RepeatableRead).start().unwrap(),
        "select webhook_delivery.reencrypt_secrets()",
        &[],
    );
    assert_eq!(refused.code().code(), "25000");
}

#[test]
fn key_file_that_others_may_read_is_refused() {
    let mut scene = Scene::encrypted();
    fs::set_permissions(&scene.file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut tenant = scene.application.create_tenant(sample::DANA);
    let path = scene.file.display().to_string();
    let insert = "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}')";
    // What the server sends to a client that asks for the messages of the log.
    let messages = Arc::new(Mutex::new(String::new()));
    let sent = Arc::clone(&messages);
    let mut config = scene.application.cluster.config();
    config.notice_callback(move |notice| sent.lock().unwrap().push_str(&format!("{notice:?}")));
    let mut curious = config.connect(postgres::NoTls).unwrap();
    curious.batch_execute("set client_min_messages = log; do $$ begin raise log 'the control'; end $$").unwrap();
    assert_eq!(refusal(&mut curious, insert, &[&sample::RIVERSIDE]).code().code(), "F0000");
    let messages = messages.lock().unwrap().clone();
    assert!(messages.contains("the control") && !messages.contains(&path), "{messages}");
    let refused = refusal(&mut tenant, insert, &[&sample::RIVERSIDE]);
    assert_eq!((refused.code().code(), refused.message()), ("F0000", "the secret of the endpoint cannot be encrypted"));
    assert!(!format!("{refused:?}").contains(&path), "{refused:?}");
    let log = scene.application.cluster.log();
    assert!(log.contains(&format!("other users may read {path}")), "{log}");
    // Nor does the request of a delivery disclose anything of the file.
    let endpoint_id = scene.endpoint.id;
    let request = "select webhook_request(id) from webhook_deliveries limit 1";
    scene.client().execute("select test_webhook($1, 'submission.created')", &[&endpoint_id]).unwrap();
    let refused = refusal(&mut tenant, request, &[]);
    assert_eq!((refused.code().code(), refused.message()), ("F0000", "the secret of the endpoint cannot be decrypted"));
    assert!(!format!("{refused:?}").contains(&path), "{refused:?}");
}

#[test]
fn encrypted_secret_is_of_no_use_for_another_endpoint() {
    let mut scene = Scene::encrypted();
    let url = scene.receiver.url("/other");
    let other = scene.application.endpoint(sample::RIVERSIDE, &url, &["problem.created"]);
    let swap = "update webhook_delivery.endpoint_secrets as stored set secret = (
        select taken.secret from webhook_delivery.endpoint_secrets as taken where taken.endpoint_id = $1) where stored.endpoint_id = $2";
    let endpoint_id = scene.endpoint.id;
    scene.client().execute(swap, &[&endpoint_id, &other.id]).unwrap();
    let refused = refusal(scene.client(), "select webhook_delivery.reencrypt_secrets(true)", &[]);
    assert_eq!(refused.code().code(), "F0000");
    assert!(refused.message().contains(&format!("endpoint {} was altered", other.id)), "{refused:?}");
}
