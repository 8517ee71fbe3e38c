//! One event of each family, caused by the application's own statements.

use uuid::{Uuid, uuid};
use webhook_harness::sample::{DANA, KIM, NORTH_LOT, RIVERSIDE, SAM};

use crate::demo::Demo;
use crate::json_format;
use crate::screen::WIDTH;

const PATH: &str = "/everything-else";

const PROBLEM: Uuid = uuid!("9b000000-0000-4000-8000-000000000001");
const CHANNEL: Uuid = uuid!("c0000000-0000-4000-8000-000000000001");

/// Number of events that are shown.
pub const SHOWN: usize = 6;

pub fn of_every_family(demo: &mut Demo) {
    demo.screen.heading("One event of each of the other families");
    demo.create_healthy_endpoint(RIVERSIDE, PATH, "inspection.*,problem.status_changed,message.*,channel.*,member.*");
    // The endpoint does not subscribe to the event of this statement.
    demo.run(&format!(
        "insert into problems (id, auction_id, issue_name, prepared_by) values ('{PROBLEM}', '{RIVERSIDE}', 'Gate B', '{DANA}');"
    ));
    for (event, sql) in [
        (
            "inspection.created",
            format!(
                "with inspection as (
    insert into inspections (auction_id, location_id, user_id, vin_number)
    values ('{RIVERSIDE}', '{NORTH_LOT}', '{DANA}', '1HGCM82633A004352') returning id)
insert into inspection_defects (inspection_id, category, notes) select id, 'paint', 'Scratch' from inspection;"
            ),
        ),
        (
            "problem.status_changed",
            "begin; update problems set status = 'in_progress'; update problems set status = 'closed'; commit;"
                .to_owned(),
        ),
        (
            "channel.created",
            format!("insert into channels (id, auction_id, name) values ('{CHANNEL}', '{RIVERSIDE}', 'lot-runners');"),
        ),
        (
            "message.created",
            format!(
                "insert into messages (auction_id, channel_id, user_id, content, mentions)
values ('{RIVERSIDE}', '{CHANNEL}', '{DANA}', '@Sam the blue truck is ready 🚚', '{{{SAM}}}');"
            ),
        ),
        (
            "member.joined",
            format!(
                "insert into auction_members (auction_id, user_id, invited_by) values ('{RIVERSIDE}', '{KIM}', '{DANA}');"
            ),
        ),
        (
            "member.removed",
            format!("delete from auction_members where user_id = '{KIM}' and auction_id = '{RIVERSIDE}';"),
        ),
    ] {
        demo.run(&sql);
        let request = demo.arrival(PATH);
        demo.screen.expect(request.event() == Some(event), event);
        let data = request.text().split_once(r#""data":"#).map_or("", |(_, data)| data);
        demo.screen.quote(&json_format::indented(data.strip_suffix('}').unwrap_or(data), WIDTH));
    }
}
