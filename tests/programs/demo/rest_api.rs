//! The calls of a customer's page over HTTP, if a REST server is installed.

use serde_json::{Value, json};
use webhook_harness::Rest;
use webhook_harness::rest::token_of;
use webhook_harness::sample::{DANA, RIVERSIDE};

use crate::demo::Demo;
use crate::json_format;
use crate::screen::WIDTH;
use crate::table::Table;

const PATH: &str = "/rest";
const SECRET: &str = "your-signing-secret";

/// The roles that PostgREST uses. A Supabase project has them from the start.
const ROLES: &str =
    "create role authenticated nologin; create role anon nologin; create role authenticator noinherit login;
    grant anon, authenticated to authenticator; grant usage on schema public to anon, authenticated;
    select webhook_delivery.grant_api('authenticated')";

/// Makes the two calls of the documentation. Returns the number of deliveries that they caused.
pub fn calls(demo: &mut Demo) -> usize {
    demo.screen.heading("The same from a customer's page, through PostgREST");
    if !Rest::is_installed() {
        demo.screen.note("(skipped: `make test` compiles a REST server, or set POSTGREST=/path/to/postgrest)");
        return 0;
    }
    Table::query(&mut demo.client, ROLES);
    let rest = Rest::start(&demo.cluster);
    let token = token_of(DANA);
    let body = json!({
        "auction_id": RIVERSIDE, "url": demo.receiver.url(PATH),
        "events": ["inspection.created"], "secret": SECRET, "is_active": true
    });
    let made = call(demo, &rest, &token, "/webhook_endpoints", &body, 201);
    let is_hidden = made[0]["secret"] == "...cret";
    demo.screen.expect(is_hidden, "after creation only the last four characters of the secret are readable");
    demo.expect_at(PATH, SECRET);
    let test = json!({ "endpoint_id": made[0]["id"], "event_type": "inspection.created" });
    let tested = call(demo, &rest, &token, "/rpc/test_webhook", &test, 200);
    let request = demo.arrival(PATH);
    let is_the_test = request.webhook_id().map(|id| id.to_string()).as_deref() == tested["delivery_id"].as_str();
    demo.screen.expect(is_the_test, "the test event arrived with the id that the call returned");
    demo.rest = Some(rest);
    1
}

fn call(demo: &mut Demo, rest: &Rest, token: &str, path: &str, body: &Value, status: u16) -> Value {
    demo.screen.quote(&format!("POST https://HOST/rest/v1{path}   (with the token of an administrator of Riverside)"));
    demo.screen.quote(&json_format::indented(&body.to_string(), WIDTH));
    let answer = rest.call("POST", path, Some(token), Some(body.clone()));
    demo.screen.expect(answer.status == status, &format!("POST {path} answered {}", answer.status));
    demo.screen.quote(&json_format::indented(&answer.body.to_string(), WIDTH));
    answer.body
}
