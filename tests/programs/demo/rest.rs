//! The calls that a customer's page makes, over HTTP, where the REST server is installed.

use serde_json::{Value, json};
use webhook_harness::Rest;
use webhook_harness::rest::token_of;
use webhook_harness::sample::{DANA, RIVERSIDE};

use crate::json;
use crate::screen::WIDTH;
use crate::stage::Stage;
use crate::table::Table;

const PATH: &str = "/rest";
const SECRET: &str = "your-signing-secret";

/// The roles that PostgREST uses. A Supabase project has them from the start.
const ROLES: &str =
    "create role authenticated nologin; create role anon nologin; create role authenticator noinherit login;
    grant anon, authenticated to authenticator; grant usage on schema public to anon, authenticated;
    select webhook_delivery.grant_api('authenticated')";

/// Makes the two calls of the documentation. Gives the number of deliveries that came of it.
pub fn calls(stage: &mut Stage) -> usize {
    stage.screen.heading("The same by a customer's page, through PostgREST");
    if !Rest::is_there() {
        stage.screen.say("(not shown: `make test` compiles a REST server, or set POSTGREST=/path/to/postgrest)");
        return 0;
    }
    Table::query(&mut stage.client, ROLES);
    let rest = Rest::start(&stage.cluster);
    let token = token_of(DANA);
    let body = json!({
        "auction_id": RIVERSIDE, "url": stage.receiver.url(PATH),
        "events": ["inspection.created"], "secret": SECRET, "is_active": true
    });
    let made = call(stage, &rest, &token, "/webhook_endpoints", &body, 201);
    let is_hidden = made[0]["secret"] == "...cret";
    stage.screen.expect(is_hidden, "of the secret nobody reads more again than its last four characters");
    stage.expect_at(PATH, SECRET);
    let test = json!({ "endpoint_id": made[0]["id"], "event_type": "inspection.created" });
    let tested = call(stage, &rest, &token, "/rpc/test_webhook", &test, 200);
    let request = stage.arrival(PATH);
    let is_the_test = request.webhook_id().map(|id| id.to_string()).as_deref() == tested["delivery_id"].as_str();
    stage.screen.expect(is_the_test, "under the id that the call returned");
    1
}

fn call(stage: &mut Stage, rest: &Rest, token: &str, path: &str, body: &Value, status: u16) -> Value {
    stage.screen.quote(&format!("POST https://HOST/rest/v1{path}   (with the token of an administrator of Riverside)"));
    stage.screen.quote(&json::indented(&body.to_string(), WIDTH));
    let answer = rest.call("POST", path, Some(token), Some(body.clone()));
    stage.screen.expect(answer.status == status, &format!("answered {}:", answer.status));
    stage.screen.quote(&json::indented(&answer.body.to_string(), WIDTH));
    answer.body
}
