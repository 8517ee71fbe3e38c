//! All texts of the extension are ASCII, so that they can be converted to every client's encoding.
//! Its SQL has no backslash, so that it does not depend on `standard_conforming_strings`.

use std::fs;
use std::path::PathBuf;

use postgres::{Client, SimpleQueryMessage};
use webhook_harness::{Application, DEADLINE, Receiver, Submission, checkout, installation, sample};

/// The extension's objects, with the policies, constraints and triggers of its tables, and the
/// partitions of these tables.
const OBJECTS: &str = "create temporary view object as
    with recursive member as (
        select classid, objid from pg_depend
        where deptype = 'e' and refclassid = 'pg_extension'::regclass
            and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')
        union
        select 'pg_class'::regclass, inhrelid from member join pg_inherits on inhparent = objid
    )
    select * from member
    union all select 'pg_policy'::regclass, pg_policy.oid from pg_policy join member on polrelid = objid
    union all select 'pg_constraint'::regclass, pg_constraint.oid from pg_constraint join member on conrelid = objid
    union all select 'pg_trigger'::regclass, pg_trigger.oid from pg_trigger join member on tgrelid = objid";

/// The texts of these objects that psql shows.
const TEXTS: &[&str] = &[
    "select pg_describe_object(classid, objid, 0), description from object join pg_description on (classoid, objoid) = (classid, objid)",
    "select pg_describe_object(classid, objid, 0), prosrc from object join pg_proc on oid = objid where classid = 'pg_proc'::regclass",
    "select pg_describe_object(classid, objid, 0), pg_get_constraintdef(objid) from object where classid = 'pg_constraint'::regclass",
    "select pg_describe_object(classid, objid, 0), pg_get_triggerdef(objid) from object where classid = 'pg_trigger'::regclass",
    "select pg_describe_object(classid, objid, 0), pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
        from object join pg_policy on oid = objid where classid = 'pg_policy'::regclass",
    "select pg_describe_object(classid, objid, 0), pg_get_viewdef(objid)
        from object join pg_class on oid = objid where classid = 'pg_class'::regclass and relkind = 'v'",
    "select adrelid::regclass, pg_get_expr(adbin, adrelid) from object join pg_attrdef on adrelid = objid where classid = 'pg_class'::regclass",
    "select name, short_desc, extra_desc from pg_settings where name like 'webhook_delivery.%'",
    "select 'page', public.webhook_admin()",
    "select 'page of a web server', webhook_delivery.admin_page('https://example.com/rest/v1')",
];

/// The rows of a query as text, or its error.
fn rows(client: &mut Client, query: &str) -> Result<Vec<Vec<String>>, String> {
    let messages = client.simple_query(query).map_err(|e| format!("{query}\nfailed: {:?}", e.as_db_error()))?;
    // A text that is not UTF-8 is not ASCII either.
    let value = |row: &postgres::SimpleQueryRow, i| match row.try_get(i) {
        Ok(text) => text.unwrap_or_default().to_owned(),
        Err(e) => format!("\u{fffd} {e}"),
    };
    let text = |row: postgres::SimpleQueryRow| (0..row.len()).map(|i| value(&row, i)).collect();
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(text(row)),
            _ => None,
        })
        .collect())
}

#[test]
fn clients_of_every_encoding_can_read_every_text() {
    let receiver = Receiver::by_path();
    let mut application = Application::start(&[]);
    let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
    let failing = application.endpoint(sample::RIVERSIDE, &receiver.url("/status/500"), &["*"]);
    application.client.batch_execute("select webhook_delivery.create_partitions()").unwrap();
    Submission::of_riverside().insert(&mut application.client);
    receiver.wait_for(2, DEADLINE);
    endpoint.wait_for(&mut application.client, 1, "success");
    failing.wait_for(&mut application.client, 1, "retrying");
    let mut problems = Vec::new();
    for encoding in ["LATIN1", "WIN1250", "SQL_ASCII"] {
        let mut client = application.cluster.connect();
        client.batch_execute(OBJECTS).unwrap();
        client.batch_execute(&format!("set client_encoding = '{encoding}'")).unwrap();
        let relations = "select objid::regclass from object join pg_class on oid = objid
            where classid = 'pg_class'::regclass and relkind in ('r', 'p', 'v')";
        let relations = rows(&mut client, relations).unwrap();
        assert!(relations.len() > 25, "{relations:?}");
        let contents = relations.iter().map(|row| format!("select '{0}', it.* from {0} as it", row[0]));
        for query in TEXTS.iter().map(|query| (*query).to_owned()).chain(contents) {
            match rows(&mut client, &query) {
                Err(problem) => problems.push(format!("{encoding}: {problem}")),
                Ok(rows) => problems.extend(rows.iter().filter(|row| !row.concat().is_ascii()).map(|row| {
                    let shown: Vec<String> = row.iter().map(|text| around_the_first_character(text)).collect();
                    format!("{encoding}: {}", shown.join(" | "))
                })),
            }
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// About 30 characters on each side of the first one that is not ASCII.
fn around_the_first_character(text: &str) -> String {
    let place = text.chars().position(|c| !c.is_ascii()).unwrap_or(0);
    text.chars().skip(place.saturating_sub(30)).take(60).collect()
}

/// The files that the compiler, the server and the browser read, without vendored ones.
fn sources() -> Vec<PathBuf> {
    let top = checkout();
    let mut folders = vec![top.join("sql"), top.join("src")];
    let mut files = vec![top.join("webhook_delivery.control"), top.join("META.json")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.push(path);
            } else if !path.ends_with("page/vendor") {
                folders.push(path);
            }
        }
    }
    assert!(files.len() > 150, "{files:?}");
    files
}

#[test]
fn source_files_are_ascii() {
    let problems: Vec<String> = sources()
        .iter()
        .flat_map(|path| {
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            let line = |(number, line): (usize, &str)| format!("{}:{}: {line}", path.display(), number + 1);
            text.lines().enumerate().filter(|(_, line)| !line.is_ascii()).map(line).collect::<Vec<_>>()
        })
        .collect();
    assert!(problems.is_empty(), "{} lines:\n{}", problems.len(), problems.join("\n"));
}

/// The SQL has `'[.]'` instead of `'\.'`: with `standard_conforming_strings` off, a backslash in a
/// literal is an escape. An extension script is parsed before its first statement runs, so that it
/// cannot set this for its own literals.
#[test]
fn sql_has_no_backslash() {
    let mut files = sources();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.push(installation().share_dir().join("extension/webhook_delivery--1.0.0.sql"));
    let mut problems: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let line = |line: &str| format!("{}: {line}", path.display());
            text.lines().filter(|line| line.contains('\\')).map(line).collect::<Vec<_>>()
        })
        .collect();
    let mut application = Application::start(&[("webhook_delivery.databases", "")]);
    application.client.batch_execute(OBJECTS).unwrap();
    let is_of_sql = |query: &&&str| !query.contains("page") && !query.contains("pg_settings");
    for query in TEXTS.iter().filter(is_of_sql) {
        let rows = rows(&mut application.client, query).unwrap();
        problems.extend(rows.iter().filter(|row| row.concat().contains('\\')).map(|row| row.join(" | ")));
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
