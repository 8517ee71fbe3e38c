//! Confused deputies: a role gains no privileges from another role that runs its functions.

use webhook_harness::{Listener, refusal, sample};

/// Creates a role that owns none of the application's tables, with SECURITY DEFINER functions.
const MALLORY: &str = "create role mallory login;
    grant usage, create on schema public to mallory;
    select webhook_delivery.grant_application('mallory');
    set role mallory;
    create function forged(uuid[]) returns table (id uuid, auction_id uuid, data json) language sql stable as
        $$ select gen_random_uuid(), '00000000-0000-4000-8000-000000000001'::uuid, '{\"forged\": true}'::json $$;
    create function set_function() returns integer language plpgsql security definer as
        $$ begin perform webhook_delivery.set_payload_function('problem.status_changed', 'public.forged(uuid[])'); return 1; end $$;
    create function unset_function() returns integer language plpgsql security definer as
        $$ begin perform webhook_delivery.set_payload_function('problem.status_changed', null); return 1; end $$;
    create table mine (id uuid, auction_id uuid);
    create function attach() returns integer language plpgsql security definer as
        $$ begin create trigger t after insert on public.problems for each row execute function webhook_delivery.row_event('problem.created', 'auction_id'); return 1; end $$;
    create view bait as select set_function(); create view more_bait as select unset_function(); create view trigger_bait as select attach();
    reset role;
    grant trigger on problems to mallory;";

#[test]
fn function_behind_a_view_that_a_superuser_reads_gains_nothing() {
    let mut listener = Listener::start(&[]);
    listener.run(MALLORY);
    for view in ["bait", "more_bait", "trigger_bait"] {
        let error = refusal(&mut listener.application.client, &format!("select * from {view}"), &[]);
        assert_eq!(error.code().code(), "42501", "{view}: {error}");
        assert!(error.message().starts_with("role mallory must be owner of"), "{view}: {error}");
    }
    // A superuser's SET ROLE and a change of a row give mallory nothing either.
    listener.run("set role mallory");
    assert_eq!(refusal(&mut listener.application.client, "select * from bait", &[]).code().code(), "42501");
    listener.run("reset role");
    listener.run(&format!("insert into problems (auction_id, issue_name) values ('{}', 'x')", sample::RIVERSIDE));
    listener.run("update problems set status = 'closed'");
    let received: Vec<String> = listener.received().into_iter().map(|(event, _)| event).collect();
    assert_eq!(received, ["problem.created", "problem.status_changed"]);
}

#[test]
fn owner_sets_a_payload_function_through_its_own_functions() {
    let mut listener = Listener::start(&[]);
    listener.run(MALLORY);
    listener.run("alter table problems owner to mallory; alter table problem_actions owner to mallory");
    let mut mallory = listener.application.cluster.connect_as("mallory", "postgres");
    mallory.batch_execute("select set_function(); select unset_function()").unwrap();
    // A superuser can also call them. They run with the owner's rights and gain none.
    listener.run("select set_function(); select webhook_delivery.set_payload_function('problem.status_changed', null)");
}
