//! Requests credentials from a broker: with a deadline, retries and round robin, also over a Unix socket.
//!
//! ```console
//! $ cargo run --example client ADDRESSES SECONDS REGISTRY...
//! ```
//!
//! ADDRESSES are `unix:/run/ecr-broker/broker.sock`, or `https://a.example:50051,https://b.example:50051` for several brokers.

#![allow(clippy::print_stdout, reason = "its output")]

use std::error::Error;
use std::time::Duration;

use ecr_broker::client::{AddressError, Client, Settings};

/// Returns settings for each broker: they begin with that one, and fall back to the others.
fn round_robin(addresses: &str, timeout: Duration) -> Result<Vec<Settings>, AddressError> {
    let first = Settings { timeout, ..Settings::for_addresses(addresses)? };
    let mut all = vec![first.clone(); first.addresses.len()];
    for (number, settings) in all.iter_mut().enumerate() {
        settings.addresses.rotate_left(number);
    }
    Ok(all)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [addresses, seconds, registries @ ..] = &arguments[..] else {
        return Err("usage: client ADDRESSES SECONDS REGISTRY...".into());
    };
    let timeout = Duration::from_secs(seconds.parse()?);
    let settings = round_robin(addresses, timeout)?;
    let mut brokers = Vec::new();
    for settings in &settings {
        brokers.push(Client::connect(settings).await?);
    }
    for (number, registry) in registries.iter().enumerate() {
        let broker = &mut brokers[number % settings.len()];
        broker.set_timeout(timeout);
        let found = broker.credentials_of(registry).await?;
        println!("{} {} until {}", found.registry, found.username, found.expire_time.unwrap_or_default());
    }
    Ok(())
}
