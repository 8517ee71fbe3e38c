//! What was rolled back is never sent, and what was not is always sent.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, Receiver, Reply, Submission, sample};

/// An application with two submissions whose own events are gone, and an endpoint for all of Riverside's.
struct Scene {
    application: Application,
    receiver: Receiver,
    first: Uuid,
    second: Uuid,
}

impl Scene {
    fn new() -> Scene {
        let receiver = Receiver::start(|_| Reply::ok());
        let mut application = Application::start(&[]);
        let [first, second] = [(), ()].map(|()| Submission::of_riverside().insert(&mut application.client));
        application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        Scene { application, receiver, first, second }
    }

    fn client(&mut self) -> &mut Client {
        &mut self.application.client
    }

    #[track_caller]
    fn execute(&mut self, sql: &str) {
        self.client().batch_execute(sql).unwrap_or_else(|e| panic!("{sql}\nfailed: {:?}", e.as_db_error()));
    }

    fn submit(&mut self) -> Uuid {
        Submission::of_riverside().insert(self.client())
    }

    /// In the transaction that is open.
    fn submit_within(&mut self) -> Uuid {
        Submission::of_riverside().insert_without_transaction(self.client()).unwrap()
    }

    #[track_caller]
    fn edit(&mut self, id: Uuid) {
        let edit = "update public.submissions set image_url = coalesce(image_url, 'https://img.example.com/') || 'x' where id = $1";
        assert_eq!(self.client().execute(edit, &[&id]).unwrap(), 1);
    }

    /// What was sent, once nothing is left to send: `created` and the submission, or `updated`.
    #[track_caller]
    fn assert_sent(&mut self, expected: &[(&str, Uuid)]) {
        self.application.settle();
        let mut sent: Vec<(String, Uuid)> = Vec::new();
        for request in self.receiver.requests() {
            let body = request.json();
            let event = body["event"].as_str().unwrap().strip_prefix("submission.").unwrap().to_owned();
            sent.push((event, body["data"]["id"].as_str().unwrap().parse().unwrap()));
        }
        self.receiver.clear();
        let mut expected: Vec<_> = expected.iter().map(|(event, id)| ((*event).to_owned(), *id)).collect();
        expected.sort();
        sent.sort();
        assert_eq!(sent, expected);
    }
}

#[test]
fn a_transaction_rolled_back_sends_nothing() {
    let mut scene = Scene::new();
    let first = scene.first;
    scene.execute("begin");
    scene.submit_within();
    scene.edit(first);
    scene.execute("rollback");
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.events"), 0);
    // The next transaction of the same session brings nothing of it along.
    let kept = scene.submit();
    scene.assert_sent(&[("created", kept)]);
}

#[test]
fn a_transaction_that_fails_at_its_commit_sends_nothing() {
    let mut scene = Scene::new();
    scene.execute("alter table public.submissions add constraint late unique (auction_id, image_url) deferrable initially deferred");
    scene.execute("begin");
    scene.execute("update public.submissions set image_url = 'https://img.example.com/same.jpg'");
    assert!(scene.client().batch_execute("commit").is_err());
    let kept = scene.submit();
    scene.assert_sent(&[("created", kept)]);
}

#[test]
fn a_savepoint_rolled_back_takes_its_events_with_it() {
    let mut scene = Scene::new();
    let (first, second) = (scene.first, scene.second);
    scene.execute("begin");
    let kept = scene.submit_within();
    scene.edit(first);
    scene.execute("savepoint before");
    scene.submit_within();
    scene.edit(first);
    scene.edit(second);
    scene.execute("rollback to before");
    scene.execute("commit");
    scene.assert_sent(&[("created", kept), ("updated", first)]);
}

#[test]
fn a_savepoint_rolled_back_takes_its_events_with_it_also_where_constraints_are_immediate() {
    let mut scene = Scene::new();
    let (first, second) = (scene.first, scene.second);
    scene.execute("begin; set constraints all immediate");
    let kept = scene.submit_within();
    scene.edit(first);
    scene.execute("savepoint outer_one; savepoint inner_one");
    scene.submit_within();
    scene.edit(first);
    scene.edit(second);
    scene.execute("release inner_one; rollback to outer_one");
    // Only seen in what was rolled back until now.
    scene.execute("savepoint again");
    let late = scene.submit_within();
    scene.execute("release again; commit");
    scene.assert_sent(&[("created", kept), ("created", late), ("updated", first)]);

    scene.execute("begin; set constraints all immediate; savepoint gone");
    scene.edit(second);
    scene.execute("rollback to gone");
    scene.edit(second);
    scene.execute("commit");
    scene.assert_sent(&[("updated", second)]);
}

#[test]
fn an_event_shows_the_rows_as_committed_also_where_constraints_were_immediate() {
    let mut scene = Scene::new();
    scene.execute("begin; set constraints all immediate");
    let id = scene.submit_within();
    scene.execute("update public.submission_entries set car_count = 1");
    scene.execute("commit");
    scene.application.settle();
    let requests = scene.receiver.requests();
    let of_created = requests.iter().find(|request| request.event() == Some("submission.created")).unwrap().json();
    assert_eq!(of_created["data"]["total_car_count"], 2);
    let (first, second) = (scene.first, scene.second);
    scene.assert_sent(&[("created", id), ("updated", first), ("updated", second)]);
}

#[test]
fn an_exception_that_a_function_catches_takes_its_events_with_it() {
    let mut scene = Scene::new();
    let (first, second) = (scene.first, scene.second);
    let block = |edit: &str| {
        format!(
            "do $$ begin
                update public.submissions set image_url = 'https://img.example.com/kept.jpg' where id = '{first}';
                begin {edit}; raise exception 'too late'; exception when others then null; end;
            end $$"
        )
    };
    scene.execute(&block(&format!("update public.submissions set image_url = null where id = '{first}'")));
    scene.assert_sent(&[("updated", first)]);
    scene.execute(&format!(
        "begin; set constraints all immediate; {}; commit",
        block(&format!(
            "update public.submissions set image_url = 'https://img.example.com/lost.jpg' where id = '{second}'"
        ))
    ));
    scene.assert_sent(&[]);
}
