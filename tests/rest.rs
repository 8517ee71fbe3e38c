//! The calls of the product's documentation, through a REST server and on a database such as Supabase's.

use std::process::Command;

use serde_json::{Value, json};
use uuid::Uuid;
use webhook_harness::rest::{Answer, token, token_of};
use webhook_harness::{DEADLINE, Receiver, Reply, Rest, Supabase, checkout, installation, sample, wait_until};

struct Scene {
    rest: Rest,
    supabase: Supabase,
    receiver: Receiver,
    /// Of an administrator of Riverside.
    dana: String,
    /// Of an administrator of Hilltop.
    kim: String,
}

impl Scene {
    fn new(settings: &[(&str, &str)]) -> Scene {
        let supabase = Supabase::start(settings);
        let rest = Rest::start(&supabase.cluster);
        let receiver = Receiver::start(|_| Reply::ok());
        Scene { rest, supabase, receiver, dana: token_of(sample::DANA), kim: token_of(sample::KIM) }
    }

    /// The body of the documentation.
    fn endpoint(&self, auction_id: Uuid) -> Value {
        json!({
            "auction_id": auction_id,
            "url": self.receiver.url("/webhooks/ae"),
            "events": ["submission.created", "inspection.created"],
            "secret": "your-signing-secret",
            "is_active": true
        })
    }

    #[track_caller]
    fn create(&self, token: &str, auction_id: Uuid) -> Value {
        let made =
            self.rest.call("POST", "/webhook_endpoints", Some(token), Some(self.endpoint(auction_id))).expect(201);
        made[0].clone()
    }
}

impl Scene {
    /// Until nothing is left to be sent.
    #[track_caller]
    fn wait_for_success(&mut self) {
        wait_until("an empty queue", DEADLINE, || {
            let left = self.supabase.admin.query_one("select count(*) from webhook_delivery.queue", &[]).unwrap();
            (left.get::<_, i64>(0) == 0).then_some(())
        });
    }
}

fn test_call(endpoint: &Value) -> Option<Value> {
    Some(json!({ "endpoint_id": endpoint["id"], "event_type": "submission.created" }))
}

#[test]
fn the_two_documented_calls_create_an_endpoint_and_test_it() {
    let scene = Scene::new(&[]);
    let body = Some(scene.endpoint(sample::RIVERSIDE));
    let plain = scene.rest.call_with("POST", "/webhook_endpoints", Some(&scene.dana), body, "return=minimal");
    assert_eq!((plain.status, plain.body), (201, Value::Null));
    let endpoints = scene.rest.call("GET", "/webhook_endpoints", Some(&scene.dana), None).expect(200);
    assert_eq!(endpoints[0]["secret"], "...cret");

    let answer = scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&endpoints[0])).expect(200);
    assert_eq!(answer["status"], "pending");
    let request = &scene.receiver.wait_for_distinct(1, DEADLINE)[0];
    assert_eq!(request.header("webhook-id"), answer["delivery_id"].as_str());
}

#[test]
fn a_secret_is_changed_and_a_disabled_endpoint_enabled_as_a_page_does_it() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let call = Some(json!({ "endpoint_id": endpoint["id"] }));
    let secret = scene.rest.call("POST", "/rpc/rotate_webhook_secret", Some(&scene.dana), call.clone()).expect(200);
    assert!(secret.as_str().unwrap().starts_with("whsec_"), "{secret}");
    scene.rest.call("POST", "/rpc/rotate_webhook_secret", Some(&scene.kim), call).expect(404);
    let wrong = Some(json!({ "endpoint_id": endpoint["id"], "keep_old_for": "1 year" }));
    scene.rest.call("POST", "/rpc/rotate_webhook_secret", Some(&scene.dana), wrong).expect(400);

    let own = format!("/webhook_endpoints?id=eq.{}", endpoint["id"].as_str().unwrap());
    let terms = json!({
        "headers": { "X-Environment": "test" }, "retry_schedule": ["1 minute", "01:00:00"], "ordered": true, "max_per_second": 2.5
    });
    let changed = scene.rest.call("PATCH", &own, Some(&scene.dana), Some(terms.clone())).expect(200);
    assert_eq!(changed[0]["retry_schedule"], json!(["00:01:00", "01:00:00"]));
    assert_eq!((&changed[0]["headers"], &changed[0]["max_per_second"]), (&terms["headers"], &json!(2.5)));
    let disable = "update webhook_endpoints set is_active = false, disabled_at = now(), disabled_reason = 'it fails'";
    scene.supabase.run_as_admin(disable);
    let seen = scene.rest.call("GET", &own, Some(&scene.dana), None).expect(200);
    assert_eq!(seen[0]["disabled_reason"], "it fails");
    // A page writes back what it has read, but for what was changed in it.
    let mut row = seen[0].clone();
    row["is_active"] = json!(true);
    let enabled = scene.rest.call("PATCH", &own, Some(&scene.dana), Some(row)).expect(200);
    assert_eq!((&enabled[0]["is_active"], &enabled[0]["disabled_at"]), (&json!(true), &Value::Null));
}

#[test]
fn what_is_wrong_with_an_endpoint_is_the_clients_fault_and_is_said() {
    let scene = Scene::new(&[("webhook_delivery.allow_http", "off")]);
    let url = |url: &str| json!({ "url": url });
    let good = json!({
        "auction_id": sample::RIVERSIDE, "url": "https://example.com/", "events": ["*"], "secret": "your-signing-secret"
    });
    let far = format!("https://example.com/{}", "a".repeat(10_000));
    for (wrong, words) in [
        (url("http://example.com/"), "https"),
        (url("https://example.com/a\nHost: evil"), "control characters"),
        (url("https://example.com/\u{0}"), ""),
        (url(&far), "more than 2000 characters"),
        (url("https://[example.com/"), ""),
        (json!({ "events": ["submission.deleted"] }), "submission.deleted"),
        (json!({ "events": [] }), "events_has_1_to_100_entries"),
        (json!({ "events": ["a".repeat(10_000)] }), "unknown event type"),
        (json!({ "secret": "short" }), "16"),
        (json!({ "description": "a".repeat(10_000) }), "description_is_at_most_1000_characters"),
        (json!({ "auction_id": "no uuid" }), "uuid"),
        (json!({ "auctions": 1 }), "auctions"),
    ] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let answer = scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), Some(body));
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
        let text = answer.body.to_string();
        assert!(text.contains(words) && text.len() < 2_000, "{wrong}: {text}");
    }
    let made = scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), Some(good.clone())).expect(201);
    let mut again = good;
    again["id"] = made[0]["id"].clone();
    scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), Some(again)).expect(409);
    let own = format!("/webhook_endpoints?id=eq.{}", made[0]["id"].as_str().unwrap());
    let changed = scene.rest.call("PATCH", &own, Some(&scene.dana), Some(url("https://bücher.example/"))).expect(200);
    assert_eq!(changed[0]["url"], "https://xn--bcher-kva.example/");
}

/// The answer with every id in it made the same.
fn without(answer: &Answer, id: &str) -> String {
    format!("{} {}", answer.status, answer.body).replace(id, "<id>")
}

#[test]
fn an_endpoint_of_another_auction_is_not_there_whatever_is_tried() {
    let scene = Scene::new(&[]);
    let hilltop = scene.create(&scene.kim, sample::HILLTOP);
    let riverside = scene.create(&scene.dana, sample::RIVERSIDE);
    let there = hilltop["id"].as_str().unwrap();
    let nowhere = Uuid::new_v4().to_string();
    let dana = Some(scene.dana.as_str());
    let same = |what: &str, call: &dyn Fn(&str) -> Answer| {
        let [there, nowhere] = [there, nowhere.as_str()].map(|id| without(&call(id), id));
        assert_eq!(there, nowhere, "{what}");
        there
    };
    let with_id = |id: &str, auction_id: Uuid| {
        let mut body = scene.endpoint(auction_id);
        body["id"] = json!(id);
        Some(body)
    };
    for (prefer, path) in [
        ("return=representation", "/webhook_endpoints"),
        ("resolution=merge-duplicates", "/webhook_endpoints"),
        ("resolution=ignore-duplicates", "/webhook_endpoints?on_conflict=id"),
    ] {
        for auction_id in [sample::RIVERSIDE, sample::HILLTOP] {
            let written = same(prefer, &|id| scene.rest.call_with("POST", path, dana, with_id(id, auction_id), prefer));
            assert!(written.starts_with('4'), "{written}");
        }
    }
    for (method, body) in [("GET", None), ("PATCH", Some(json!({ "is_active": false }))), ("DELETE", None)] {
        let found =
            same(method, &|id| scene.rest.call(method, &format!("/webhook_endpoints?id=eq.{id}"), dana, body.clone()));
        assert_eq!(found, "200 []", "{method}");
    }
    let counted = scene.rest.call_with("GET", "/webhook_endpoints", dana, None, "count=exact");
    assert_eq!(counted.content_range.as_deref(), Some("0-0/1"));
    for event_type in ["submission.created", "no.such"] {
        let tested = same(event_type, &|id| {
            let body = json!({ "endpoint_id": id, "event_type": event_type });
            scene.rest.call("POST", "/rpc/test_webhook", dana, Some(body))
        });
        assert!(tested.starts_with("404"), "{tested}");
    }
    // Nor does he get his own into it.
    let own = format!("/webhook_endpoints?id=eq.{}", riverside["id"].as_str().unwrap());
    scene.rest.call("PATCH", &own, dana, Some(json!({ "auction_id": sample::HILLTOP }))).expect(400);
    let all = scene
        .rest
        .call("GET", "/webhook_endpoints?order=auction_id", Some(&token("service_role", None)), None)
        .expect(200);
    assert_eq!(all, json!([riverside, hilltop]));
}

#[test]
fn without_a_token_there_is_nothing_and_with_the_service_roles_everything() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let service = token("service_role", None);
    let called = scene.rest.call("POST", "/rpc/test_webhook", Some(&service), test_call(&endpoint)).expect(200);
    scene.receiver.wait_for_distinct(1, DEADLINE);
    scene.wait_for_success();
    for relation in ["webhook_endpoints", "webhook_deliveries", "webhook_delivery_attempts", "webhook_event_types"] {
        let path = format!("/{relation}");
        let answer = scene.rest.call("GET", &path, None, None);
        assert!([401, 403].contains(&answer.status), "{relation}: {answer:?}");
        let all = scene.rest.call("GET", &path, Some(&service), None).expect(200);
        assert!(!all.as_array().unwrap().is_empty(), "{relation}");
    }
    let anonymous = scene.rest.call("POST", "/rpc/test_webhook", None, test_call(&endpoint));
    assert!([401, 403, 404].contains(&anonymous.status), "{anonymous:?}");
    let delivery = format!("/webhook_deliveries?id=eq.{}", called["delivery_id"].as_str().unwrap());
    assert_eq!(scene.rest.call("GET", &delivery, Some(&service), None).expect(200)[0]["status"], "success");
}

#[test]
fn a_member_who_is_no_administrator_sees_only_the_catalogue() {
    let scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let sam = token_of(sample::SAM);
    for relation in ["webhook_endpoints", "webhook_deliveries", "webhook_delivery_attempts"] {
        assert_eq!(
            scene.rest.call("GET", &format!("/{relation}"), Some(&sam), None).expect(200),
            json!([]),
            "{relation}"
        );
    }
    let body = Some(scene.endpoint(sample::RIVERSIDE));
    let answer = scene.rest.call("POST", "/webhook_endpoints", Some(&sam), body);
    assert!([401, 403].contains(&answer.status), "{answer:?}");
    scene.rest.call("POST", "/rpc/test_webhook", Some(&sam), test_call(&endpoint)).expect(404);
    let known = scene.rest.call("GET", "/webhook_event_types?select=event_type", Some(&sam), None).expect(200);
    assert_eq!(known.as_array().unwrap().len(), 21);
}

#[test]
fn rows_come_with_those_that_belong_to_them_and_in_pages() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    scene.create(&scene.kim, sample::HILLTOP);
    for _ in 0..5 {
        scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&endpoint)).expect(200);
    }
    scene.wait_for_success();
    let get = |path: &str| scene.rest.call("GET", path, Some(&scene.dana), None).expect(200);
    let with_all = get("/webhook_endpoints?select=id,webhook_deliveries(id,status,webhook_delivery_attempts(attempt))");
    assert_eq!(with_all.as_array().unwrap().len(), 1);
    assert_eq!(with_all[0]["webhook_deliveries"].as_array().unwrap().len(), 5);
    assert_eq!(with_all[0]["webhook_deliveries"][0]["webhook_delivery_attempts"], json!([{ "attempt": 1 }]));
    let two = get(
        "/webhook_endpoints?select=*,webhook_deliveries(*)&webhook_deliveries.order=created_at.desc,id.desc&webhook_deliveries.limit=2",
    );
    assert_eq!(two[0]["webhook_deliveries"].as_array().unwrap().len(), 2);
    let url = get("/webhook_deliveries?select=status,webhook_endpoints(url)&limit=1");
    assert_eq!(url, json!([{ "status": "success", "webhook_endpoints": { "url": endpoint["url"] } }]));

    let newest = "/webhook_deliveries?select=id&order=created_at.desc,id.desc";
    let (all, page) = (get(newest), get(&format!("{newest}&limit=2&offset=2")));
    assert_eq!(page, json!([all[2], all[3]]));
    for (prefer, range) in [("count=exact", "0-1/5"), ("count=planned", "0-1/"), ("count=estimated", "0-1/")] {
        let counted = scene.rest.call_with("GET", &format!("{newest}&limit=2"), Some(&scene.dana), None, prefer);
        let found = counted.content_range.clone().unwrap_or_default();
        assert!([200, 206].contains(&counted.status) && found.starts_with(range), "{prefer}: {counted:?}");
    }
}

#[test]
fn a_tenants_own_row_makes_his_auctions_event_and_nothing_he_can_do_makes_anothers() {
    let mut scene = Scene::new(&[]);
    scene.create(&scene.dana, sample::RIVERSIDE);
    scene.create(&scene.kim, sample::HILLTOP);
    let submission = |auction_id: Uuid, location_id: Uuid| {
        Some(json!({ "auction_id": auction_id, "location_id": location_id, "user_id": sample::DANA }))
    };
    let own = submission(sample::RIVERSIDE, sample::NORTH_LOT);
    scene.rest.call("POST", "/submissions", Some(&scene.dana), own).expect(201);
    let request = &scene.receiver.wait_for_distinct(1, DEADLINE)[0];
    assert_eq!(request.json()["auction_id"], json!(sample::RIVERSIDE));
    let others =
        scene.rest.call("POST", "/submissions", Some(&scene.dana), submission(sample::HILLTOP, sample::MAIN_LOT));
    assert!([401, 403].contains(&others.status), "{others:?}");

    let hilltop = scene.rest.call("GET", "/webhook_endpoints?select=id", Some(&scene.kim), None).expect(200);
    let mut dana = webhook_harness::tenant::session_of(&scene.supabase.cluster, "authenticated", sample::DANA);
    let queue_test = format!(
        "select webhook_delivery.queue_test({}, 'submission.created')",
        hilltop[0]["id"].to_string().replace('"', "'")
    );
    assert_eq!(dana.query_one(&queue_test, &[]).unwrap().get::<_, Option<Uuid>>(0), None);
    dana.batch_execute("create temp table mine (id uuid, auction_id uuid)").unwrap();
    for forbidden in [
        "select webhook_delivery.emit('submission.created', '00000000-0000-4000-8000-000000000002', '{}')",
        "create trigger mine after insert on mine for each row execute function webhook_delivery.row_event('submission.created', 'auction_id')",
        "create trigger mine after insert on mine for each row execute function webhook_delivery.note_change('submission.created', 'id', 'auction_id')",
        "select webhook_delivery.note_change()",
        "insert into webhook_delivery.events select",
        "insert into webhook_delivery.queue select",
    ] {
        let error = dana.batch_execute(forbidden).expect_err(forbidden);
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}: {error:?}");
    }
    scene.wait_for_success();
    assert_eq!(scene.receiver.count(), 1);
}

/// Whoever writes back what was read, and supabase-js, which sends null where another of its rows has a value.
#[test]
fn endpoint_written_back_over_rest_keeps_its_secret() {
    let mut scene = Scene::new(&[]);
    let [one, other] = [(); 2].map(|()| scene.create(&scene.dana, sample::RIVERSIDE));
    let dana = Some(scene.dana.as_str());
    let changed = |endpoint: &Value, secret: Value| {
        let mut endpoint = endpoint.clone();
        (endpoint["secret"], endpoint["description"]) = (secret, json!("edited"));
        endpoint
    };
    let (hint, null) = (one["secret"].clone(), Value::Null);
    assert_eq!(hint, "...cret");
    let merge = "resolution=merge-duplicates,return=representation";
    let of_one = format!("/webhook_endpoints?id=eq.{}", one["id"].as_str().unwrap());
    for secret in [&hint, &null] {
        scene.rest.call("PATCH", &of_one, dana, Some(json!({ "secret": secret, "description": "x" }))).expect(200);
        let body = changed(&one, secret.clone());
        let answer = scene.rest.call_with("POST", "/webhook_endpoints", dana, Some(body), merge);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let answer = scene.rest.call("PUT", &of_one, dana, Some(changed(&one, secret.clone())));
        assert!([200, 201, 204].contains(&answer.status), "{answer:?}");
        let body = json!([changed(&one, secret.clone()), changed(&other, json!("the new secret of the other"))]);
        let answer = scene.rest.call_with("POST", "/webhook_endpoints", dana, Some(body), merge);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    let secrets = "select string_agg(secret, ' | ' order by secret) from webhook_delivery.endpoint_secrets";
    let secrets: String = scene.supabase.admin.query_one(secrets, &[]).unwrap().get(0);
    assert_eq!(secrets, "the new secret of the other | your-signing-secret");
}

#[test]
fn endpoints_and_tests_of_an_auction_are_bounded() {
    let scene = Scene::new(&[("webhook_delivery.max_endpoints", "2"), ("webhook_delivery.tests_per_minute", "3")]);
    let [first, second] = [(); 2].map(|()| scene.create(&scene.dana, sample::RIVERSIDE));
    let body = || Some(scene.endpoint(sample::RIVERSIDE));
    let refused = scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), body()).expect(400);
    assert!(refused["hint"].as_str().unwrap().contains("webhook_delivery.max_endpoints"), "{refused}");
    let many =
        json!([scene.endpoint(sample::HILLTOP), scene.endpoint(sample::HILLTOP), scene.endpoint(sample::HILLTOP)]);
    scene.rest.call("POST", "/webhook_endpoints", Some(&scene.kim), Some(many)).expect(400);
    let [of_hilltop, _] = [(); 2].map(|()| scene.create(&scene.kim, sample::HILLTOP));
    // Nobody learns how many another auction has: neither that it is full now, nor that it is not.
    let others = |auction_id: Uuid| {
        let answer = scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), Some(scene.endpoint(auction_id)));
        without(&answer, &auction_id.to_string())
    };
    assert_eq!(others(sample::HILLTOP), others(Uuid::new_v4()));
    // An upsert of one that is there is no new one.
    let mut again = scene.endpoint(sample::RIVERSIDE);
    again["id"] = first["id"].clone();
    let merge = "resolution=merge-duplicates";
    let merged = scene.rest.call_with("POST", "/webhook_endpoints", Some(&scene.dana), Some(again), merge);
    assert!([200, 201].contains(&merged.status), "{merged:?}");

    for _ in 0..3 {
        scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&first)).expect(200);
    }
    let refused = scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&first)).expect(429);
    assert!(refused["hint"].as_str().unwrap().contains("webhook_delivery.tests_per_minute"), "{refused}");
    // Neither another endpoint of the auction nor a new one in its place gives more; another auction has its own.
    scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&second)).expect(429);
    let of_second = format!("/webhook_endpoints?id=eq.{}", second["id"].as_str().unwrap());
    scene.rest.call("DELETE", &of_second, Some(&scene.dana), None).expect(200);
    let new = scene.create(&scene.dana, sample::RIVERSIDE);
    scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&new)).expect(429);
    scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.kim), test_call(&of_hilltop)).expect(200);
    let earlier = "update webhook_delivery.auction_usage set since = since - interval '1 minute'";
    scene.supabase.cluster.connect_as("supabase_admin", "postgres").batch_execute(earlier).unwrap();
    scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&first)).expect(200);
}

#[test]
fn what_an_applications_pages_do_with_supabase_js_works() {
    let scene = Scene::new(&[]);
    let done = Command::new("node")
        .arg(checkout().join("tests/node/client.cjs"))
        .args([scene.rest.url(), scene.dana.clone(), sample::RIVERSIDE.to_string(), scene.receiver.url("/hook")])
        .env("NODE_PATH", installation().target_dir().join("node/node_modules"))
        .output()
        .expect("node runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn what_a_support_person_does_all_day_works_through_the_rest_server_within_his_auctions() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let emit = format!("select webhook_delivery.emit('submission.created', '{}', '{{\"n\": 1}}')", sample::RIVERSIDE);
    scene.supabase.run_as_admin(&emit);
    scene.wait_for_success();
    let history = scene.rest.call("GET", "/webhook_deliveries", Some(&scene.dana), None).expect(200);
    let (delivery, endpoint) = (history[0]["id"].clone(), endpoint["id"].clone());
    let of_endpoint = json!({ "endpoint_id": endpoint });
    let of_delivery = json!({ "delivery_id": delivery });
    let hour =
        json!({ "endpoint_id": endpoint, "since": "2020-01-01T00:00:00Z", "only_failed": false, "dry_run": true });
    let replay = json!({ "endpoint_id": endpoint, "since": "2020-01-01T00:00:00Z" });
    let expunge = json!({ "auction_id": sample::RIVERSIDE, "everything": true });
    let calls = [
        ("redeliver_webhook", &of_delivery, 200),
        ("webhook_event", &of_delivery, 200),
        ("webhook_diagnose", &of_endpoint, 200),
        ("recover_webhooks", &hour, 200),
        ("replay_webhooks", &replay, 200),
        ("cancel_webhook", &of_delivery, 409),
        ("expunge_webhook_data", &expunge, 200),
    ];
    for (call, body, status) in calls {
        let path = format!("/rpc/{call}");
        // Another auction's administrator learns nothing, nor does somebody without a token.
        scene.rest.call("POST", &path, Some(&scene.kim), Some(body.clone())).expect(404);
        scene.rest.call("POST", &path, None, Some(body.clone())).expect(401);
        let answer = scene.rest.call("POST", &path, Some(&scene.dana), Some(body.clone())).expect(status);
        scene.wait_for_success();
        match call {
            "redeliver_webhook" => assert_eq!(answer["status"], "retrying"),
            "webhook_event" => {
                assert_eq!(answer["body"], scene.receiver.requests()[0].text());
                assert_eq!(answer["attempts"].as_array().map(Vec::len), Some(2), "{answer}");
                assert!(answer["attempts"][0].get("address").is_none(), "{answer}");
            }
            "webhook_diagnose" => {
                let wrong: Vec<_> = answer.as_array().unwrap().iter().filter(|row| row["is_fine"] == false).collect();
                assert!(wrong.is_empty(), "{wrong:?}");
            }
            "recover_webhooks" | "expunge_webhook_data" => assert_eq!(answer, 1, "{call}"),
            "replay_webhooks" => assert_eq!(answer, 0),
            _ => assert_eq!(answer["code"], "PT409"),
        }
    }
    let health = scene.rest.call("GET", "/webhook_endpoint_health", Some(&scene.dana), None).expect(200);
    assert_eq!((&health[0]["endpoint_id"], &health[0]["success_rate_24h"]), (&endpoint, &json!(1.0)));
    let nothing = scene.rest.call("GET", "/webhook_endpoint_health", Some(&scene.kim), None).expect(200);
    assert_eq!(nothing, json!([]));
}
