//! Parts of pages that are generated from the catalogue: event types, settings, tables and
//! functions. `UPDATE_DOCS=1 make test ONLY=docs` writes them.

use std::fmt::Write;
use std::fs;

use postgres::Client;
use webhook_harness::{Cluster, checkout};

/// The page with the text between its markers replaced.
fn replaced(page: &str, name: &str, text: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let (head, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no marker {begin}"));
    let (_, tail) = rest.split_once("<!-- end -->").expect("a marker of the end");
    format!("{head}{begin}\n{}\n<!-- end -->{tail}", text.trim())
}

#[track_caller]
fn assert_current(path: &str, name: &str, text: &str) {
    let path = checkout().join(path);
    let page = fs::read_to_string(&path).expect("a page");
    let expected = replaced(&page, name, text);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("a page");
    } else {
        assert!(page == expected, "{} is not current: run UPDATE_DOCS=1 make test ONLY=docs", path.display());
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn events(client: &mut Client) -> String {
    let query = "select family, event_type, description, example from webhook_event_types order by family = 'webhook', family, event_type";
    let mut text = String::new();
    let mut last = String::new();
    for row in client.query(query, &[]).unwrap() {
        let (family, event_type, description): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let example: serde_json::Value = row.get(3);
        let example = serde_json::to_string_pretty(&example).unwrap();
        if family != last {
            writeln!(text, "### {family}\n").unwrap();
            last = family;
        }
        writeln!(text, "#### {event_type}\n\n{}\n\n```json\n{example}\n```\n", wrap(&description)).unwrap();
    }
    text
}

/// A paragraph in lines of at most 100 columns.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}

/// A default value of a setting with the unit that people would use.
fn with_unit(value: &str, unit: &str) -> String {
    let Ok(number) = value.parse::<i64>() else { return value.to_owned() };
    let units: &[(i64, &str)] = match unit {
        "ms" => &[(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")],
        "s" => &[(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")],
        "min" => &[(1440, "d"), (60, "h"), (1, "min")],
        "B" => &[(1024 * 1024, "MB"), (1024, "kB"), (1, "B")],
        "kB" => &[(1024, "MB"), (1, "kB")],
        _ => return value.to_owned(),
    };
    let fitting = units.iter().find(|(size, _)| number != 0 && number % size == 0);
    fitting.map_or_else(|| value.to_owned(), |(size, name)| format!("{}{name}", number / size))
}

fn settings(client: &mut Client) -> String {
    let query = "select name, coalesce(boot_val, ''), coalesce(unit, ''), context, short_desc, coalesce(extra_desc, '')
        from pg_settings where name like 'webhook_delivery.%' order by name";
    let mut text = "| setting | default | takes effect | |\n|---|---|---|---|\n".to_owned();
    for row in client.query(query, &[]).unwrap() {
        let [name, value, unit, context, short, extra] = [0, 1, 2, 3, 4, 5].map(|column| row.get::<_, String>(column));
        let value = if value.is_empty() { "empty".to_owned() } else { format!("`{}`", with_unit(&value, &unit)) };
        let when = match context.as_str() {
            "postmaster" => "restart",
            "sighup" => "reload",
            "superuser" => "at once, superuser",
            _ => "at once",
        };
        writeln!(text, "| `{name}` | {value} | {when} | {} |", cell(&format!("{short} {extra}"))).unwrap();
    }
    text
}

/// Relations of the extension that people read, with their columns.
const RELATIONS: &str = "select class.oid::regclass::text, relkind::text, obj_description(class.oid, 'pg_class'),
        array(select jsonb_build_array(attname, format_type(atttypid, atttypmod), coalesce(col_description(attrelid, attnum), ''))::text
            from pg_attribute where attrelid = class.oid and attnum > 0 and not attisdropped order by attnum)
    from pg_class as class
    where relkind in ('r', 'v', 'p') and (relnamespace = 'public'::regnamespace
        or class.oid = any ('{webhook_delivery.status, webhook_delivery.metrics, webhook_delivery.capture_errors, webhook_delivery.pauses}'::regclass[]))
        and class.oid in (select objid from pg_depend where deptype = 'e' and classid = 'pg_class'::regclass)
    order by relnamespace <> 'public'::regnamespace, 1";

/// Functions of the interface: those in public, and those that other roles or operators call.
const FUNCTIONS: &str = "select case when nspname = 'public' then '' else nspname || '.' end || proname,
        pg_get_function_arguments(proc.oid), pg_get_function_result(proc.oid), obj_description(proc.oid, 'pg_proc'),
        has_function_privilege('of_tenants', proc.oid, 'execute') and nspname = 'public',
        has_function_privilege('of_application', proc.oid, 'execute'), prokind::text
    from pg_proc as proc join pg_namespace on pg_namespace.oid = pronamespace
    where proc.oid in (select objid from pg_depend where deptype = 'e' and classid = 'pg_proc'::regclass
            and refobjid = (select oid from pg_extension where extname = 'webhook_delivery'))
        and (nspname = 'public'
            or proname ~ '^grant_' or proname in ('redeliver', 'cancel', 'administered_auctions', 'emit', 'backfill', 'emit_statement',
                'register_event_type', 'schema_of', 'set_payload_function', 'row_event', 'capture_row_change', 'capture_partition_move',
                'install_triggers', 'remove_triggers', 'recapture', 'pause', 'resume', 'wait_for_delivery', 'create_partitions',
                'admin_page', 'drop_expired', 'reencrypt_secrets'))
        -- PostgREST takes these for relationships.
        and not (nspname = 'public' and proname in (select relname from pg_class where relnamespace = 'public'::regnamespace))
    order by nspname <> 'public', proname, 2";

const TYPES: &str = "select typname::text, obj_description(oid, 'pg_type'),
        array_to_string(array(select enumlabel from pg_enum where enumtypid = pg_type.oid order by enumsortorder), ', ')
    from pg_type where typtype = 'e' and typname like 'webhook%' order by 1";

fn reference(client: &mut Client) -> String {
    client
        .batch_execute(
            "create role of_tenants; create role of_application;
             select webhook_delivery.grant_api('of_tenants'), webhook_delivery.grant_application('of_application')",
        )
        .unwrap();
    let mut text = "## Tables and views\n\n".to_owned();
    for row in client.query(RELATIONS, &[]).unwrap() {
        let (name, kind, comment): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let kind = if kind == "v" { "View" } else { "Table" };
        writeln!(text, "### {name}\n\n{}\n\n| column | type | |\n|---|---|---|", wrap(&format!("{kind}. {comment}.")))
            .unwrap();
        for column in row.get::<_, Vec<String>>(3) {
            let [name, of, comment]: [String; 3] = serde_json::from_str(&column).unwrap();
            writeln!(text, "| `{name}` | {of} | {} |", cell(&comment)).unwrap();
        }
        text.push('\n');
    }
    text += "## Types\n\n";
    for row in client.query(TYPES, &[]).unwrap() {
        let [name, comment, labels] = [0, 1, 2].map(|column| row.get::<_, String>(column));
        writeln!(text, "### {name}\n\n{}\n", wrap(&format!("{comment}. Values: {labels}."))).unwrap();
    }
    text += "## Functions\n\n";
    for row in client.query(FUNCTIONS, &[]).unwrap() {
        let [name, arguments, result, comment] = [0, 1, 2, 3].map(|column| row.get::<_, String>(column));
        let who = match (row.get::<_, bool>(4), row.get::<_, bool>(5)) {
            (true, _) => "Tenants",
            (_, true) => "Application",
            _ => "Owner",
        };
        writeln!(
            text,
            "### {name}()\n\n```\n{name}({arguments})\n    returns {result}\n```\n\n{}\n",
            wrap(&format!("*{who}.* {comment}."))
        )
        .unwrap();
    }
    text
}

#[test]
fn generated_parts_of_the_docs_are_current() {
    let (_cluster, mut client) = Cluster::with_client(&[]);
    let (events, settings, reference) = (events(&mut client), settings(&mut client), reference(&mut client));
    assert_current("docs/events.md", "events", &events);
    assert_current("docs/settings.md", "settings", &settings);
    assert_current("docs/sql-reference.md", "reference", &reference);
}
