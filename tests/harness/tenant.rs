//! Sessions like PostgREST's, as a user of the application.

use postgres::Client;
use uuid::Uuid;

use crate::cluster::Cluster;

/// The roles that PostgREST uses: one that logs in and has no privileges, and one that it switches
/// to for each request.
const ROLES: &str = "create role authenticator login noinherit;
    create role tenant nologin;
    grant tenant to authenticator;
    grant usage on schema public to tenant;
    select webhook_delivery.grant_api('tenant')";

/// Creates the role `tenant`, which may use the tenants' interface, and `authenticator`, which may
/// switch to it.
#[track_caller]
pub fn create_roles(client: &mut Client) {
    client.batch_execute(ROLES).unwrap_or_else(|e| panic!("the roles could not be created: {:?}", e.as_db_error()));
}

/// A session like PostgREST's, with this role and these claims of a token.
#[track_caller]
pub fn session(cluster: &Cluster, role: &str, claims: &str) -> Client {
    let mut client = cluster.connect_as("authenticator", "postgres");
    client.batch_execute(&format!("set role {role}")).expect("authenticator can switch to the role");
    client.execute("select set_config('request.jwt.claims', $1, false)", &[&claims]).expect("claims can be set");
    client
}

/// A session of this user of the application, with this role.
#[track_caller]
pub fn session_of(cluster: &Cluster, role: &str, user: Uuid) -> Client {
    session(cluster, role, &format!("{{\"sub\": \"{user}\", \"role\": \"authenticated\"}}"))
}
