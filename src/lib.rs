//! ecr-broker hands out Amazon ECR registry credentials over gRPC.
//!
//! A file imports only from floors below its own, and from its own folder; `tests/floors.rs` holds this.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`registry`] | accounts, regions, partitions and the grammar of ECR's hosts |
//! | 0 | [`credential`] | credentials, passwords, and until when they may be handed out |
//! | 0 | [`error`] | what can go wrong, as a closed set |
//! | 0 | [`clock`] | the only reader of clocks |
//! | 0 | [`caller`] | who asks, and how that is known |
//! | 0 | [`policy`] | who may have what |
//! | 0 | [`profile`] | by which roles a credential is minted, and what it may do |
//! | 0 | [`echo`] | what a caller wrote, as an error may repeat it |
//! | 0 | [`address`] | where a broker listens |
//! | 0 | [`request_id`] | names a request in errors and logs |
//! | 0 | [`trusted_file`] | files that decide who is who |
//! | 0 | [`restart`] | work that is begun anew whenever it ends |
//! | 0 | [`trace`] | the identity of a span, handed between tasks |
//! | 0 | [`aws_wire`] | AWS's protocols, as a service sees them |
//! | 1 | [`upstream`] | where credentials come from: the AWS SDK behind one trait |
//! | 1 | [`tls`] | the broker's certificate, and whose client certificates say who they are |
//! | 1 | [`jwt`] | bearer tokens of issuers that are named, verified without asking anybody |
//! | 1 | [`limits`] | how much one caller may ask for |
//! | 1 | [`audit`] | a line for every credential that is released, before it is |
//! | 1 | [`simulator`] | AWS as the SDK sees it, on loopback |
//! | 2 | [`cache`] | what is held, what is on its way, what failed a moment ago |
//! | 3 | [`broker`] | the use case on one screen |
//! | 4 | [`aws_api`] | AWS's own operation for tokens, for programs that ask AWS and nothing else |
//! | 4 | [`grpc`] | the services, the status of every error, the edge of every call |
//! | 5 | [`config`] | what was typed, then what it means |
//! | 5 | [`telemetry`] | logs and spans |
//! | 5 | [`server`] | listeners, connections, the way down |
//! | aside | [`pb`] | the generated protobuf and gRPC types |
//! | aside | [`client`] | the client of a broker |
//! | aside | [`helper`] | docker's, kubelet's and Bazel's protocols, over the client |
//! | 6 | [`cli`] | the command line |
//!
//! The Cargo features `server`, `client` and `simulator`, all on by default, gate whole modules; each builds alone.

#[cfg(feature = "server")]
pub mod address;
#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "server")]
pub mod aws_api;
#[cfg(any(feature = "server", feature = "simulator"))]
pub mod aws_wire;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod cache;
#[cfg(feature = "server")]
pub mod caller;
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "server", feature = "client", feature = "simulator"))]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod credential;
#[cfg(any(feature = "server", feature = "client", feature = "simulator"))]
pub mod echo;
#[cfg(feature = "server")]
pub mod error;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "client")]
pub mod helper;
#[cfg(feature = "server")]
pub mod jwt;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(any(feature = "server", feature = "client"))]
pub mod pb;
#[cfg(feature = "server")]
pub mod policy;
#[cfg(feature = "server")]
pub mod profile;
#[cfg(any(feature = "server", feature = "client", feature = "simulator"))]
pub mod registry;
#[cfg(feature = "server")]
pub mod request_id;
#[cfg(feature = "server")]
pub mod restart;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "simulator")]
pub mod simulator;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod trace;
#[cfg(feature = "server")]
pub mod trusted_file;
#[cfg(feature = "server")]
pub mod upstream;
