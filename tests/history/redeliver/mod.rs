//! Redeliver, recover, replay, cancel and backfill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use postgres::Client;
use uuid::Uuid;
use webhook_harness::verify::assert_signed;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, refusal, sample, tenant, wait_until};

mod redelivered;
mod replayed_or_cancelled;

/// An application with an endpoint of Riverside, a receiver whose status can be set, and an
/// administrator's session.
struct Scene {
    application: Application,
    receiver: Receiver,
    status: Arc<AtomicU16>,
    endpoint: Endpoint,
    admin: Client,
}

impl Scene {
    fn new(settings: &[(&str, &str)]) -> Scene {
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        let receiver = Receiver::start(move |request| match request.path.as_str() {
            "/hang" => Reply::ok().after(Duration::from_millis(700)),
            "/hang-and-fail" => Reply::status(503).after(Duration::from_millis(700)),
            _ => Reply::status(answer.load(Ordering::Relaxed)),
        });
        let usual = [("webhook_delivery.retry_schedule", "20ms"), ("webhook_delivery.disable_after_failures", "0")];
        let settings: Vec<_> = usual.iter().chain(settings).copied().collect();
        let mut application = Application::start(&settings);
        let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        let admin = application.create_tenant(sample::DANA);
        Scene { application, receiver, status, endpoint, admin }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Emits events and waits until their deliveries end with this status.
    fn end_deliveries(&mut self, count: i32, status: &str) -> Vec<Uuid> {
        self.answer(if status == "failed" { 503 } else { 200 });
        self.endpoint.emit(&mut self.application.client, count);
        let ended = self.endpoint.wait_for(&mut self.application.client, count as usize, status);
        self.answer(200);
        ended.iter().map(|delivery| delivery.id).collect()
    }

    fn redeliver(&mut self, id: Uuid) -> String {
        let row = self.admin.query_one("select status::text, follow from redeliver_webhook($1)", &[&id]);
        let row = row.unwrap_or_else(|e| panic!("{:?}", e.as_db_error()));
        assert_eq!(self.admin.query(row.get::<_, &str>("follow"), &[]).unwrap().len(), 1);
        row.get("status")
    }

    fn returned_number(&mut self, call: &str) -> i64 {
        let row = self.admin.query_one(&format!("select {call}"), &[&self.endpoint.id]);
        row.unwrap_or_else(|e| panic!("{call}: {:?}", e.as_db_error())).get(0)
    }

    fn attempts(&mut self, id: Uuid) -> Vec<(i32, String)> {
        let sql = "select attempt, status::text from webhook_delivery_attempts where delivery_id = $1 order by attempt";
        self.admin.query(sql, &[&id]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}
