//! ecr-broker hands out Amazon ECR registry credentials over gRPC.
//!
//! Programs in Rust use the module [`client`]:
//! `ecr-broker = { git = "…", default-features = false, features = ["client"] }`. All other modules are the program's own parts,
//! and change without notice.
//!
//! The map: a module may use only the modules in the rows above its own. `tests/floors.rs` reads this table and checks it, and
//! that no two files import each other in a circle. A file `foo.rs` with a folder `foo/` is a module and its parts.
//!
//! | group | module | what it is |
//! |---|---|---|
//! | domain | [`quoted`] | escapes and truncates untrusted text for people |
//! | domain | [`kubernetes_name`] | names of objects in Kubernetes |
//! | domain | [`moment`] | a point in time on the wall clock and on the monotonic clock |
//! | domain | [`registry`] | accounts, regions, partitions and the grammar of ECR hosts |
//! | domain | [`caller`] | callers and principals |
//! | domain | [`bearer_token`] | bearer tokens, which are never printed |
//! | domain | [`credential`] | registry credentials, passwords and their validity |
//! | domain | [`packed_size`] | estimate of STS's packed size of session policies and tags |
//! | domain | [`profile`] | IAM roles by which credentials are requested, and their session policies |
//! | domain | [`policy`] | grants: which caller may have which registry and profile |
//! | domain | [`request_id`] | request IDs in errors and logs |
//! | domain | [`hops`] | the brokers that a request passed, to refuse circles |
//! | domain | [`error`] | the closed set of errors a request can end with |
//! | tools | [`environment`] | the only reader of environment variables; a blank one is unset |
//! | tools | [`inherited`] | descriptors that the service manager passes at the start |
//! | tools | [`clock`] | the only reader of the system clocks |
//! | tools | [`jitter`] | random spread of delays |
//! | tools | [`time_text`] | times and durations as text |
//! | tools | [`sync`] | locks that survive a panic |
//! | tools | [`signal`] | SIGTERM and SIGINT |
//! | tools | [`log_throttle`] | throttles repeated log lines |
//! | tools | [`rate`] | rate limit with bursts, in one number |
//! | tools | [`metrics`] | counters, histograms, and gauges read at scrape time, with their text formats |
//! | tools | [`service_manager`] | notifications to the service manager: readiness, status, watchdog |
//! | tools | [`supervise`] | restarts background tasks after a panic or an unexpected return |
//! | tools | [`follow_file`] | follows files: at an interval, on SIGHUP, once their contents settle |
//! | tools | [`bounded_file`] | reads texts of a bounded length |
//! | tools | [`json_file`] | atomic, locked changes of JSON files shared with other programs |
//! | tools | [`memory_guard`] | hides memory and environment from other processes of the user |
//! | tools | [`process_tree`] | programs that this one runs, with the programs that they start |
//! | tools | [`mount`] | mounts: volumes of containers and of the Kubernetes API |
//! | tools | [`trusted_file`] | opens files that decide identity, unless any user could write or replace them |
//! | tools | [`address`] | listen addresses, and the default addresses of broker and client |
//! | tools | [`trace`] | span identities passed between tasks |
//! | tools | [`aws_wire`] | AWS's wire protocols as a server sees them |
//! | tools | [`seal`] | authenticated encryption of secrets that leave the process's memory |
//! | tools | [`proxy`] | HTTP proxies of the environment, and the hosts without one |
//! | tools | [`protocol`] | limits of the gRPC API that broker and clients share |
//! | tools | [`pb`] | generated protobuf and gRPC types |
//! | client | [`client`] | client of a broker |
//! | outside | [`source`] | credential sources: AWS behind one trait |
//! | outside | [`limits`] | rate and concurrency limits per caller and origin |
//! | outside | [`authn`] | authentication of peers: Unix sockets, client certificates, bearer tokens |
//! | outside | [`audit`] | audit log, written before a credential is released |
//! | outside | [`rejections`] | rate-limited records about requests and peers that got nothing |
//! | broker | [`cache`] | credential cache with single flight, background refresh and failure backoff |
//! | broker | [`descriptor_store`] | sealed copy of the cache, which outlives the process |
//! | broker | [`broker`] | authorization and release of credentials |
//! | front doors | [`status`] | the broker's state without secrets, for operators |
//! | front doors | [`api`] | gRPC services, the JSON API and the ECR-compatible API |
//! | front doors | [`ops`] | health and metrics for operators, over HTTP |
//! | front doors | [`server`] | listeners, connections and graceful shutdown |
//! | process | [`config`] | configuration: model, settings table and checks |
//! | process | [`telemetry`] | logs and traces |
//! | process | [`simulator`] | simulated AWS on loopback |
//! | process | [`exit_code`] | exit codes, the same for every command |
//! | process | [`terminal`] | lines on stdout and stderr |
//! | process | [`kubernetes`] | Secrets and namespaces of the Kubernetes API |
//! | process | [`app`] | composition root and process lifecycle |
//! | process | [`adoption`] | switch-over from other helpers: canary hosts and the report |
//! | process | [`helper`] | docker, kubelet and Bazel credential helper protocols |
//! | process | [`doctor`] | diagnosis of failing pulls, with fixes |
//! | process | [`prove`] | checks of what the broker assumes of AWS |
//! | process | [`cli`] | command line |
//!
//! The Cargo features `server`, `client`, `simulator` and `kubernetes`, all on by default, gate whole modules. `server` and
//! `kubernetes` include `client`; `client` and `simulator` build alone.
//!
//! The broker and the commands are programs of Linux. On macOS and Windows `client` has what `docker-credential-ecr-broker` needs:
//! the modules above without [`cli`], [`doctor`], [`exit_code`], [`signal`] and [`terminal`]. What differs between systems is in
//! files called `linux`, `unix`, `windows` and `other`.

#[cfg(all(any(feature = "server", feature = "simulator"), not(target_os = "linux")))]
compile_error!("the broker runs on Linux; build docker-credential-ecr-broker: --no-default-features --features client");

#[cfg(feature = "client")]
pub mod address;
#[cfg(feature = "client")]
pub mod adoption;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "server")]
pub mod authn;
#[cfg(any(feature = "server", feature = "simulator"))]
pub mod aws_wire;
#[cfg(feature = "client")]
pub mod bearer_token;
#[cfg(feature = "client")]
pub mod bounded_file;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod cache;
#[cfg(feature = "client")]
pub mod caller;
#[cfg(target_os = "linux")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "simulator"))]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "client")]
pub mod credential;
#[cfg(feature = "server")]
pub mod descriptor_store;
#[cfg(all(feature = "client", target_os = "linux"))]
pub mod doctor;
pub mod environment;
#[cfg(feature = "server")]
pub mod error;
#[cfg(target_os = "linux")]
pub mod exit_code;
#[cfg(feature = "server")]
pub mod follow_file;
#[cfg(feature = "client")]
pub mod helper;
#[cfg(feature = "server")]
pub mod hops;
#[cfg(feature = "server")]
pub mod inherited;
#[cfg(feature = "client")]
pub mod jitter;
#[cfg(feature = "client")]
pub mod json_file;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "client")]
pub mod kubernetes_name;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod log_throttle;
#[cfg(feature = "client")]
#[cfg_attr(not(target_os = "linux"), path = "memory_guard/other.rs")]
pub mod memory_guard;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(any(feature = "client", feature = "simulator"))]
pub mod moment;
#[cfg(feature = "client")]
#[cfg_attr(not(target_os = "linux"), path = "mount/other.rs")]
pub mod mount;
#[cfg(feature = "server")]
pub mod ops;
#[cfg(any(feature = "client", feature = "simulator"))]
pub mod packed_size;
#[cfg(feature = "client")]
pub mod pb;
#[cfg(feature = "client")]
pub mod policy;
#[cfg(feature = "client")]
pub mod process_tree;
#[cfg(feature = "client")]
pub mod profile;
#[cfg(feature = "client")]
pub mod protocol;
#[cfg(feature = "server")]
pub mod prove;
#[cfg(feature = "client")]
pub mod proxy;
#[cfg(any(feature = "client", feature = "simulator"))]
pub mod quoted;
#[cfg(feature = "server")]
pub mod rate;
#[cfg(any(feature = "client", feature = "simulator"))]
pub mod registry;
#[cfg(feature = "server")]
pub mod rejections;
#[cfg(feature = "server")]
pub mod request_id;
#[cfg(feature = "server")]
pub mod seal;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod service_manager;
#[cfg(all(any(feature = "client", feature = "simulator"), target_os = "linux"))]
pub mod signal;
#[cfg(feature = "simulator")]
pub mod simulator;
#[cfg(feature = "server")]
pub mod source;
#[cfg(feature = "server")]
pub mod status;
#[cfg(feature = "server")]
pub mod supervise;
#[cfg(any(feature = "server", feature = "simulator"))]
pub mod sync;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(target_os = "linux")]
pub mod terminal;
#[cfg(feature = "client")]
pub mod time_text;
#[cfg(feature = "server")]
pub mod trace;
#[cfg(feature = "server")]
pub mod trusted_file;
