//! A fake AWS behind TLS. It remembers the credentials that it issued, and each has a canary to search for.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use ecr_broker::clock::{Clock as _, SystemClock};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;

/// A part of every secret.
pub const CANARY: &str = "canary-7c1f6a-";

/// The service and the region of each password, as the call was signed.
type Issued = Arc<Mutex<HashMap<String, String>>>;

pub struct FakeAws {
    pub address: SocketAddr,
    pub ca: PathBuf,
    issued: Issued,
}

impl FakeAws {
    pub async fn start(directory: &Path) -> Self {
        let authority = Authority::new(directory, "aws-ca.pem", "aws");
        let pair = authority.server();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let issued = Issued::default();
        let aws = Self { address, ca: authority.file, issued: Arc::clone(&issued) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, issued) = (tls.clone(), Arc::clone(&issued));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&issued)));
                    _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        aws
    }

    /// Returns the service and the region of a password, such as `ecr/eu-central-1`.
    pub fn issued_for(&self, password: &str) -> Option<String> {
        self.issued.lock().unwrap().get(password).cloned()
    }

    pub fn issued_count(&self) -> usize {
        self.issued.lock().unwrap().len()
    }

    /// Returns the environment of a broker that calls it at this port.
    pub fn environment(&self, port: u16) -> Vec<(&'static str, String)> {
        let url = format!("https://localhost:{port}");
        vec![
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", format!("{CANARY}key")),
            ("AWS_SESSION_TOKEN", format!("{CANARY}session")),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("ECR_BROKER_AWS_CA_BUNDLE", self.ca.to_str().unwrap().to_owned()),
            ("ECR_BROKER_AWS_ECR_ENDPOINT", url.clone()),
            ("ECR_BROKER_AWS_ECR_PUBLIC_ENDPOINT", url.clone()),
            ("ECR_BROKER_AWS_SIGNIN_ENDPOINT", url),
        ]
    }
}

async fn answer(request: Request<Incoming>, issued: Issued) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let scope = |headers: &http::HeaderMap| {
        let authorization = headers.get("authorization")?.to_str().ok()?.to_owned();
        let scope: Vec<_> = authorization.split("Credential=").nth(1)?.split('/').map(str::to_owned).collect();
        Some(format!("{}/{}", scope[3], scope[2]))
    };
    let scope = scope(request.headers()).unwrap();
    request.into_body().collect().await?;
    let mut random = [0; 600];
    fastrand::fill(&mut random);
    let password = format!("{CANARY}{}", HEXLOWER.encode(&random));
    let token = BASE64.encode(format!("AWS:{password}").as_bytes());
    let since_1970 = SystemClock::new().now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let expires = (since_1970 + Duration::from_hours(12)).as_secs();
    let data = format!(r#"{{"authorizationToken":"{token}","expiresAt":{expires}.5}}"#);
    let body = if scope.starts_with("signin/") {
        format!(r#"{{"access_token":"{password}","token_type":"Bearer","expires_in":900}}"#)
    } else if scope.starts_with("ecr-public/") {
        format!(r#"{{"authorizationData":{data}}}"#)
    } else {
        format!(r#"{{"authorizationData":[{data}]}}"#)
    };
    issued.lock().unwrap().insert(password, scope);
    let response = Response::builder().header("content-type", "application/x-amz-json-1.1");
    Ok(response.header("x-amzn-requestid", "fake").body(Full::new(body.into())).unwrap())
}

/// The fault of one piece of a connection's bytes.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Pass,
    /// The piece is late.
    Late(Duration),
    /// The connection is reset before the piece.
    Reset,
    /// The connection ends after this many bytes, without an error.
    Truncated(usize),
    /// Nothing more arrives.
    BlackHole,
    /// A bit of this byte is flipped.
    Corrupt(usize),
}

/// Injects random faults between a broker and AWS, by a seed, until they are stopped.
pub struct FaultProxy {
    pub port: u16,
    plan: Arc<FaultPlan>,
}

struct FaultPlan {
    random: Mutex<fastrand::Rng>,
    stopped: AtomicBool,
}

impl FaultProxy {
    pub async fn start(to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan =
            Arc::new(FaultPlan { random: Mutex::new(fastrand::Rng::with_seed(seed)), stopped: AtomicBool::new(false) });
        let proxy = Self { port, plan: Arc::clone(&plan) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, to, Arc::clone(&plan)));
            }
        });
        proxy
    }

    pub fn stop_faults(&self) {
        self.plan.stopped.store(true, Ordering::Relaxed);
    }
}

impl FaultPlan {
    /// Chooses the fault of a piece. A call has a handful of pieces.
    fn fault(&self, bytes: usize) -> Fault {
        if self.stopped.load(Ordering::Relaxed) {
            return Fault::Pass;
        }
        let mut random = self.random.lock().unwrap();
        match random.u32(0..100) {
            0..4 => Fault::Late(Duration::from_millis(random.u64(0..1_500))),
            4..6 => Fault::Reset,
            6..8 => Fault::Truncated(random.usize(0..bytes)),
            8 => Fault::BlackHole,
            9..12 => Fault::Corrupt(random.usize(0..bytes)),
            _ => Fault::Pass,
        }
    }
}

async fn forward(client: TcpStream, to: SocketAddr, plan: Arc<FaultPlan>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // The end of one direction ends the other.
    tokio::select! {
        () = pass(&mut from_client, &mut to_server, &plan) => {}
        () = pass(&mut from_server, &mut to_client, &plan) => {}
    }
}

async fn pass(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, plan: &FaultPlan) {
    let mut buffer = [0; 2_048];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut bytes = &mut buffer[..read];
        let (fault, mut last) = (plan.fault(read), false);
        match fault {
            Fault::Pass => {}
            Fault::Late(time) => sleep(time).await,
            // A socket that is dropped without lingering is reset.
            Fault::Reset => {
                _ = socket2::SockRef::from(<OwnedWriteHalf as AsRef<TcpStream>>::as_ref(to))
                    .set_linger(Some(Duration::ZERO));
                return;
            }
            Fault::Truncated(some) => (bytes, last) = (&mut bytes[..some], true),
            Fault::BlackHole => std::future::pending().await,
            Fault::Corrupt(byte) => bytes[byte] ^= 0x10,
        }
        if to.write_all(bytes).await.is_err() || last {
            return;
        }
    }
}
