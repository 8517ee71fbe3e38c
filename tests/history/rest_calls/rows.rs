//! Embedded rows, paging and limits, and calls of supabase-js.

use super::*;

#[test]
fn rows_are_embedded_and_paged() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    scene.create(&scene.kim, sample::HILLTOP);
    for _ in 0..5 {
        scene.rest.call("POST", "/rpc/test_webhook", Some(&scene.dana), test_call(&endpoint)).expect(200);
    }
    scene.wait_for_empty_queue();
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
fn tenant_causes_events_of_its_own_auction_only() {
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
        "create trigger mine after insert on mine for each row execute function webhook_delivery.capture_row_change('submission.created', 'id', 'auction_id')",
        "select webhook_delivery.capture_row_change()",
        "insert into webhook_delivery.events select",
        "insert into webhook_delivery.queue select",
    ] {
        let error = dana.batch_execute(forbidden).expect_err(forbidden);
        assert_eq!(error.code().unwrap().code(), "42501", "{forbidden}: {error:?}");
    }
    scene.wait_for_empty_queue();
    assert_eq!(scene.receiver.count(), 1);
}

/// Clients write back the hint that they read, and supabase-js sends null for a column that only
/// another of its rows has.
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
fn endpoints_and_tests_of_an_auction_are_limited() {
    let scene = Scene::new(&[("webhook_delivery.max_endpoints", "2"), ("webhook_delivery.tests_per_minute", "3")]);
    let [first, second] = [(); 2].map(|()| scene.create(&scene.dana, sample::RIVERSIDE));
    let body = || Some(scene.endpoint(sample::RIVERSIDE));
    let refused = scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), body()).expect(400);
    assert!(refused["hint"].as_str().unwrap().contains("webhook_delivery.max_endpoints"), "{refused}");
    let many =
        json!([scene.endpoint(sample::HILLTOP), scene.endpoint(sample::HILLTOP), scene.endpoint(sample::HILLTOP)]);
    scene.rest.call("POST", "/webhook_endpoints", Some(&scene.kim), Some(many)).expect(400);
    let [of_hilltop, _] = [(); 2].map(|()| scene.create(&scene.kim, sample::HILLTOP));
    // The answer does not reveal whether another auction has reached its limit.
    let others = |auction_id: Uuid| {
        let answer = scene.rest.call("POST", "/webhook_endpoints", Some(&scene.dana), Some(scene.endpoint(auction_id)));
        without(&answer, &auction_id.to_string())
    };
    assert_eq!(others(sample::HILLTOP), others(Uuid::new_v4()));
    // An upsert of an existing endpoint does not count as a new one.
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
    // Other and new endpoints of the auction share the limit. Another auction has its own.
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
fn supabase_js_client_calls_work() {
    let scene = Scene::new(&[]);
    let done = Command::new("node")
        .arg(checkout().join("tests/node/client.cjs"))
        .args([scene.rest.url(), scene.dana.clone(), sample::RIVERSIDE.to_string(), scene.receiver.url("/hook")])
        .env("NODE_PATH", installation().target_dir().join("node/node_modules"))
        .output()
        .expect("node");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn support_calls_work_over_rest_only_in_own_auctions() {
    let mut scene = Scene::new(&[]);
    let endpoint = scene.create(&scene.dana, sample::RIVERSIDE);
    let emit = format!("select webhook_delivery.emit('submission.created', '{}', '{{\"n\": 1}}')", sample::RIVERSIDE);
    scene.supabase.run_as_admin(&emit);
    scene.wait_for_empty_queue();
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
        ("webhook_request", &of_delivery, 200),
        ("diagnose_webhook", &of_endpoint, 200),
        ("recover_webhooks", &hour, 200),
        ("replay_webhooks", &replay, 200),
        ("cancel_webhook", &of_delivery, 409),
        ("expunge_webhook_data", &expunge, 200),
    ];
    for (call, body, status) in calls {
        let path = format!("/rpc/{call}");
        // An administrator of another auction and a caller without a token are refused.
        scene.rest.call("POST", &path, Some(&scene.kim), Some(body.clone())).expect(404);
        scene.rest.call("POST", &path, None, Some(body.clone())).expect(401);
        let answer = scene.rest.call("POST", &path, Some(&scene.dana), Some(body.clone())).expect(status);
        scene.wait_for_empty_queue();
        match call {
            "redeliver_webhook" => assert_status(&answer, "retrying"),
            "webhook_request" => {
                assert_eq!(answer["body"], scene.receiver.requests()[0].text());
                assert_eq!(answer["attempts"].as_array().map(Vec::len), Some(2), "{answer}");
                assert!(answer["attempts"][0].get("address").is_none(), "{answer}");
            }
            "diagnose_webhook" => {
                let wrong: Vec<_> = answer.as_array().unwrap().iter().filter(|row| row["is_fine"] == false).collect();
                assert!(wrong.is_empty(), "{wrong:?}");
            }
            "recover_webhooks" | "expunge_webhook_data" => assert_eq!(answer, 1, "{call}"),
            "replay_webhooks" => assert_eq!(answer, 0),
            _ => assert_eq!(answer["code"], "PT409"),
        }
    }
    let health = scene.rest.call("GET", "/webhook_endpoint_health", Some(&scene.dana), None).expect(200);
    // PostgREST writes 1, the REST server of the tests 1.0.
    assert_eq!((&health[0]["endpoint_id"], health[0]["success_rate_24h"].as_f64()), (&endpoint, Some(1.0)));
    let nothing = scene.rest.call("GET", "/webhook_endpoint_health", Some(&scene.kim), None).expect(200);
    assert_eq!(nothing, json!([]));
}
