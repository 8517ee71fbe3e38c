//! Tests of the client: which addresses a request reaches, with various names and rules.

use super::*;

/// A client that gets its addresses from the test and looks them up each time.
fn client_of(look_up: LookUp, rules: Rules) -> Client {
    let guard = Arc::new(AddressGuard::new(rules));
    let resolver = GuardedResolver::with_look_up(Arc::clone(&guard), 4, look_up, Duration::ZERO);
    Client::with_resolver(4, &Connections::default(), guard, resolver).unwrap()
}

#[test]
fn dns_rebinding_does_not_reach_a_forbidden_address() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start(say(OK));
    let client = client_of(
        |_| {
            let first = ASKED.fetch_add(1, Ordering::SeqCst) == 0;
            Ok(vec![if first { "127.0.0.1" } else { "127.0.0.2" }.parse().unwrap()])
        },
        Rules { networks: "127.0.0.1".parse().unwrap(), ..loopback() },
    );
    let url = format!("http://rebinding.example:{}/", server.address.port());
    assert_eq!(client.attempt(job(&url)).result, Ok(200));
    assert_eq!(client.attempt(job(&url)).result, Err(Failure::AddressNotAllowed));
    assert_eq!((server.connections(), ASKED.load(Ordering::SeqCst)), (1, 2));
}

#[test]
fn forbidden_address_is_neither_called_nor_named() {
    let server = Server::start(say(OK));
    let (ports, allow_http) = (loopback().ports, true);
    let client = client_of(|_| Ok(vec!["127.0.0.1".parse().unwrap()]), Rules { ports, allow_http, ..Rules::default() });
    for host in ["inside.example", "127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let failure = client.attempt(job(&format!("http://{host}:{}/", server.address.port()))).result.unwrap_err();
        assert_eq!(failure.to_string(), "address not allowed", "{host}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn own_addresses_of_the_machine_are_not_called() {
    let own: Vec<_> = if_addrs::get_if_addrs().unwrap().iter().map(if_addrs::Interface::ip).collect();
    assert!(!own.is_empty());
    let guard = AddressGuard::default();
    assert!(own.iter().all(|address| guard.check(&[*address]).is_err()), "{own:?}");
    // In addition to the list of interfaces: a connection whose two ends have the same address.
    let public = "8.8.8.8".parse().unwrap();
    assert!(guard.check_connection(public, public).is_err());
    assert!(guard.check_connection(public, "10.0.0.1".parse().unwrap()).is_ok());
    assert!(guard.check_connection("10.0.0.1".parse().unwrap(), public).is_err());
    let own = "127.0.0.1".parse().unwrap();
    assert!(AddressGuard::new(loopback()).check_connection(own, own).is_ok());
}

#[test]
fn new_rules_apply_from_the_next_request_on() {
    let (server, client) = (Server::start(say(OK)), client());
    assert_eq!(client.attempt(job(&server.url())).result, Ok(200));
    for (rules, message) in [
        (Rules { allow_http: false, ..loopback() }, "invalid URL: the URL must begin with https://".to_owned()),
        (
            Rules { ports: "443".parse().unwrap(), ..loopback() },
            format!("invalid URL: port {} is not allowed", server.address.port()),
        ),
        (Rules { networks: Networks::default(), ..loopback() }, "address not allowed".to_owned()),
    ] {
        client.guard.set(rules);
        assert_eq!(client.attempt(job(&server.url())).result.unwrap_err().to_string(), message);
    }
    client.guard.set(loopback());
    assert_eq!(client.attempt(job(&server.url())).result, Ok(200));
    assert_eq!(server.connections(), 1);
}

#[test]
fn host_whose_ipv6_address_does_not_answer_is_reached_over_ipv4() {
    let server = Server::start(|_, out| {
        out.write_all(OK).unwrap();
        Then::Close
    });
    let (silent, waiting) = crate::race::tests::silent(&format!("[::1]:{}", server.address.port()));
    let rules = Rules { networks: "127.0.0.0/8, ::1".parse().unwrap(), ..loopback() };
    let client = client_of(|_| Ok(vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]), rules);
    let url = format!("http://both.example:{}/", server.address.port());
    let attempt = |job: Job| {
        let attempt = client.attempt(job);
        assert_eq!(attempt.result, Ok(200));
        assert_eq!(attempt.timing.address, Some("127.0.0.1".parse().unwrap()));
        attempt
    };
    // Half of the time, without the race.
    let patient = Job { timeout: Duration::from_secs(60), ..job(&url) };
    assert!(attempt(patient).timing.connect.unwrap() < Duration::from_secs(20));
    // Now the other address answers too, and would be first, if the family were not remembered.
    drop(waiting);
    rustix::net::listen(&silent, 128).unwrap();
    silent.set_nonblocking(true).unwrap();
    while silent.accept().is_ok() {}
    attempt(job(&url));
    assert_eq!(server.connections(), 2);
}
