//! An inventory of an installed extension, to compare installations: a new one, a restored dump, an
//! updated one.

use std::collections::BTreeSet;

use postgres::Client;

/// Returns one line for each property of each member of the extension.
pub fn inventory(client: &mut Client) -> BTreeSet<String> {
    let members = "create temporary view member as
        select classid, objid, known.type, known.identity
        from pg_depend cross join lateral pg_identify_object(classid, objid, 0) as known
        where deptype = 'e' and refclassid = 'pg_extension'::regclass
            and refobjid = (select oid from pg_extension where extname = 'webhook_delivery')";
    client.batch_execute(members).unwrap();
    let queries = [
        "select concat_ws(' ', type, identity) from member",
        // Complete definitions of the functions, without the library's path in C functions.
        "select concat_ws(' ', identity, replace(pg_get_functiondef(objid), chr(10), ' '), proowner::regrole)
            from member join pg_proc on pg_proc.oid = objid where classid = 'pg_proc'::regclass",
        "select concat_ws(' ', identity, pg_get_viewdef(objid), reloptions, relrowsecurity)
            from member join pg_class on pg_class.oid = objid where classid = 'pg_class'::regclass and relkind = 'v'",
        "select concat_ws(' ', identity, relkind, relpersistence, relrowsecurity, relforcerowsecurity, reloptions, pg_get_expr(relpartbound, objid))
            from member join pg_class on pg_class.oid = objid where classid = 'pg_class'::regclass and relkind <> 'v'",
        "select concat_ws(' ', identity, enumsortorder, enumlabel)
            from member join pg_enum on enumtypid = objid where classid = 'pg_type'::regclass",
        "select concat_ws(' ', identity, attnum, attname, format_type(atttypid, atttypmod))
            from member join pg_type on pg_type.oid = objid join pg_class on pg_class.oid = typrelid and relkind = 'c'
                join pg_attribute on attrelid = typrelid where classid = 'pg_type'::regclass and attnum > 0",
        "select concat_ws(' ', identity, attnum, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attgenerated, attacl)
            from member join pg_attribute on attrelid = objid left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where classid = 'pg_class'::regclass and attnum > 0 and not attisdropped",
        "select concat_ws(' ', identity, conname, replace(pg_get_constraintdef(pg_constraint.oid), ' NOT VALID', ''))
            from member join pg_constraint on conrelid = objid where classid = 'pg_class'::regclass",
        "select concat_ws(' ', identity, pg_get_indexdef(indexrelid))
            from member join pg_index on indrelid = objid where classid = 'pg_class'::regclass",
        "select concat_ws(' ', identity, pg_get_triggerdef(pg_trigger.oid), tgenabled)
            from member join pg_trigger on tgrelid = objid where classid = 'pg_class'::regclass and not tgisinternal",
        "select concat_ws(' ', identity, polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), polroles::regrole[])
            from member join pg_policy on polrelid = objid where classid = 'pg_class'::regclass",
        "select concat_ws(' ', 'policy', polrelid::regclass, polname, description) from pg_policy join pg_description on objoid = pg_policy.oid and classoid = 'pg_policy'::regclass",
        "select concat_ws(' ', identity, objsubid, description)
            from member join pg_description on objoid = objid and classoid = classid",
        "select concat_ws(' ', identity, grantee::regrole, privilege_type, is_grantable)
            from member join pg_class on pg_class.oid = objid, aclexplode(relacl) where classid = 'pg_class'::regclass and grantee <> relowner",
        "select concat_ws(' ', identity, grantee::regrole, privilege_type, is_grantable)
            from member join pg_proc on pg_proc.oid = objid, aclexplode(coalesce(proacl, acldefault('f', proowner))) where classid = 'pg_proc'::regclass",
        "select concat_ws(' ', 'dumped', config::regclass, condition)
            from pg_extension, unnest(extconfig, extcondition) as known (config, condition) where extname = 'webhook_delivery'",
        "select concat_ws(' ', 'event type', event_type, description, schema, example) from public.webhook_event_types",
        "select concat_ws(' ', 'version', extversion) from pg_extension where extname = 'webhook_delivery'",
    ];
    let mut found = BTreeSet::new();
    for query in queries {
        let rows = client.query(query, &[]).unwrap_or_else(|e| panic!("{query}: {:?}", e.as_db_error()));
        found.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    found
}
