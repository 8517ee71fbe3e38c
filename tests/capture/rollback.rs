//! Rollback: events of rolled back transactions and savepoints are never sent, all others are.

use postgres::Client;
use uuid::Uuid;
use webhook_harness::{Application, Receiver, Reply, Submission, sample};

/// An application with two submissions without events, and an endpoint for all events of Riverside.
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

    /// Inserts a submission in the open transaction.
    fn submit_within(&mut self) -> Uuid {
        Submission::of_riverside().insert_without_transaction(self.client()).unwrap()
    }

    #[track_caller]
    fn edit(&mut self, id: Uuid) {
        let edit = "update public.submissions set image_url = coalesce(image_url, 'https://img.example.com/') || 'x' where id = $1";
        assert_eq!(self.client().execute(edit, &[&id]).unwrap(), 1);
    }

    /// Asserts which events were sent, once the queue is empty: `created` or `updated`, and the
    /// submission.
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
fn rolled_back_transaction_sends_nothing() {
    let mut scene = Scene::new();
    let first = scene.first;
    scene.execute("begin");
    scene.submit_within();
    scene.edit(first);
    scene.execute("rollback");
    assert_eq!(scene.application.count("select count(*) from webhook_delivery.events"), 0);
    // The next transaction of the same session sends only its own event.
    let kept = scene.submit();
    scene.assert_sent(&[("created", kept)]);
}

#[test]
fn transaction_that_fails_at_commit_sends_nothing() {
    let mut scene = Scene::new();
    scene.execute("alter table public.submissions add constraint late unique (auction_id, image_url) deferrable initially deferred");
    scene.execute("begin");
    scene.execute("update public.submissions set image_url = 'https://img.example.com/same.jpg'");
    assert!(scene.client().batch_execute("commit").is_err());
    let kept = scene.submit();
    scene.assert_sent(&[("created", kept)]);
}

#[test]
fn rolled_back_savepoint_sends_nothing() {
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
fn rolled_back_savepoint_is_dropped_with_immediate_constraints() {
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
    // Everything since `outer_one` is rolled back. A later savepoint that is released counts.
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
fn event_shows_committed_rows_with_immediate_constraints() {
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
fn block_with_a_caught_exception_sends_nothing() {
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
