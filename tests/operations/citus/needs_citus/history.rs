//! The history of all nodes.

use uuid::Uuid;
use webhook_harness::{Cluster, DEADLINE, Receiver, Reply, StopMode, refusal, sample, tenant, wait_until};

use crate::citus::nodes::{Nodes, psql};

const NONE: [Uuid; 0] = [];
const SEEN: &str = "select id from webhook_deliveries_of_all_nodes";

fn emit(node: &Cluster, auction: Uuid) {
    psql(node, &format!("select webhook_delivery.emit('order.created', '{auction}', '{{}}')"));
}

#[test]
#[ignore = "needs Citus"]
fn deliveries_of_all_nodes_are_seen_from_each_by_those_who_may() {
    let nodes = Nodes::start(&[]);
    let receiver = Receiver::start(|_| Reply::ok());
    let mut client = nodes.coordinator.connect();
    webhook_harness::application::install_tables(&mut client);
    for auction in [sample::RIVERSIDE, sample::HILLTOP] {
        nodes.endpoint(auction, &receiver.url("/"));
    }
    let all: Vec<&Cluster> = nodes.workers.iter().chain([&nodes.coordinator]).collect();
    for node in &all {
        emit(node, sample::RIVERSIDE);
    }
    emit(all[0], sample::HILLTOP);
    let ended = "select count(*) from webhook_deliveries_of_all_nodes() where status = 'success'";
    wait_until("the history", DEADLINE, || (all[1].query_one::<i64>(ended, &[]) == 4).then_some(()));

    // What each node shows of its own, in the order of their times.
    let mut own: Vec<String> = all
        .iter()
        .flat_map(|node| {
            let rows = psql(node, "select created_at, delivery::text from webhook_deliveries as delivery");
            rows.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
        })
        .collect();
    own.sort_unstable_by(|one, other| other.cmp(one));
    for node in &all {
        let rows = psql(node, "select created_at, delivery::text from webhook_deliveries_of_all_nodes() as delivery");
        assert_eq!(rows.lines().collect::<Vec<_>>(), own, "the operator sees the deliveries of all nodes");
    }

    tenant::create_roles(&mut client);
    let mut dana = tenant::session_of(&nodes.coordinator, "tenant", sample::DANA);
    let mut seen = |arguments: &str| -> Vec<Uuid> {
        dana.query(&format!("{SEEN}({arguments})"), &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let riverside = format!("'{}'", sample::RIVERSIDE);
    let three = seen(&riverside);
    assert_eq!(three.len(), 3);
    assert_eq!(seen(&format!("{riverside}, max_rows => 2")), three[..2]);
    assert_eq!(seen(&format!("'{}'", sample::HILLTOP)), NONE, "another auction's");
    assert_eq!(seen(""), NONE, "all auctions");
    assert_eq!(seen(&format!("{riverside}, before => '{}'", three[0])), three[1..]);
    assert_eq!(seen(&format!("{riverside}, before => '{}', max_rows => 1", three[1])), three[2..]);
    for arguments in ["max_rows => 1001", "max_rows => 0", "max_rows => null"] {
        let error = refusal(&mut dana, &format!("{SEEN}({arguments})"), &[]);
        assert_eq!(error.code().code(), "22023", "{error}");
    }

    // Functions and operators of the application in public do not run as the extension's owner.
    psql(
        &nodes.coordinator,
        "create function public.jsonb_agg(record) returns jsonb language plpgsql as $$ begin raise 'not this'; end $$;
         create function public.is_less(uuid, uuid) returns boolean language plpgsql as $$ begin raise 'not this'; end $$;
         create operator public.< (function = public.is_less, leftarg = uuid, rightarg = uuid)",
    );
    let mut seen = |arguments: &str| dana.query(&format!("{SEEN}({arguments})"), &[]).unwrap().len();
    assert_eq!(seen(&format!("{riverside}, before => '{}'", three[0])), 2);

    nodes.workers[0].stop(StopMode::Immediate);
    let error = refusal(&mut dana, &format!("{SEEN}({riverside})"), &[]);
    assert_eq!(error.code().code(), "08006", "nothing is left out: {error}");
    let host = nodes.workers[0].socket_dir().display().to_string();
    assert!(!format!("{error:?}").contains(&host), "tenants learn no addresses: {error:?}");
}
