//! `webhook_deliveries_of_all_nodes()` without Citus: the same rows as `webhook_deliveries`.

use uuid::Uuid;
use webhook_harness::{Application, DEADLINE, Receiver, Reply, Submission, refusal, sample};

#[test]
fn deliveries_of_all_nodes_are_paged_and_only_for_those_who_may_see_them() {
    let receiver = Receiver::start(|_| Reply::ok());
    let mut application = Application::start(&[]);
    for auction in [sample::RIVERSIDE, sample::HILLTOP] {
        application.endpoint(auction, &receiver.url("/"), &["*"]);
    }
    for _ in 0..3 {
        Submission::of_riverside().insert(&mut application.client);
    }
    Submission::of_hilltop().insert(&mut application.client);
    receiver.wait_for_distinct(4, DEADLINE);
    application.settle();
    let all = "select count(*) from (select * from webhook_deliveries_of_all_nodes() except all select * from webhook_deliveries) as other";
    assert_eq!(application.count(all), 0);
    assert_eq!(application.count("select count(*) from webhook_deliveries_of_all_nodes()"), 4);

    let mut dana = application.create_tenant(sample::DANA);
    let mut seen = |arguments: &str| -> Vec<Uuid> {
        let query = format!("select id from webhook_deliveries_of_all_nodes({arguments})");
        dana.query(&query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let riverside = format!("'{}'", sample::RIVERSIDE);
    let three = seen(&riverside);
    assert_eq!(three.len(), 3);
    assert_eq!(seen(&format!("{riverside}, max_rows => 2")), three[..2]);
    assert_eq!(seen(&format!("{riverside}, before => '{}'", three[1])), three[2..]);
    assert!(seen(&format!("'{}'", sample::HILLTOP)).is_empty(), "another auction's");
    assert!(seen("").is_empty(), "all auctions");
    for rows in ["0", "1001", "null"] {
        let query = format!("select * from webhook_deliveries_of_all_nodes(max_rows => {rows})");
        assert_eq!(refusal(&mut dana, &query, &[]).code().code(), "22023", "{rows}");
    }
}
