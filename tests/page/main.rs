//! The administrator's page in a browser, through a REST server.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use webhook_harness::rest::{expired_token_of, token, token_of};
use webhook_harness::{
    Cluster, DEADLINE, Receiver, Reply, Request, Rest, Supabase, by_path, checkout, installation, refusal, sample,
    wait_until,
};

/// Answers `/switch` with the status that `POST /become/503` sets, and every other path as
/// `by_path` does.
fn receiver() -> Receiver {
    let status = Arc::new(AtomicU16::new(200));
    Receiver::start(move |request: &Request| {
        if let Some(wanted) = request.path.strip_prefix("/become/") {
            status.store(wanted.parse().expect("a status"), Ordering::SeqCst);
            return Reply::ok();
        }
        match request.path.as_str() {
            "/switch" => Reply::status(status.load(Ordering::SeqCst)).body("as it is switched"),
            path => by_path(path, request.attempt),
        }
    })
}

/// A free port of 127.0.0.1.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Runs `page/<scenario>.cjs` in a browser on a server with these settings.
#[track_caller]
fn run_scenario(scenario: &str, settings: &[(&str, &str)]) {
    let receiver = receiver();
    // A scenario serves the application that embeds the page on this port.
    let embedder = free_port();
    let embedders = format!("http://127.0.0.1:{embedder}");
    let supabase = Supabase::start(&[settings, &[("webhook_delivery.page_origins", &embedders)]].concat());
    let rest = Rest::start(&supabase.cluster);
    let pictures = installation().target_dir().join("pictures");
    std::fs::create_dir_all(&pictures).expect("a writable target/");
    let stage = json!({
        "rest": rest.url(),
        "receiver": receiver.url(""),
        "tokens": {
            "dana": token_of(sample::DANA), "kim": token_of(sample::KIM), "sam": token_of(sample::SAM),
            "expired": expired_token_of(sample::DANA), "service": token("service_role", None),
        },
        "auctions": { "riverside": sample::RIVERSIDE, "hilltop": sample::HILLTOP },
        "psql": {
            "program": installation().program("psql"), "host": supabase.cluster.socket_dir(), "user": "supabase_admin",
        },
        "folder": pictures,
        "embedder": embedder,
    });
    let done = Command::new("node")
        .arg(checkout().join("tests/page/run.cjs"))
        .arg(scenario)
        .env("STAGE", stage.to_string())
        .env("NODE_PATH", installation().target_dir().join("node/node_modules"))
        .output()
        .expect("node");
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn page_is_public_and_has_a_strict_content_security_policy() {
    let embedders = "https://admin.example.com, http://localhost:3000";
    let mut supabase = Supabase::start(&[("webhook_delivery.page_origins", embedders)]);
    let rest = Rest::start(&supabase.cluster);
    for address in ["/rpc/webhook_admin", "/rpc/webhook_admin?apikey=the+gateways"] {
        let page = ureq::get(rest.url() + address).header("Accept", "text/html,*/*;q=0.8").call().expect("a page");
        let media_type = page.headers().get("Content-Type").expect("a type").to_str().unwrap().to_owned();
        assert!(media_type.starts_with("text/html"), "{address}: {media_type}");
        let text = page.into_body().read_to_string().unwrap();
        assert!(text.starts_with("<!doctype html>"), "{}", &text[..100]);
        assert!(text.len() <= 220_000, "{} bytes", text.len());
        assert!(text.contains("content=\"default-src 'none'; script-src 'sha256-"), "{}", &text[..1000]);
    }
    // PostgREST sends the page's own headers, the REST server of the tests does not. The setting
    // that both read has them.
    let mut request = supabase.admin.transaction().unwrap();
    let as_postgrest = "set transaction read only; set local role anon;
        select webhook_delivery.\"text/html\"(_postgrest_t.pgrst_scalar) from (select public.webhook_admin() as pgrst_scalar) as _postgrest_t";
    request.batch_execute(as_postgrest).unwrap();
    let headers = "select current_setting('response.headers')";
    let headers: Vec<Value> = serde_json::from_str(request.query_one(headers, &[]).unwrap().get(0)).unwrap();
    let header =
        |name: &str| headers.iter().find_map(|header| header[name].as_str()).unwrap_or_else(|| panic!("no {name}"));
    let policy = header("Content-Security-Policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(policy.ends_with("frame-ancestors 'self' https://admin.example.com http://localhost:3000"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!((header("X-Content-Type-Options"), header("Referrer-Policy")), ("nosniff", "no-referrer"));
}

#[test]
fn page_embedders_and_api_urls_are_validated() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    for wrong in [
        "admin.example.com",
        "https://admin.example.com/app",
        "https://*.example.com",
        "data:,x",
        "https://a.example; script-src *",
    ] {
        let error = refusal(&mut client, &format!("set webhook_delivery.page_origins = '{wrong}'"), &[]);
        assert_eq!(error.code().code(), "22023", "{wrong}: {error:?}");
    }
    for wrong in ["example.com", "ftp://example.com", "https://user@example.com/", "https://example.com/?a"] {
        let error = refusal(&mut client, "select webhook_delivery.admin_page($1)", &[&wrong]);
        assert_eq!(error.code().code(), "22023", "{wrong}: {error:?}");
    }
    let page: String =
        client.query_one("select webhook_delivery.admin_page('https://example.com/rest/v1/')", &[]).unwrap().get(0);
    assert!(page.contains(r#"name="webhook-api" content="https://example.com/rest/v1""#), "{}", &page[..3000]);
    assert!(page.contains("connect-src https://example.com;"), "{}", &page[..3000]);
}

#[test]
fn page_functions_answer_only_for_the_callers_auctions() {
    let mut scene = Supabase::start(&[]);
    let rest = Rest::start(&scene.cluster);
    let receiver = receiver();
    let call =
        |name: &str, token: &str, body: Value| rest.call("POST", &format!("/rpc/{name}"), Some(token), Some(body));
    let (dana, kim, sam) = (token_of(sample::DANA), token_of(sample::KIM), token_of(sample::SAM));
    let riverside = json!([{ "auction_id": sample::RIVERSIDE, "name": "Riverside Auto Auction" }]);
    assert_eq!(call("webhook_auctions", &dana, json!({})).expect(200), riverside);
    assert_eq!(call("webhook_auctions", &sam, json!({})).expect(200), json!([]));

    // An auction whose name cannot be read has the name null.
    for hidden in [
        "alter role postgres nobypassrls; alter table auctions enable row level security; alter table auctions force row level security",
        "alter table auctions rename name to title",
        "alter table auctions rename to houses",
    ] {
        scene.run_as_admin(hidden);
        let nameless = json!([{ "auction_id": sample::RIVERSIDE, "name": null }]);
        assert_eq!(call("webhook_auctions", &dana, json!({})).expect(200), nameless, "{hidden}");
    }

    let checked = call("check_webhook_url", &dana, json!({ "url": "HTTPS://Example.com:443/a" })).expect(200);
    assert_eq!(checked, "https://example.com/a");
    let far = format!("https://example.com/{}", "a".repeat(2000));
    for wrong in [json!("https://user@example.com/"), json!("https://10.0.0.1/"), json!(far), json!(""), Value::Null] {
        let refused = call("check_webhook_url", &dana, json!({ "url": wrong })).expect(400);
        assert!(refused["hint"].is_string(), "{wrong}: {refused}");
    }

    for (auction_id, path) in
        [(sample::RIVERSIDE, "/hook"), (sample::RIVERSIDE, "/status/500"), (sample::HILLTOP, "/hook")]
    {
        let insert =
            "insert into webhook_endpoints (auction_id, url, events, retry_schedule) values ($1, $2, '{*}', '{}')";
        scene.admin.execute(insert, &[&auction_id, &receiver.url(path)]).unwrap();
    }
    for _ in 0..3 {
        let emit = "select webhook_delivery.emit('submission.created', $1, '{}')";
        scene.admin.execute(emit, &[&sample::RIVERSIDE]).unwrap();
        wait_until("an empty queue", DEADLINE, || {
            let left = "select count(*) from webhook_delivery.queue";
            (scene.admin.query_one(left, &[]).unwrap().get::<_, i64>(0) == 0).then_some(())
        });
    }
    let hour_ago: String = scene.admin.query_one("select (now() - interval '1 hour')::text", &[]).unwrap().get(0);
    let since = json!({ "since": hour_ago, "bucket": "2 hours" });
    let activity = call("webhook_activity", &dana, since.clone()).expect(200);
    let counts: Vec<_> =
        activity.as_array().unwrap().iter().map(|row| (row["delivered"].as_i64(), row["failed"].as_i64())).collect();
    assert_eq!(counts, [(Some(3), Some(0)), (Some(0), Some(3))], "{activity}");
    assert_eq!(call("webhook_activity", &kim, since).expect(200), json!([]));
    for wrong in [json!({ "since": "2020-01-01" }), json!({ "since": "2026-11-01", "bucket": "1 second" })] {
        let refused = call("webhook_activity", &dana, wrong.clone()).expect(400);
        assert!(refused["hint"].is_string(), "{wrong}: {refused}");
    }
}

#[test]
fn endpoint_is_added_saved_and_tested_and_shows_its_history() {
    run_scenario("dashboard", &[]);
}

#[test]
fn disabled_endpoint_shows_its_reason_and_sends_when_enabled() {
    run_scenario(
        "disabled",
        &[("webhook_delivery.disable_after_failures", "2"), ("webhook_delivery.retry_schedule", "")],
    );
}

#[test]
fn administrators_see_their_auctions_and_members_nothing() {
    run_scenario("roles", &[]);
}

#[test]
fn text_from_receivers_and_tenants_is_shown_as_plain_text() {
    run_scenario("hostile", &[]);
}

#[test]
fn slow_or_unreachable_server_is_reported_and_loses_nothing() {
    run_scenario("slow", &[]);
}

#[test]
fn expired_token_loses_no_typed_text() {
    run_scenario("expired", &[]);
}

#[test]
fn only_allowed_applications_embed_the_page_and_sign_in() {
    run_scenario("embedded", &[]);
}

#[test]
fn thousand_deliveries_are_paged_by_key_and_drawn_once() {
    run_scenario("many", &[]);
}

#[test]
fn endpoint_is_changed_and_the_page_warns_before_a_loss() {
    run_scenario("manage", &[]);
}

#[test]
fn verification_code_on_the_page_accepts_real_requests() {
    run_scenario("verifiers", &[]);
}

#[test]
fn page_works_by_keyboard_on_a_phone_in_light_and_dark() {
    run_scenario("access", &[]);
}

#[test]
fn page_has_the_applications_name_logo_and_colour() {
    let image = "<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'><script>window.broken=1</script></svg>";
    let logo = format!("data:image/svg+xml;base64,{}", BASE64_STANDARD.encode(image));
    run_scenario(
        "brand",
        &[
            ("webhook_delivery.page_name", "Auction \u{fc} <Excellence> & {api}"),
            ("webhook_delivery.page_logo", &logo),
            ("webhook_delivery.page_color", "#ffcc00"),
        ],
    );
}

#[test]
fn invalid_name_logo_or_colour_of_the_page_is_refused() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let large = format!("data:image/png;base64,{}", "A".repeat(33_000));
    for (setting, wrong) in [
        ("page_name", "a\nb"),
        ("page_name", &"a".repeat(101)),
        ("page_logo", "https://example.com/logo.png"),
        ("page_logo", "data:text/html;base64,AAAA"),
        ("page_logo", "data:image/png;base64,?"),
        ("page_logo", &large),
        ("page_color", "red"),
        ("page_color", "#12345"),
        ("page_color", "#+12345"),
        ("page_color", "#fff; } body { display: none"),
    ] {
        let statement = format!("set webhook_delivery.{setting} = '{wrong}'");
        let error = refusal(&mut client, &statement, &[]);
        assert_eq!(error.code().code(), "22023", "{setting} {wrong}: {error:?}");
        assert!(error.detail().is_some(), "{setting} {wrong}: {error:?}");
    }
}

#[test]
fn every_text_of_the_page_is_defined_and_used() {
    let done = Command::new("node").arg(checkout().join("tests/page/check-texts.cjs")).output().expect("node");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn page_shows_a_week_of_an_auction() {
    run_scenario("pictures", &[]);
}
