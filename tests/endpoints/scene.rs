//! An endpoint of Riverside, its receiver, and an administrator.

use postgres::Client;
use webhook_harness::{Application, DEADLINE, Endpoint, Receiver, Reply, Request, sample};

pub struct Scene {
    pub application: Application,
    pub receiver: Receiver,
    pub endpoint: Endpoint,
    pub admin: Client,
}

impl Scene {
    pub fn new() -> Scene {
        let receiver = Receiver::start(|_| Reply::ok());
        let mut application = Application::start(&[]);
        let endpoint = application.endpoint(sample::RIVERSIDE, &receiver.url("/"), &["*"]);
        let admin = application.create_tenant(sample::DANA);
        Scene { application, receiver, endpoint, admin }
    }

    /// The request of the next event.
    pub fn next_request(&mut self) -> Vec<Request> {
        self.receiver.clear();
        self.endpoint.emit(&mut self.application.client, 1);
        self.receiver.wait_for(1, DEADLINE)
    }
}
