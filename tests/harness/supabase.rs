//! What a Supabase project has: its roles, its default privileges, an application whose owner is no superuser.

use postgres::Client;

use crate::application;
use crate::cluster::Cluster;

/// A server whose superuser is `supabase_admin`. The application and its triggers are `postgres`'.
pub struct Supabase {
    /// A session of `supabase_admin`. Before the cluster, so that it is closed first.
    pub admin: Client,
    /// `Cluster::connect` gives a session of `postgres`.
    pub cluster: Cluster,
}

impl Supabase {
    /// With the extension as an administrator installs it, and the application.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Supabase {
        let mut supabase = Supabase::without_extension(settings);
        supabase
            .run_as_admin("create extension webhook_delivery schema extensions; select webhook_delivery.grant_application('postgres')");
        let mut owner = supabase.cluster.connect();
        application::install_tables(&mut owner);
        owner.batch_execute(MEMBERS_ONLY).unwrap_or_else(|e| panic!("no policies: {:?}", e.as_db_error()));
        let triggers = "select webhook_delivery.install_triggers()";
        owner.batch_execute(triggers).unwrap_or_else(|e| panic!("no triggers: {:?}", e.as_db_error()));
        supabase
    }

    /// As a new project is.
    #[track_caller]
    pub fn without_extension(settings: &[(&str, &str)]) -> Supabase {
        let cluster = Cluster::start(settings);
        // The first superuser cannot be demoted, and nobody renames himself.
        cluster.execute("create role renamer superuser login");
        let rename = "alter role postgres rename to supabase_admin";
        cluster.connect_as("renamer", "postgres").batch_execute(rename).expect("a superuser renames another");
        let mut admin = cluster.connect_as("supabase_admin", "postgres");
        for sql in ["drop role renamer", include_str!("supabase.sql")] {
            admin.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
        }
        Supabase { admin, cluster }
    }

    #[track_caller]
    pub fn run_as_admin(&mut self, sql: &str) {
        self.admin.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }
}

/// The application's own row-level security: members count the cars of their auctions.
const MEMBERS_ONLY: &str = "alter table public.submissions enable row level security;
    create policy members on public.submissions
        using (auction_id in (select auction_id from public.auction_members where user_id = auth.uid()))";
