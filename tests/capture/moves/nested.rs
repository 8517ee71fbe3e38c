//! Moves while other rows move, and moves that end otherwise.

use super::*;

/// The trigger for moves on orders, and a second partitioned table whose rows the application's
/// functions move while the extension captures a move of orders.
const NESTED: &str = "
    create trigger webhook_delivery_moved after insert or delete on orders for each row execute function webhook_delivery.capture_partition_move();
    create table others (id bigint, auction_id uuid, state text, price integer, note text) partition by list (state);
    create table others_a partition of others for values in ('a');
    create table others_b partition of others for values in ('b');
    create trigger webhook_delivery_moved after insert or delete on others for each row execute function webhook_delivery.capture_partition_move();
    insert into others select n, gen_random_uuid(), 'a', n, 'of another' from generate_series(1, 10) as n;
    create function swap() returns void language sql as $$ update public.others set state = case state when 'a' then 'b' else 'a' end $$;
    create function swap_and_agree() returns boolean language plpgsql as $$ begin perform public.swap(); return true; end $$;
    create function swap_in_trigger() returns trigger language plpgsql as $$ begin perform public.swap(); return null; end $$;";

fn kinds(listener: &mut Listener) -> Vec<String> {
    listener.received().into_iter().map(|(event, _)| event).collect()
}

#[test]
fn rows_moved_meanwhile_in_another_table_disturb_no_move() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(THREE);
    listener.run(NESTED);
    listener.run("drop trigger b_updated on orders; create trigger b_updated after update on orders for each row when (swap_and_agree())
        execute function webhook_delivery.row_event('order.updated', 'auction_id', 'auction_id')");
    listener.run(&place(7));
    listener.received();
    for (round, state) in ["paid", "placed", "sent", "placed", "paid"].into_iter().enumerate() {
        // Between the triggers for the deleted row, and between those for the inserted one.
        match round {
            1 => {
                listener.run("create trigger aa after delete on orders for each row execute function swap_in_trigger()")
            }
            2 => {
                listener.run("create trigger zz after delete on orders for each row execute function swap_in_trigger()")
            }
            3 => {
                listener.run("create trigger bb after insert on orders for each row execute function swap_in_trigger()")
            }
            4 => listener.run(
                "create trigger zz_inserted after insert on orders for each row execute function swap_in_trigger()",
            ),
            _ => {}
        }
        listener.run(&format!("update orders set state = '{state}'"));
        let arrived = listener.received();
        assert_eq!(arrived.len(), 1, "{state}: {arrived:?}");
        let (event, data) = &arrived[0];
        assert_eq!((event.as_str(), &data["state"], &data["price"]), ("order.updated", &json!(state), &json!(7)));
        assert!(data["previous"]["state"].is_string() && data["previous"].as_object().unwrap().len() == 1, "{data}");
    }
}

#[test]
fn rows_moved_by_a_trigger_send_one_update_each() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(THREE);
    listener.run(
        "create trigger webhook_delivery_moved after insert or delete on orders for each row execute function webhook_delivery.capture_partition_move();
         create function follow() returns trigger language plpgsql as
             $$ begin update public.orders set state = new.state where id = new.id + 1 and state <> new.state; return null; end $$;
         create trigger bb_follow after insert on orders for each row execute function follow()",
    );
    listener.run("alter table orders disable trigger bb_follow");
    listener.run(&format!("{}; {}; {}", place(1), place(2), place(3)));
    listener.received();
    listener.run("alter table orders enable trigger bb_follow; update orders set state = 'paid' where id = 1");
    let mut arrived = received(&mut listener, "id");
    arrived.sort_by_key(|(_, id)| id.as_i64());
    assert_eq!(
        arrived,
        events(&[("order.updated", json!(1)), ("order.updated", json!(2)), ("order.updated", json!(3))])
    );
}

#[test]
fn privilege_changes_during_a_move_do_not_disturb_it() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(THREE);
    // Each invalidation of the relation makes the session rebuild its description and its triggers.
    listener.run(
        "create function grant_and_agree() returns boolean language plpgsql as $$
         begin
             execute 'grant select on orders_paid, orders_placed to public'; execute 'revoke select on orders_paid, orders_placed from public';
             perform count(*) from pg_class as c where has_table_privilege(c.oid, 'select');
             for n in 1..200 loop execute format('select count(*) from (select %s as x%s from pg_class limit 1) as s', n, n); end loop;
             return true;
         end $$;
         create trigger b_granting after update on orders for each row when (grant_and_agree())
             execute function webhook_delivery.row_event('order.priced', 'auction_id', 'auction_id')",
    );
    listener.run(&place(1));
    listener.received();
    listener.run("update orders set state = 'paid'");
    let mut found = kinds(&mut listener);
    found.sort();
    assert_eq!(found, ["order.priced", "order.updated"]);
}

#[test]
fn moved_row_that_never_arrives_sends_deleted() {
    let mut listener = Listener::start(&[]);
    listener.run(ORDERS);
    listener.run(THREE);
    listener.run(
        "create function refuse() returns trigger language plpgsql as $$ begin return null; end $$;
         create trigger refuse before insert on orders_paid for each row execute function refuse()",
    );
    listener.run(&format!("{}; {}", place(1), place(2)));
    listener.received();
    listener.run("update orders set state = 'paid' where id = 1");
    assert_eq!(received(&mut listener, "id"), events(&[("order.deleted", json!(1))]));
    // A row that the same statement inserts is not mistaken for the moved row.
    listener.run("create table orders_new partition of orders for values in ('new')");
    listener.run(&format!(
        "with gone as (update orders set state = 'paid' where id = 2 returning 1), counted as (select count(*) from gone)
         insert into orders (auction_id, state, price) select '{}', 'new', 3 from counted",
        sample::RIVERSIDE
    ));
    let mut arrived = listener.received();
    arrived.sort_by(|one, other| one.0.cmp(&other.0));
    let arrived: Vec<_> =
        arrived.into_iter().map(|(event, data)| (event, data["id"].clone(), data["previous"].clone())).collect();
    let expected = [("order.created", json!(3)), ("order.deleted", json!(2))];
    assert_eq!(arrived, expected.map(|(event, id)| (event.to_owned(), id, Value::Null)));
}

#[test]
fn row_moved_and_then_deleted_sends_deleted_once() {
    let mut listener = partitioned();
    let (riverside, sam) = (sample::RIVERSIDE, sample::SAM);
    listener.run(&format!(
        "insert into auction_members (auction_id, user_id, role) values ('{riverside}', '{sam}', 'member')"
    ));
    listener.received();
    listener.run("begin; update auction_members set role = 'admin'; delete from auction_members; commit");
    assert_eq!(received(&mut listener, "role"), events(&[("member.removed", json!("member"))]));
}
