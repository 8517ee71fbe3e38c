//! Types: what `supabase gen types` makes of the extension, and the documentation's code checked against
//! it.

use std::path::{Path, PathBuf};
use std::process::Command;

use webhook_harness::{Cluster, checkout, installation};

fn node_modules() -> PathBuf {
    installation().target_dir().join("node/node_modules")
}

/// The generated types of a database with the extension.
fn generate(cluster: &Cluster) -> String {
    let generated = Command::new("node")
        .arg(checkout().join("tests/node/types.cjs"))
        .env("PGHOST", cluster.socket_dir())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", "postgres")
        .env("NODE_PATH", node_modules())
        .output()
        .expect("node");
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    String::from_utf8(generated.stdout).unwrap()
}

/// The documentation's code for supabase-js.
fn documented_code() -> String {
    let page = std::fs::read_to_string(checkout().join("docs/http-api.md")).unwrap();
    let (_, code) = page.split_once("## With supabase-js\n\n```js\n").expect("the code");
    code.split_once("```").expect("its end").0.to_owned()
}

fn compile(folder: &Path, file: &str) -> Result<(), String> {
    let compiled = Command::new("node")
        .arg(node_modules().join("typescript/bin/tsc"))
        .args(["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"])
        .args(["--module", "nodenext", "--moduleResolution", "nodenext", file])
        .current_dir(folder)
        .output()
        .expect("node");
    if compiled.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&compiled.stdout).into_owned()) }
}

#[test]
fn documented_code_compiles_with_the_generated_types() {
    let (cluster, _client) = Cluster::with_client(&[]);
    let folder = installation().target_dir().join("node/types");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("database.ts"), generate(&cluster)).unwrap();
    let check = |name: &str, code: &str| {
        let file = format!("{name}.mts");
        let code = format!(
            "import {{ PostgrestClient }} from '@supabase/postgrest-js'
             import type {{ Database }} from './database.ts'
             const supabase = new PostgrestClient<Database>('https://example.com')
             const auction_id: string = '', url: string = ''
             {code}"
        );
        std::fs::write(folder.join(&file), code).unwrap();
        compile(&folder, &file)
    };
    check("documented", &documented_code()).unwrap();
    // Results of the calls have the types that a program can use.
    check(
        "results",
        "const { data: test } = await supabase.rpc('test_webhook', { endpoint_id: '', event_type: '' })
         const follow: string | null | undefined = test?.follow
         const { data: again } = await supabase.rpc('redeliver_webhook', { delivery_id: '' })
         const status: 'pending' | 'retrying' | 'success' | 'failed' | null | undefined = again?.status
         const { data: request } = await supabase.rpc('webhook_request', { delivery_id: '' })
         const body: string | null | undefined = request?.body
         const { data: page } = await supabase.from('webhook_deliveries').select('status, error_kind').eq('status', 'failed')
         const kind: Database['public']['Enums']['webhook_error_kind'] | null | undefined = page?.[0].error_kind",
    )
    .unwrap();
    // Wrong words and writes to the history do not compile.
    for (name, wrong) in [
        ("status", "await supabase.from('webhook_deliveries').select().eq('status', 'delivered')"),
        ("history", "await supabase.from('webhook_deliveries').insert({})"),
        ("attempts", "await supabase.from('webhook_delivery_attempts').update({})"),
        ("health", "await supabase.from('webhook_endpoint_health').delete().insert({})"),
    ] {
        assert!(check(name, wrong).is_err(), "{wrong}");
    }
}
