//! The server and the receiver of the demonstration, and the display of requests as they arrive.

use std::time::SystemTime;

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Endpoint, Receiver, Request, Rest, wait_until};

use crate::json_format;
use crate::screen::{Screen, WIDTH};
use crate::table::Table;
use crate::tally::{HealthyEndpoint, Tally};
use crate::verifiers::Verifiers;

/// A private server, a receiver that listens on TCP, and the deliveries committed so far.
pub struct Demo {
    pub screen: Screen,
    /// The application's session. It is declared before the cluster so that it is closed first.
    pub client: Client,
    pub cluster: Cluster,
    pub receiver: Receiver,
    /// The REST server, once it is started.
    pub rest: Option<Rest>,
    pub verifiers: Verifiers,
    healthy: Vec<HealthyEndpoint>,
    first_shown: Option<Shown>,
}

/// The first request, which was shown in full. Later requests are shown without what equals it.
struct Shown {
    headers: Vec<(String, String)>,
    /// The lines of the formatted body.
    body: Vec<String>,
}

impl Demo {
    /// Starts a server with a user's default settings, except those that let the worker send to the
    /// receiver, which listens on 127.0.0.1 and has no certificate.
    pub fn set_up() -> Self {
        // Records the exact time of each commit.
        let cluster = Cluster::start(&[("track_commit_timestamp", "on")]);
        Self {
            screen: Screen::new(),
            client: cluster.connect(),
            cluster,
            receiver: Receiver::by_path(),
            rest: None,
            verifiers: Verifiers::installed(),
            healthy: Vec::new(),
            first_shown: None,
        }
    }

    /// Shows statements and executes them exactly as shown.
    pub fn run(&mut self, sql: &str) -> Table {
        self.screen.typed(sql);
        Table::query(&mut self.client, sql)
    }

    /// The same, and shows the result.
    pub fn run_and_show(&mut self, sql: &str) -> Table {
        let table = self.run(sql);
        self.screen.table(&table);
        table
    }

    /// Creates an endpoint as an administrator of the auction does. The path selects the receiver's
    /// reply.
    pub fn create_endpoint(&mut self, auction_id: Uuid, path: &str, events: &str) -> Endpoint {
        let url = self.receiver.url(path);
        let sql = format!(
            "insert into webhook_endpoints (auction_id, url, events)
values ('{auction_id}', '{url}', '{{{events}}}') returning id, generated_secret(webhook_endpoints);"
        );
        let created = if self.healthy.is_empty() {
            self.run_and_show(&sql)
        } else {
            self.screen.say(&format!("(an endpoint for {events} with the URL {url} is created in the same way)"));
            Table::query(&mut self.client, &sql)
        };
        let id = created.cell(0, "id").parse().expect("an id");
        Endpoint { id, auction_id, secret: created.cell(0, "generated_secret").to_owned() }
    }

    /// The same for an endpoint that answers 200. Every delivery committed for it must arrive.
    pub fn create_healthy_endpoint(&mut self, auction_id: Uuid, path: &str, events: &str) -> Endpoint {
        let endpoint = self.create_endpoint(auction_id, path, events);
        self.healthy.push(HealthyEndpoint { path: path.to_owned(), secret: endpoint.secret.clone(), committed: 0 });
        endpoint
    }

    /// Expects deliveries at an endpoint that was created in another way. Every delivery committed
    /// for it must arrive.
    pub fn expect_at(&mut self, path: &str, secret: &str) {
        self.healthy.push(HealthyEndpoint { path: path.to_owned(), secret: secret.to_owned(), committed: 0 });
    }

    /// Adds to the number of deliveries that were committed for this path.
    pub fn committed(&mut self, path: &str, count: usize) {
        self.healthy(path).committed += count;
    }

    /// Waits for the delivery that was just committed for this path, and shows its request.
    pub fn show_arrival(&mut self, path: &str) -> Request {
        let request = self.arrival(path);
        self.show(&request);
        request
    }

    /// The same, but shows only that the request arrived.
    pub fn arrival(&mut self, path: &str) -> Request {
        self.committed(path, 1);
        let due = self.healthy(path).committed;
        let request = wait_until(&format!("request {due} to {path}"), DEADLINE, || {
            self.receiver.requests_to(path).into_iter().nth(due - 1)
        });
        let milliseconds = self.after_commit(&request) * 1000.0;
        let secret = &self.healthy(path).secret.clone();
        let verdict = self.verifiers.verdicts(secret, std::slice::from_ref(&request)).remove(0);
        let error = verdict.as_ref().err().map_or(String::new(), |error| format!("; {error}"));
        let what = format!(
            "{} arrived {milliseconds:.1} ms after the server's time of the commit, with valid signatures{error}",
            request.event().unwrap_or("a request without an event")
        );
        self.screen.expect(verdict.is_ok(), &what);
        request
    }

    /// Compares the deliveries that arrived with those that were committed.
    pub fn tally(&self) -> Tally {
        Tally::count(&self.healthy, &self.receiver, &self.verifiers)
    }

    /// Waits until the first attempt of every delivery is recorded.
    pub fn settle(&mut self) {
        wait_until("every first attempt to be recorded", DEADLINE, || {
            let query = "select not exists (select from webhook_deliveries where status = 'pending')";
            let ended: bool = self.client.query_one(query, &[]).expect("the history is readable").get(0);
            ended.then_some(())
        });
    }

    /// Waits until the worker has created the day's partitions. It moves the events of before into
    /// them, which then have the time of that move instead of their commit.
    pub fn wait_for_partitions(&mut self) {
        wait_until("the partitions", DEADLINE, || {
            let query = "select exists (select from webhook_delivery.partitions('events'))";
            let exist: bool = self.client.query_one(query, &[]).expect("the catalogue is readable").get(0);
            exist.then_some(())
        });
    }

    /// Waits until the worker is ready to deliver, and returns its process id.
    pub fn worker_pid(&mut self) -> i32 {
        let query = "select worker_pid from webhook_delivery.status where state in ('waiting', 'sending')";
        wait_until("the worker", DEADLINE, || {
            self.client.query_opt(query, &[]).expect("the status is readable").map(|row| row.get(0))
        })
    }

    /// Shows the first request in full, and of every other request what differs from the first.
    fn show(&mut self, request: &Request) {
        let laid_out = json_format::indented(request.text(), WIDTH);
        let body: Vec<String> = laid_out.lines().map(str::to_owned).collect();
        let length = request.body.len();
        self.screen.quote(&format!("{} {}", request.method, request.path));
        let Some(first) = &self.first_shown else {
            for (name, value) in &request.headers {
                self.screen.quote(&format!("{name}: {value}"));
            }
            self.screen
                .say(&format!("and this body ({length} bytes on one line, which are what is signed; formatted here):"));
            self.screen.quote(&laid_out);
            self.first_shown = Some(Shown { headers: request.headers.clone(), body });
            return;
        };
        let new_headers: Vec<_> = request.headers.iter().filter(|header| !first.headers.contains(header)).collect();
        // Id and time are sent in two headers each. They are shown on one line.
        for (index, (_, value)) in new_headers.iter().enumerate() {
            if new_headers[..index].iter().all(|(_, earlier)| earlier != value) {
                let names = new_headers.iter().filter(|(_, other)| other == value).map(|(name, _)| name.as_str());
                self.screen.quote(&format!("{}: {value}", names.collect::<Vec<_>>().join(", ")));
            }
        }
        let same = request.headers.len() - new_headers.len();
        self.screen.say(&format!("and {same} headers as in the first request. New in the body ({length} bytes):"));
        for line in body.iter().filter(|line| !first.body.contains(line)) {
            self.screen.quote(line);
        }
    }

    /// Seconds from the commit, as recorded by the server, to the arrival of the last byte.
    fn after_commit(&mut self, request: &Request) -> f64 {
        let query = "select pg_xact_commit_timestamp(event.xmin)
                     from webhook_deliveries as delivery join webhook_delivery.events as event on event.id = delivery.event_id
                     where delivery.id = $1";
        let row = self.client.query_one(query, &[&request.webhook_id()]).expect("the delivery is in the history");
        let committed_at: SystemTime = row.get(0);
        // The server records the time just before others see the commit, so on one clock the commit
        // cannot be later than the arrival.
        request.arrived_at.duration_since(committed_at).unwrap_or_default().as_secs_f64()
    }

    fn healthy(&mut self, path: &str) -> &mut HealthyEndpoint {
        self.healthy.iter_mut().find(|endpoint| endpoint.path == path).expect("an endpoint that was created")
    }
}
