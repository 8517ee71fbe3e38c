//! The receivers in `examples/`: each verifies what arrives, refuses what it was not sent, and
//! ignores repetitions.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use webhook_harness::{Application, DEADLINE, checkout, installation, sample, wait_until};

/// A running receiver.
struct Example {
    process: Child,
    url: String,
    /// The lines that it prints.
    lines: mpsc::Receiver<String>,
}

impl Drop for Example {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// An empty folder below target/.
fn folder(name: &str) -> PathBuf {
    let folder = installation().target_dir().join("examples").join(name);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a writable target/");
    folder
}

fn copy(from: &str, to: &Path) {
    fs::copy(checkout().join(from), to).unwrap_or_else(|e| panic!("{from}: {e}"));
}

impl Example {
    fn start(mut command: Command, folder: &Path, secret: &str) -> Example {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut process = command
            .current_dir(folder)
            .env("WEBHOOK_SECRET", secret)
            .env("PORT", port.to_string())
            .env("PROCESSED", folder.join("processed"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the receiver");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        wait_until("the receiver", DEADLINE, || TcpStream::connect(("127.0.0.1", port)).ok());
        Example { process, url: format!("http://127.0.0.1:{port}/"), lines }
    }
}

/// Sends an event twice and a forged one, and asserts that the receiver processes one.
fn assert_verifies_and_processes_once(command: Command, folder: &Path) {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let example = Example::start(command, folder, secret);
    let mut application = Application::start(&[]);
    let insert = "insert into webhook_endpoints (auction_id, url, events, secret) values ($1, $2, '{*}', $3)";
    application.client.execute(insert, &[&sample::RIVERSIDE, &example.url, &secret]).unwrap();
    let emit = "select webhook_delivery.emit('submission.created', $1, '{\"number\": 7}')";
    application.client.execute(emit, &[&sample::RIVERSIDE]).unwrap();
    let ended = "select id::text from webhook_deliveries where status = 'success'";
    wait_until("a delivery", DEADLINE, || application.client.query_opt(ended, &[]).unwrap());
    let line = example.lines.recv_timeout(DEADLINE).expect("the event is processed");
    assert!(line.contains("submission.created") && line.contains('7'), "{line}");

    application.client.batch_execute("select redeliver_webhook(id) from webhook_deliveries").unwrap();
    let twice = "select from webhook_deliveries where status = 'success' and attempts = 2";
    wait_until("a second delivery", DEADLINE, || application.client.query_opt(twice, &[]).unwrap());

    let forged = ureq::post(&example.url).config().http_status_as_error(false).build();
    let answer = forged.header("webhook-id", "forged").header("webhook-timestamp", "1").send("{}").expect("an answer");
    assert_eq!(answer.status(), 401);
    assert!(example.lines.try_recv().is_err(), "it is processed once");
}

#[test]
fn python_receiver_verifies_and_processes_a_delivery_once() {
    let folder = folder("python");
    copy("examples/receiver.py", &folder.join("receiver.py"));
    copy("src/page/verify/verify.py", &folder.join("verify.py"));
    let mut command = Command::new("python3");
    command.arg("receiver.py");
    assert_verifies_and_processes_once(command, &folder);
}

#[test]
fn typescript_receiver_verifies_and_processes_a_delivery_once() {
    let folder = folder("typescript");
    fs::write(folder.join("package.json"), "{\"type\": \"module\"}").unwrap();
    let compile = "const ts = require('typescript'), fs = require('fs'); const [from, to] = process.argv.slice(1);
        const { outputText, diagnostics } = ts.transpileModule(fs.readFileSync(from, 'utf8'),
            { reportDiagnostics: true, compilerOptions: { module: 'esnext', target: 'es2022' } });
        if (diagnostics.length) throw new Error(diagnostics[0].messageText); fs.writeFileSync(to, outputText)";
    for (from, to) in [("examples/receiver.ts", "receiver.js"), ("src/page/verify/verify.ts", "verify.js")] {
        let done = Command::new("node")
            .args(["-e", compile])
            .args([checkout().join(from), folder.join(to)])
            .env("NODE_PATH", installation().target_dir().join("node/node_modules"))
            .output()
            .expect("node");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let mut command = Command::new("node");
    command.arg("receiver.js");
    assert_verifies_and_processes_once(command, &folder);
}

/// `tests/run.sh` runs this if there is a Go.
mod needs_go {
    use super::*;

    #[test]
    #[ignore = "needs Go"]
    fn go_receiver_verifies_and_processes_a_delivery_once() {
        let folder = folder("go");
        fs::create_dir(folder.join("webhook")).unwrap();
        fs::write(folder.join("go.mod"), "module receiver\n\ngo 1.21\n").unwrap();
        copy("examples/receiver.go", &folder.join("receiver.go"));
        copy("src/page/verify/verify.go", &folder.join("webhook/verify.go"));
        let built =
            Command::new("go").args(["build", "-o", "receiver", "."]).current_dir(&folder).output().expect("go");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        assert_verifies_and_processes_once(Command::new(folder.join("receiver")), &folder);
    }
}
