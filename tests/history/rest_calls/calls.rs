//! The documented calls: their answers, errors and privileges.

use super::*;

#[test]
fn documented_calls_create_and_test_an_endpoint() {
    let scene = Scene::new(&[]);
    let body = Some(scene.endpoint(sample::RIVERSIDE));
    let plain = scene.rest.call_with("POST", "/webhook_endpoints", Some(&scene.dana), body, "return=minimal");
    assert_eq!((plain.status, plain.body), (201, Value::Null));
    let endpoints = scene.rest.call("GET", "/webhook_endpoints", Some(&scene.dana), None).expect(200);
    assert_eq!(endpoints[0]["secret"], "...cret");

    let answer = scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&endpoints[0])).expect(200);
    assert_status(&answer, "pending");
    let request = &scene.receiver.wait_for_distinct(1, DEADLINE)[0];
    assert_eq!(request.header("webhook-id"), answer["delivery_id"].as_str());
}

#[test]
fn calls_set_a_filter_and_an_asymmetric_signature() {
    let scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let own = format!("/webhook_endpoints?id=eq.{}", endpoint["id"].as_str().unwrap());
    let terms = json!({ "filter": "$.total_car_count > 50", "signature": "ed25519" });
    let changed = scene.rest.call("PATCH", &own, Some(&scene.dana), Some(terms)).expect(200);
    assert_eq!(changed[0]["filter"], "($.\"total_car_count\" > 50)");
    assert!(changed[0]["public_key"].as_str().unwrap().starts_with("whpk_"), "{changed}");
    for wrong in ["$.total_car_count", "$.total_car_count >"] {
        let answer = scene.rest.call("PATCH", &own, Some(&scene.dana), Some(json!({ "filter": wrong }))).expect(400);
        assert_eq!(answer["code"], "22023", "{answer}");
    }
    let preview = |token: &str, filter: &str| {
        let arguments = json!({ "auction_id": sample::RIVERSIDE, "filter": filter, "events": ["submission.created"] });
        scene.rest.call("POST", "/rpc/preview_webhook_filter", Some(token), Some(arguments))
    };
    let tried = preview(&scene.dana, "$.total_car_count > 50").expect(200);
    assert_eq!((tried[0]["occurred_at"].clone(), tried[0]["matches"].clone()), (Value::Null, json!(true)));
    let refused = preview(&scene.dana, "$.total_car_count >").expect(400);
    assert_eq!(refused["code"], "22023");
    let others = preview(&scene.kim, "$.total_car_count > 50");
    assert!([401, 403].contains(&others.status), "{others:?}");
}

#[test]
fn calls_rotate_a_secret_change_terms_and_enable_an_endpoint() {
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
    // Applications write back the row that they read, with one field changed.
    let mut row = seen[0].clone();
    row["is_active"] = json!(true);
    let enabled = scene.rest.call("PATCH", &own, Some(&scene.dana), Some(row)).expect(200);
    assert_eq!((&enabled[0]["is_active"], &enabled[0]["disabled_at"]), (&json!(true), &Value::Null));
}

#[test]
fn invalid_endpoint_is_a_client_error_that_names_the_problem() {
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
        (json!({ "events": [] }), "events must have 1 to 100 entries"),
        (json!({ "events": ["a".repeat(10_000)] }), "unknown event type"),
        (json!({ "secret": "short" }), "16"),
        (json!({ "description": "a".repeat(10_000) }), "description must have at most 1000 characters"),
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

#[test]
fn endpoint_of_another_auction_looks_like_a_missing_one() {
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
    // An administrator cannot move an endpoint to another auction.
    let own = format!("/webhook_endpoints?id=eq.{}", riverside["id"].as_str().unwrap());
    scene.rest.call("PATCH", &own, dana, Some(json!({ "auction_id": sample::HILLTOP }))).expect(400);
    let all = scene
        .rest
        .call("GET", "/webhook_endpoints?order=auction_id", Some(&token("service_role", None)), None)
        .expect(200);
    assert_eq!(all, json!([riverside, hilltop]));
}

#[test]
fn missing_token_reads_nothing_and_service_role_everything() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let service = token("service_role", None);
    let called = scene.rest.call("POST", "/rpc/test_webhook", Some(&service), test_call(&endpoint)).expect(200);
    scene.receiver.wait_for_distinct(1, DEADLINE);
    scene.wait_for_empty_queue();
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
fn member_without_administration_sees_only_the_catalogue() {
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
