//! The servers and the client of `benches/hit/run`, which measures what a cache hit costs beside a constant answer.

#![allow(clippy::print_stdout, reason = "addresses and results are the output")]

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use ecr_broker::pb;

use self::address::{Address, Listener};
use self::client::Client;
use self::load::Shape;
use self::tls::Tls;

mod address;
mod client;
mod constant_aws;
mod load;
mod raw_hyper;
mod tls;
mod tonic_server;

/// Servers with constant answers, and a load; see `benches/hit/run --help`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Serve a constant message by tonic's own server.
    Tonic(Server),
    /// Serve a constant message by hyper alone. An empty message makes an OTLP collector.
    Raw {
        #[command(flatten)]
        server: Server,
        /// Copies of the message in memory, of which the request chooses one.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        answers: u16,
    },
    /// Serve one token for every registry, as AWS.
    Aws,
    /// Write the descriptors of the API to the standard output.
    Descriptors,
    /// Write the message that a server answers with to the standard output.
    Answer(Peer),
    /// Call a server as often as each line of the standard input says, and print the times as JSON.
    Load {
        #[command(flatten)]
        peer: Peer,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Debug, clap::Args)]
struct Server {
    address: Address,
    /// File with the encoded message.
    answer: PathBuf,
    /// Directory of `tests/clients/certificates.sh`: speak TLS, and demand a client certificate.
    #[arg(long)]
    certificates: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Peer {
    address: Address,
    /// Directory of `tests/clients/certificates.sh`: speak TLS with a client certificate.
    #[arg(long)]
    certificates: Option<PathBuf>,
}

impl Server {
    async fn start(&self) -> anyhow::Result<(Listener, Option<Tls>, Bytes)> {
        let listener = Listener::bind(&self.address).await?;
        println!("listening on {}", listener.address()?);
        let tls = self.certificates.as_deref().map(Tls::read).transpose()?;
        Ok((listener, tls, std::fs::read(&self.answer)?.into()))
    }
}

impl Peer {
    fn client(self, registries: u64) -> anyhow::Result<Client> {
        let tls = self.certificates.as_deref().map(Tls::read).transpose()?;
        Client::new(self.address, tls.as_ref(), registries)
    }
}

/// The servers have a thread for each core, as the broker has.
#[tokio::main]
async fn serve(program: Program) -> anyhow::Result<()> {
    match program {
        Program::Tonic(server) => {
            let (listener, tls, answer) = server.start().await?;
            tonic_server::serve(listener, tls.as_ref(), &answer).await
        }
        Program::Raw { server, answers } => {
            let (listener, tls, answer) = server.start().await?;
            raw_hyper::serve(listener, tls.as_ref(), &answer, answers.into()).await
        }
        _ => constant_aws::serve().await,
    }
}

/// The client has one thread, so that it leaves the other cores to the server.
#[tokio::main(flavor = "current_thread")]
async fn call(program: Program) -> anyhow::Result<()> {
    match program {
        Program::Answer(peer) => {
            let answer = peer.client(1)?.connect().await?.call(0).await?;
            Ok(stdout().write_all(&answer)?)
        }
        Program::Load { peer, shape } => shape.run(peer.client(shape.registries)?).await,
        _ => Ok(stdout().write_all(pb::FILE_DESCRIPTOR_SET)?),
    }
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().program {
        program @ (Program::Tonic(_) | Program::Raw { .. } | Program::Aws) => serve(program),
        program => call(program),
    }
}
