//! A server like that of a Supabase project: its roles, its default privileges, and an application
//! whose owner is no superuser.

use postgres::Client;

use crate::application;
use crate::cluster::Cluster;

/// A server whose superuser is `supabase_admin`. The application and its triggers belong to
/// `postgres`.
pub struct Supabase {
    /// A session of `supabase_admin`. It is declared before the cluster so that it is closed first.
    pub admin: Client,
    /// Its `Cluster::connect` returns a session of `postgres`.
    pub cluster: Cluster,
}

impl Supabase {
    /// Starts a server with the extension as an administrator installs it, and the application.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Supabase {
        let mut supabase = Supabase::without_extension(settings);
        supabase
            .run_as_admin("create extension webhook_delivery schema extensions; select webhook_delivery.grant_application('postgres')");
        let mut owner = supabase.cluster.connect();
        application::install_tables(&mut owner);
        owner
            .batch_execute(MEMBERS_ONLY)
            .unwrap_or_else(|e| panic!("the policies could not be created: {:?}", e.as_db_error()));
        let triggers = "select webhook_delivery.install_triggers()";
        owner
            .batch_execute(triggers)
            .unwrap_or_else(|e| panic!("the triggers could not be installed: {:?}", e.as_db_error()));
        supabase
    }

    /// Starts a server like that of a new project.
    #[track_caller]
    pub fn without_extension(settings: &[(&str, &str)]) -> Supabase {
        let cluster = Cluster::start(settings);
        // The first superuser cannot lose its privilege, and no role can rename itself.
        cluster.execute("create role renamer superuser login");
        let rename = "alter role postgres rename to supabase_admin";
        cluster.connect_as("renamer", "postgres").batch_execute(rename).expect("a superuser can rename another");
        let mut admin = cluster.connect_as("supabase_admin", "postgres");
        for sql in ["drop role renamer", include_str!("supabase.sql")] {
            admin.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
        }
        Supabase { admin, cluster }
    }

    /// Executes statements as `supabase_admin`.
    #[track_caller]
    pub fn run_as_admin(&mut self, sql: &str) {
        self.admin.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }
}

/// The application's own row-level security: members access only the submissions of their auctions.
const MEMBERS_ONLY: &str = "alter table public.submissions enable row level security;
    create policy members on public.submissions
        using (auction_id in (select auction_id from public.auction_members where user_id = auth.uid()))";
