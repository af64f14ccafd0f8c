//! Log lines of hits that are refused.

use std::io;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn refused_hit_is_logged_with_its_caller_and_trace() {
    let broker = Served::with(Change { in_flight: Some(8), ..Change::default() }).await;
    broker.warm().await;
    let request = Request::post(format!("http://localhost/{}", METHOD.name))
        .header("content-type", "application/grpc")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .body(())
        .unwrap();
    let (head, log) = (Head::of(&request).unwrap(), Log::default());
    let target = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || target.clone()).with_ansi(false).finish();
    let text = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let connection = broker.connection(Peer::Known(CALLER));
        let mut hits = Vec::new();
        while !text().contains("request failed") {
            hits.push(connection.begin(head, request.headers(), message(HOST)));
            assert!(hits.len() < 1_000);
        }
    });
    let line = text().lines().find(|line| line.contains("request failed")).unwrap().to_owned();
    for field in [format!("caller={CALLER} "), format!("trace_id={TRACE} ")] {
        assert!(line.contains(&field), "{field} in {line}");
    }
}
