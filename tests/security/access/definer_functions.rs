//! Functions that run with the rights of their owner, and a superuser who acts as a tenant.

use super::*;

/// Such as a trigger that creates an endpoint with each new auction, before it has members.
pub fn definer_function_whose_owner_bypasses_policies_creates_endpoints(world: World) {
    let mut scene = Scene::new(world, &[]);
    scene.run(
        "create role provisioner nologin bypassrls; grant usage, create on schema public to provisioner;
         select webhook_delivery.grant_api('provisioner'); set role provisioner;
         create function public.provision(auction_id uuid) returns void language sql security definer as
             $$ insert into public.webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}') $$;
         reset role; grant execute on function public.provision(uuid) to <tenant>",
    );
    let mut kim = scene.session_of(sample::KIM);
    kim.execute("select public.provision($1)", &[&sample::RIVERSIDE]).unwrap();
    let insert = "insert into webhook_endpoints (auction_id, url, events) values ($1, 'https://example.com/', '{*}')";
    assert_eq!(refusal(&mut kim, insert, &[&sample::RIVERSIDE]).code().code(), "42501");
}

pub fn endpoints_of_a_superuser_acting_as_a_tenant_are_validated(world: World) {
    let mut scene = Scene::new(world, &[]);
    scene.run("alter system set webhook_delivery.allow_http = off");
    scene.application.cluster.reload();
    let unchecked = "insert into public.webhook_endpoints (auction_id, url, events, secret)
        values ('00000000-0000-4000-8000-000000000001', 'ftp://localhost/', '{no.such}', '...abcd')";
    scene.run("create role service nologin bypassrls; grant usage on schema public to service; select webhook_delivery.grant_api('service')");
    for role in [scene.tenant(), "service"] {
        let mut superuser = scene.superuser();
        superuser.batch_execute(&format!("set role {role}")).unwrap();
        superuser
            .execute(
                "select set_config('request.jwt.claims', $1, false)",
                &[&format!("{{\"sub\": \"{}\"}}", sample::DANA)],
            )
            .unwrap();
        assert_eq!(refusal(&mut superuser, unchecked, &[]).code().code(), "22023", "{role}");
    }
    // A tenant's function that a superuser runs does not gain the superuser's rights either.
    let lending = format!(
        "grant create on schema public to <tenant>; set role <tenant>;
         create function public.lent() returns bigint language sql security definer as
             $$ select count(*) from public.webhook_deliveries $$;
         create function public.unchecked() returns void language plpgsql security definer as
             $$ begin {unchecked}; end $$;
         reset role"
    );
    scene.run(&lending);
    assert_eq!(scene.application.count("select public.lent()"), 0);
    let error = refusal(&mut scene.application.client, "select public.unchecked()", &[]);
    assert_eq!(error.code().code(), "42501", "{error}");
}
