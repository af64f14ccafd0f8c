//! The token endpoint of a GitHub Actions runner.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a job proves itself to the endpoint with.
pub(crate) const PROOF: &str = "request-proof";

/// A running endpoint; each request gets a new token.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    pub(crate) fn start(issue: impl Fn() -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token?api-version=2.0", listener.local_addr().unwrap());
        let paths = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&paths);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &seen, &issue);
            }
        });
        Self { url, paths }
    }

    /// Returns the path of each accepted request.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>, issue: &impl Fn() -> String) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let is_proved = head.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {PROOF}")));
    let path = head.first().and_then(|line| line.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1"));
    let (status, body) = match path.filter(|_| is_proved) {
        Some(path) => {
            seen.lock().unwrap().push(path.to_owned());
            ("200 OK", format!(r#"{{"count":1,"value":"{}"}}"#, issue()))
        }
        None => ("401 Unauthorized", "{}".to_owned()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all((head + &body).as_bytes());
}
