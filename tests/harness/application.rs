//! An application whose row changes are captured, and the changes that a test makes.
//!
//! The tables and rows are those of `sql/auction/`. Functions that change rows take any client, so
//! that a test can choose the transaction.

use postgres::types::ToSql;
use postgres::{Client, GenericClient};
use uuid::{Uuid, uuid};

use crate::cluster::Cluster;
use crate::endpoint::Endpoint;
use crate::tenant;
use crate::wait::{DEADLINE, wait_until};

/// The rows of `sql/auction/sample.sql`.
pub mod sample {
    use super::{Uuid, uuid};

    /// An auction whose admin is [`DANA`].
    pub const RIVERSIDE: Uuid = uuid!("00000000-0000-4000-8000-000000000001");
    /// An auction whose owner is [`KIM`].
    pub const HILLTOP: Uuid = uuid!("00000000-0000-4000-8000-000000000002");
    /// Admin of Riverside.
    pub const DANA: Uuid = uuid!("00000000-0000-4000-8000-0000000000a1");
    /// A member of Riverside without other rights.
    pub const SAM: Uuid = uuid!("00000000-0000-4000-8000-0000000000a2");
    /// Owner of Hilltop.
    pub const KIM: Uuid = uuid!("00000000-0000-4000-8000-0000000000a3");
    /// A member of Riverside without a name.
    pub const NAMELESS: Uuid = uuid!("00000000-0000-4000-8000-0000000000a4");
    /// "North Lot", of Riverside.
    pub const NORTH_LOT: Uuid = uuid!("00000000-0000-4000-8000-0000000000b1");
    /// "South Lot", of Riverside.
    pub const SOUTH_LOT: Uuid = uuid!("00000000-0000-4000-8000-0000000000b2");
    /// "Main Lot", of Hilltop.
    pub const MAIN_LOT: Uuid = uuid!("00000000-0000-4000-8000-0000000000b3");
    /// A count type of Riverside.
    pub const SEDAN: Uuid = uuid!("00000000-0000-4000-8000-0000000000c1");
    /// A count type of Riverside.
    pub const TRUCK: Uuid = uuid!("00000000-0000-4000-8000-0000000000c2");
    /// A count type of Hilltop.
    pub const SUV: Uuid = uuid!("00000000-0000-4000-8000-0000000000c3");
}

/// The application's tables with the rows of the sample.
const SCHEMA: &str =
    concat!(include_str!("../../sql/auction/schema.sql"), include_str!("../../sql/auction/sample.sql"));

/// A server whose database `postgres` holds the extension and the application, with triggers on
/// the application's tables.
pub struct Application {
    /// A superuser's session. It is declared before the cluster so that it is closed first.
    pub client: Client,
    /// The server.
    pub cluster: Cluster,
}

impl Application {
    /// Starts a server with these settings in addition to the harness's.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Application {
        Application::on(Cluster::start(settings))
    }

    /// Installs the extension and the application on a running server.
    #[track_caller]
    pub fn on(cluster: Cluster) -> Application {
        let mut client = cluster.connect();
        install(&mut client);
        Application { client, cluster }
    }

    /// Creates an endpoint of this auction that subscribes to these events, with a generated
    /// secret.
    #[track_caller]
    pub fn endpoint(&mut self, auction_id: Uuid, url: &str, events: &[&str]) -> Endpoint {
        endpoint(&mut self.client, auction_id, url, events)
    }

    /// Creates the roles that PostgREST uses, and returns a session of this user with the role
    /// `tenant`. [`tenant::session_of`] returns further sessions.
    #[track_caller]
    pub fn create_tenant(&mut self, user: Uuid) -> Client {
        tenant::create_roles(&mut self.client);
        tenant::session_of(&self.cluster, "tenant", user)
    }

    /// Waits until every delivery has ended. Nothing arrives at a receiver after that.
    #[track_caller]
    pub fn settle(&mut self) {
        wait_until("the queue to be empty", DEADLINE, || {
            (self.count("select count(*) from webhook_delivery.queue") == 0).then_some(())
        });
    }

    /// Waits until `count` deliveries of all endpoints together have this status.
    #[track_caller]
    pub fn wait_for_deliveries(&mut self, count: i64, status: &str) {
        wait_until(&format!("{count} deliveries with status {status}"), DEADLINE, || {
            let query = "select count(*) from webhook_deliveries where status::text = $1";
            let found: i64 = self.client.query_one(query, &[&status]).expect("the history can be read").get(0);
            (found >= count).then_some(())
        });
    }

    /// Returns the result of a `select count(*) …`.
    #[track_caller]
    pub fn count(&mut self, query: &str) -> i64 {
        self.client.query_one(query, &[]).unwrap_or_else(|e| panic!("{query}\nfailed: {:?}", e.as_db_error())).get(0)
    }
}

/// Creates the extension and the application in the database of this session, with triggers on
/// the application's tables.
#[track_caller]
pub fn install(client: &mut Client) {
    for sql in ["create extension webhook_delivery", SCHEMA, "select webhook_delivery.install_triggers()"] {
        client.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }
}

/// Creates only the application's tables, with the rows of the sample.
#[track_caller]
pub fn install_tables(client: &mut Client) {
    client.batch_execute(SCHEMA).unwrap_or_else(|e| panic!("the tables could not be created: {:?}", e.as_db_error()));
}

/// Creates an endpoint of this auction that subscribes to these events, with a generated secret.
#[track_caller]
pub fn endpoint(client: &mut impl GenericClient, auction_id: Uuid, url: &str, events: &[&str]) -> Endpoint {
    let sql = "insert into webhook_endpoints (auction_id, url, events) values ($1, $2, $3) returning id, generated_secret(webhook_endpoints)";
    let row = client
        .query_one(sql, &[&auction_id, &url, &events])
        .unwrap_or_else(|e| panic!("an endpoint for {url} could not be created: {:?}", e.as_db_error()));
    Endpoint { id: row.get(0), auction_id, secret: row.get(1) }
}

/// A count as a member of an auction submits it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The auction that the count belongs to.
    pub auction_id: Uuid,
    /// The lot that was counted.
    pub location_id: Option<Uuid>,
    /// The user who counted.
    pub user_id: Option<Uuid>,
    /// A photo of the lot.
    pub image_url: Option<String>,
    /// Count types with numbers of cars, in order of position.
    pub entries: Vec<(Uuid, i32)>,
}

impl Submission {
    /// 42 sedans and 17 trucks on Riverside's North Lot, counted by Dana.
    pub fn of_riverside() -> Submission {
        Submission {
            auction_id: sample::RIVERSIDE,
            location_id: Some(sample::NORTH_LOT),
            user_id: Some(sample::DANA),
            image_url: None,
            entries: vec![(sample::SEDAN, 42), (sample::TRUCK, 17)],
        }
    }

    /// 5 SUVs on Hilltop's Main Lot, counted by Kim.
    pub fn of_hilltop() -> Submission {
        Submission {
            auction_id: sample::HILLTOP,
            location_id: Some(sample::MAIN_LOT),
            user_id: Some(sample::KIM),
            image_url: None,
            entries: vec![(sample::SUV, 5)],
        }
    }

    /// Inserts the submission and its entries in one transaction, and returns the submission's id.
    #[track_caller]
    pub fn insert(&self, client: &mut impl GenericClient) -> Uuid {
        self.try_insert(client).unwrap_or_else(|e| panic!("{self:?} could not be inserted: {:?}", e.as_db_error()))
    }

    /// The same, but returns an error of the database.
    pub fn try_insert(&self, client: &mut impl GenericClient) -> Result<Uuid, postgres::Error> {
        let mut transaction = client.transaction()?;
        let id = self.insert_without_transaction(&mut transaction)?;
        transaction.commit()?;
        Ok(id)
    }

    /// The same without a transaction of its own, for a session in which `begin` was executed.
    pub fn insert_without_transaction(&self, client: &mut impl GenericClient) -> Result<Uuid, postgres::Error> {
        let submission = "insert into public.submissions (auction_id, location_id, user_id, image_url) values ($1, $2, $3, $4) returning id";
        let entry = "insert into public.submission_entries (submission_id, type_id, position, car_count) values ($1, $2, $3, $4)";
        let parameters: &[&(dyn ToSql + Sync)] = &[&self.auction_id, &self.location_id, &self.user_id, &self.image_url];
        let id = client.query_one(submission, parameters)?.get(0);
        for (position, (type_id, car_count)) in (0_i32..).zip(&self.entries) {
            client.execute(entry, &[&id, type_id, &position, car_count])?;
        }
        Ok(id)
    }
}
