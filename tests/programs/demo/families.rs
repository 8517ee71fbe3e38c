//! One event of each family, as the application's own statements make them.

use uuid::{Uuid, uuid};
use webhook_harness::sample::{DANA, KIM, NORTH_LOT, RIVERSIDE, SAM};

use crate::json;
use crate::screen::WIDTH;
use crate::stage::Stage;

const PATH: &str = "/everything-else";

const PROBLEM: Uuid = uuid!("9b000000-0000-4000-8000-000000000001");
const CHANNEL: Uuid = uuid!("c0000000-0000-4000-8000-000000000001");

/// Events that are shown.
pub const SHOWN: usize = 6;

pub fn of_every_family(stage: &mut Stage) {
    stage.screen.heading("One event of each of the other families");
    stage.create_good_endpoint(RIVERSIDE, PATH, "inspection.*,problem.status_changed,message.*,channel.*,member.*");
    // Of an event that the endpoint does not want.
    stage.run(&format!(
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
        stage.run(&sql);
        let request = stage.arrival(PATH);
        stage.screen.expect(request.event() == Some(event), event);
        let data = request.text().split_once(r#""data":"#).map_or("", |(_, data)| data);
        stage.screen.quote(&json::indented(data.strip_suffix('}').unwrap_or(data), WIDTH));
    }
}
