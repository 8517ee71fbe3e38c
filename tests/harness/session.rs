//! SQL sessions of a test.

use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, NoTls};

use crate::cluster::Cluster;
use crate::wait::{DEADLINE, wait_until};

impl Cluster {
    /// A session in the database `postgres`, as superuser.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.connect_to("postgres")
    }

    /// A session in another database, as superuser.
    #[track_caller]
    pub fn connect_to(&self, database: &str) -> Client {
        self.connect_as("postgres", database)
    }

    /// A session as another role. Waits for a server that is starting, or recovering after a
    /// process was killed.
    #[track_caller]
    pub fn connect_as(&self, role: &str, database: &str) -> Client {
        wait_until("the server to accept connections", DEADLINE, || match self.try_connect_as(role, database) {
            Ok(client) => Some(client),
            Err(error) if is_transient(&error) => None,
            Err(error) => panic!("could not connect to {database} as {role}: {}", describe(&error)),
        })
    }

    /// Tries once to connect, and returns the error if the server refuses the connection.
    pub fn try_connect_as(&self, role: &str, database: &str) -> Result<Client, postgres::Error> {
        let mut config = self.config();
        config.user(role).dbname(database).connect(NoTls)
    }

    /// The connection parameters, for other ways to connect.
    pub fn config(&self) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host_path(&self.socket_dir).user("postgres").dbname("postgres").connect_timeout(DEADLINE);
        config
    }

    /// Executes statements in a new session.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        if let Err(error) = self.connect().batch_execute(sql) {
            panic!("{sql}\nfailed: {}", describe(&error));
        }
    }

    /// Executes a query in a new session and returns its only value.
    #[track_caller]
    pub fn query_one<T: FromSqlOwned>(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> T {
        match self.connect().query_one(sql, parameters) {
            Ok(row) => row.get(0),
            Err(error) => panic!("{sql}\nfailed: {}", describe(&error)),
        }
    }

    /// Changes a setting as an administrator does, with `ALTER SYSTEM` and a reload.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        let mut client = self.connect();
        let statement = format!("alter system set {name} = '{}'", value.replace('\'', "''"));
        client.batch_execute(&statement).unwrap_or_else(|e| panic!("{statement}\nfailed: {}", describe(&e)));
        self.reload();
    }
}

/// Whether the server is starting, recovering or shutting down, or is not running at the moment.
fn is_transient(error: &postgres::Error) -> bool {
    error.code().is_none_or(|state| state.code().starts_with("57P"))
}

/// The server's error message. The driver's own message is only "db error".
fn describe(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => format!(
            "{}: {}\nDETAIL: {}\nHINT: {}",
            server.code().code(),
            server.message(),
            server.detail().unwrap_or("-"),
            server.hint().unwrap_or("-")
        ),
        None => error.to_string(),
    }
}
