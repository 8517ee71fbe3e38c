//! What the demonstration runs on, and how a request is shown as it comes.

use std::time::SystemTime;

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Request, wait_until};

use crate::json;
use crate::judges::Judges;
use crate::screen::{Screen, WIDTH};
use crate::table::Table;
use crate::tally::{GoodEndpoint, Tally};

/// A server of its own, a receiver that really listens, and what was sent to it so far.
pub struct Stage {
    pub screen: Screen,
    /// The application's session. Before the cluster, so that it is closed first.
    pub client: Client,
    pub cluster: Cluster,
    pub receiver: Receiver,
    pub judges: Judges,
    good: Vec<GoodEndpoint>,
    first_shown: Option<Shown>,
}

/// A request that was shown in full: what is the same in another is not shown again.
struct Shown {
    headers: Vec<(String, String)>,
    /// Lines, as laid out.
    body: Vec<String>,
}

impl Stage {
    /// A server with the settings that a user gets, apart from those that let the worker call the receiver: it is on 127.0.0.1 and has no certificate.
    pub fn set_up() -> Self {
        // Tells the moment of each commit exactly.
        let cluster = Cluster::start(&[("track_commit_timestamp", "on")]);
        Self {
            screen: Screen::new(),
            client: cluster.connect(),
            cluster,
            receiver: Receiver::by_path(),
            judges: Judges::present(),
            good: Vec::new(),
            first_shown: None,
        }
    }

    /// Shows statements and runs them exactly as shown.
    pub fn run(&mut self, sql: &str) -> Table {
        self.screen.typed(sql);
        Table::query(&mut self.client, sql)
    }

    /// The same, and shows what they gave.
    pub fn run_and_show(&mut self, sql: &str) -> Table {
        let table = self.run(sql);
        self.screen.table(&table);
        table
    }

    /// Creates an endpoint as an administrator of the auction does. The path says how the receiver answers.
    pub fn create_endpoint(&mut self, auction_id: Uuid, path: &str, events: &str) -> Endpoint {
        let url = self.receiver.url(path);
        let sql = format!(
            "insert into webhook_endpoints (auction_id, url, events)
values ('{auction_id}', '{url}', '{{{events}}}') returning id, generated_secret(webhook_endpoints);"
        );
        let created = if self.good.is_empty() {
            self.run_and_show(&sql)
        } else {
            self.screen.say(&format!("(an endpoint for {events}, {url}, is created as above)"));
            Table::query(&mut self.client, &sql)
        };
        let id = created.cell(0, "id").parse().expect("an id");
        Endpoint { id, auction_id, secret: created.cell(0, "generated_secret").to_owned() }
    }

    /// The same for one that answers 200: from now on everything committed for it must arrive.
    pub fn create_good_endpoint(&mut self, auction_id: Uuid, path: &str, events: &str) -> Endpoint {
        let endpoint = self.create_endpoint(auction_id, path, events);
        self.good.push(GoodEndpoint { path: path.to_owned(), secret: endpoint.secret.clone(), committed: 0 });
        endpoint
    }

    /// The same for one that was created otherwise.
    pub fn expect_at(&mut self, path: &str, secret: &str) {
        self.good.push(GoodEndpoint { path: path.to_owned(), secret: secret.to_owned(), committed: 0 });
    }

    /// Notes that so many deliveries to this path were committed.
    pub fn committed(&mut self, path: &str, count: usize) {
        self.good(path).committed += count;
    }

    /// Waits for the delivery that was just committed for this path, and shows the request.
    pub fn show_arrival(&mut self, path: &str) -> Request {
        let request = self.arrival(path);
        self.show(&request);
        request
    }

    /// The same, and only says that it came.
    pub fn arrival(&mut self, path: &str) -> Request {
        self.committed(path, 1);
        let due = self.good(path).committed;
        let request = wait_until(&format!("request {due} to {path}"), DEADLINE, || {
            self.receiver.requests_to(path).into_iter().nth(due - 1)
        });
        let milliseconds = self.after_commit(&request) * 1000.0;
        let secret = &self.good(path).secret.clone();
        let verdict = self.judges.verdicts(secret, std::slice::from_ref(&request)).remove(0);
        let fault = verdict.as_ref().err().map_or(String::new(), |fault| format!("; {fault}"));
        let what = format!(
            "received {milliseconds:.1} ms after the commit, both signatures valid ({}){fault}",
            self.judges.names()
        );
        self.screen.expect(verdict.is_ok(), &what);
        request
    }

    /// Counts what arrived against what was committed.
    pub fn tally(&self) -> Tally {
        Tally::count(&self.good, &self.receiver, &self.judges)
    }

    /// Waits until the first attempt of every delivery has ended and is recorded.
    pub fn settle(&mut self) {
        wait_until("the end of every first attempt", DEADLINE, || {
            let query = "select not exists (select from webhook_deliveries where status = 'pending')";
            let ended: bool = self.client.query_one(query, &[]).expect("the history is readable").get(0);
            ended.then_some(())
        });
    }

    /// The worker's process, once it is ready to deliver.
    pub fn worker_pid(&mut self) -> i32 {
        let query = "select worker_pid from webhook_delivery.status where state in ('waiting', 'sending')";
        wait_until("the worker", DEADLINE, || {
            self.client.query_opt(query, &[]).expect("pg_stat_activity is readable").map(|row| row.get(0))
        })
    }

    /// The first request in full, of another what is not the same as there.
    fn show(&mut self, request: &Request) {
        let laid_out = json::indented(request.text(), WIDTH);
        let body: Vec<String> = laid_out.lines().map(str::to_owned).collect();
        let length = request.body.len();
        self.screen.quote(&format!("{} {}", request.method, request.path));
        let Some(first) = &self.first_shown else {
            for (name, value) in &request.headers {
                self.screen.quote(&format!("{name}: {value}"));
            }
            self.screen.say(&format!(
                "and this body ({length} bytes on one line; the signatures are over the bytes as they came):"
            ));
            self.screen.quote(&laid_out);
            self.first_shown = Some(Shown { headers: request.headers.clone(), body });
            return;
        };
        let new_headers: Vec<_> = request.headers.iter().filter(|header| !first.headers.contains(header)).collect();
        // Id and time are there twice, once in each family of headers: a line is enough.
        for (index, (_, value)) in new_headers.iter().enumerate() {
            if new_headers[..index].iter().all(|(_, earlier)| earlier != value) {
                let names = new_headers.iter().filter(|(_, other)| other == value).map(|(name, _)| name.as_str());
                self.screen.quote(&format!("{}: {value}", names.collect::<Vec<_>>().join(", ")));
            }
        }
        let same = request.headers.len() - new_headers.len();
        self.screen
            .say(&format!("and {same} headers as in the first request. What is new in the body ({length} bytes):"));
        for line in body.iter().filter(|line| !first.body.contains(line)) {
            self.screen.quote(line);
        }
    }

    /// Seconds from the commit, as the server noted it, to the arrival of the last byte.
    fn after_commit(&mut self, request: &Request) -> f64 {
        let query = "select pg_xact_commit_timestamp(event.xmin)
                     from webhook_deliveries as delivery join webhook_delivery.events as event on event.id = delivery.event_id
                     where delivery.id = $1";
        let row = self.client.query_one(query, &[&request.webhook_id()]).expect("the delivery is in the history");
        let committed_at: SystemTime = row.get(0);
        // The server notes the time just before others see the commit; the two cannot be in the wrong order on one clock.
        request.arrived_at.duration_since(committed_at).unwrap_or_default().as_secs_f64()
    }

    fn good(&mut self, path: &str) -> &mut GoodEndpoint {
        self.good.iter_mut().find(|endpoint| endpoint.path == path).expect("an endpoint that was created")
    }
}
